"""A job's page and a look at its rows, in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.looking import WAYS, Look
from tests.browser.site import MARKUP, Site

Looks = Callable[..., Look]


@pytest.mark.parametrize("way", WAYS)
def test_the_page_of_a_job_is_sound(looks: Looks, site: Site, way: str) -> None:
    # When the page of a job that has ended well is opened, Then it shows texts first, and is sound
    look = looks(way)
    page = look.open(f"/jobs/{site.good}")
    assert page.locator(".texts li").count() == 5
    # And the curve of the decoder's judgement is below the bars, as wide as they are
    bars, curve = (each.bounding_box() for each in page.locator("#good ~ figure svg").all())
    assert bars is not None
    assert curve is not None
    assert (curve["x"], curve["width"]) == pytest.approx((bars["x"], bars["width"]), abs=2)
    look.assert_sound()
    look.picture("job")
    look.picture("job-figures", begin="#good")


@pytest.mark.parametrize("name", ["partial", "running", "waiting", "cancelled"])
def test_the_page_of_a_job_in_any_state_is_sound_on_a_phone(looks: Looks, site: Site, name: str) -> None:
    look = looks("phone")
    look.open(f"/jobs/{getattr(site, name)}")
    look.assert_sound()


def test_markup_in_a_job_is_text_in_the_browser(looks: Looks, site: Site) -> None:
    # Given a job whose name, label and error are a script
    look = looks()
    page = look.open(f"/jobs/{site.partial}")
    # Then they can be read, and nothing of them runs
    assert MARKUP in page.locator("h1").inner_text()
    assert page.locator("main b, main script").count() == 0
    look.assert_sound()
    look.picture("job-partial")


@pytest.mark.parametrize("way", WAYS)
def test_a_look_at_rows_is_sound(looks: Looks, site: Site, way: str) -> None:
    look = looks(way)
    page = look.open(f"/jobs/{site.good}/rows?show=best")
    assert page.locator(".texts li").count() == 25
    # Each text is beside what it was embedded from
    assert page.locator(".texts .carried dt", has_text="source_text").count() == 25
    look.assert_sound()
    look.picture("rows")


def test_rows_are_looked_through_without_javascript(looks: Looks, site: Site) -> None:
    # Given a browser without JavaScript
    page = looks(scripts=False).open(f"/jobs/{site.good}")
    # When somebody follows the links: the worst, the next page, a search
    page.get_by_role("link", name="Look through the rows").click()
    page.get_by_role("link", name="the worst").click()
    worst = page.locator(".texts .said").first.inner_text()
    page.get_by_role("link", name="Next").click()
    assert page.locator(".texts .said").first.inner_text() != worst
    page.get_by_label("Search in the texts").fill("the")
    page.get_by_role("button", name="Search").click()
    # Then each shows what it says
    assert "Texts with “the”" in page.locator("main").inner_text()
    assert all("the" in text.lower() for text in page.locator(".texts .said").all_inner_texts())


def test_a_job_is_followed_as_it_runs(looks: Looks, site: Site) -> None:
    # Given the open page of a job that nobody works on
    look = looks()
    page = look.open(f"/jobs/{site.new_job('Followed', 2)}")
    assert "0 of 48 rows" in page.locator("h1 + p").inner_text()
    # When a worker has done a batch, Then the page says so by itself
    job_id = page.url.rpartition("/")[2]
    site.decode(job_id, 1)
    page.get_by_text("24 of 48 rows").wait_for()
    # And when it has ended, then it says that
    site.decode(job_id, 2)
    page.get_by_text("48 rows, all with a text").wait_for()
    page.get_by_role("link", name="Parquet").wait_for()
    look.assert_sound()


def test_a_job_is_cancelled_and_removed_by_keyboard(looks: Looks, site: Site) -> None:
    # Given a job that waits
    page = looks().open(f"/jobs/{site.new_job('Not wanted', 1)}")
    # When it is cancelled, which is asked for twice
    page.get_by_role("link", name="Cancel").press("Enter")
    page.get_by_role("button", name="Cancel the job").press("Enter")
    page.locator(".state.cancelled").wait_for()
    # And removed
    page.get_by_role("link", name="Remove").press("Enter")
    page.get_by_role("button", name="Remove the job").press("Enter")
    # Then the list of jobs is without it
    page.wait_for_url("**/jobs")
    assert "Not wanted" not in page.locator("main").inner_text()


def test_a_job_is_downloaded_from_its_page(looks: Looks, site: Site) -> None:
    page = looks().open(f"/jobs/{site.good}")
    with page.expect_download() as download:
        page.get_by_role("link", name="JSONL").click()
    assert download.value.suggested_filename == f"{site.good}.jsonl"
    assert len(download.value.path().read_text("utf-8").splitlines()) == 240
