"""The first page and the list of jobs, in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.looking import WAYS, Look
from tests.browser.site import Site
from tests.builders import make_job

Looks = Callable[..., Look]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("path", "name"), [("/", "overview"), ("/jobs", "jobs"), ("/jobs?q=nothing+like+it", None), ("/jobs?label=-", None)]
)
def test_a_page_is_sound_in_light_and_dark_and_on_a_phone(
    looks: Looks, site: Site, way: str, path: str, name: str | None
) -> None:
    # Given workers that live
    for worker in site.store.workers.all():
        site.store.workers.check_in(worker.name, worker.host, worker.pid, None, None)
    # When the page is opened
    look = looks(way)
    look.open(path)
    # Then axe finds nothing serious, the browser complains of nothing, and it fits the screen
    look.assert_sound()
    if name:
        look.picture(name)


@pytest.mark.parametrize("path", ["/", "/jobs"])
def test_a_page_says_the_same_without_javascript(looks: Looks, site: Site, path: str) -> None:
    page = looks(scripts=False).open(path)
    assert "Product reviews" in page.inner_text("main")
    # And what a user has written is text
    assert "<script>alert('jobs')</script>" in page.inner_text("main")


@pytest.mark.parametrize("path", ["/", "/jobs"])
def test_a_job_that_comes_appears_by_itself(looks: Looks, site: Site, path: str) -> None:
    # Given an open page, of which somebody has opened a part
    page = looks().open(path)
    table = page.locator("summary")
    if table.count():
        table.click()
    # When a job comes
    job = make_job(site.store, name="A job that came late")
    # Then it is there without a reload, and what was open still is
    page.wait_for_selector(f"#job-{job.id}")
    if table.count():
        assert page.evaluate("document.querySelector('details').open")
    site.store.jobs.cancel(job.id)
    site.store.jobs.remove(job.id)


def test_jobs_are_filtered_while_somebody_types(looks: Looks, site: Site) -> None:
    # Given the list
    page = looks().open("/jobs")
    assert page.locator(f"#job-{site.good}").count() == 1
    # When they type, Then only what they look for is left, and the address says so
    page.locator("#q").press_sequentially("prod")
    page.wait_for_selector(f"#job-{site.good}", state="detached")
    assert page.locator(f"#job-{site.running}").count() == 1
    page.wait_for_url("**/jobs?q=prod")
    # And what comes now that is none of it stays away, and what is appears
    other, wanted = make_job(site.store, name="another"), make_job(site.store, name="products")
    page.wait_for_selector(f"#job-{wanted.id}")
    assert page.locator(f"#job-{other.id}").count() == 0
    for job in (other, wanted):
        site.store.jobs.cancel(job.id)
        site.store.jobs.remove(job.id)


def test_jobs_are_filtered_by_the_form_alone(looks: Looks, site: Site) -> None:
    # Given a browser without JavaScript, When the form is sent
    page = looks(scripts=False).open("/jobs")
    page.fill("#q", "prod")
    page.get_by_role("button", name="Search").click()
    # Then the same is there
    assert page.locator("th a[id^=job-]").all_inner_texts() == ["Product reviews"]
