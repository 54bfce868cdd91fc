"""The playground in a real browser, with a worker that decodes with the shipped network."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.looking import WAYS, Look
from tests.browser.site import Site
from unembed.models.store import JobFilter

Looks = Callable[..., Look]

PLAYED = JobFilter(labels=(("from", "playground"),))


@pytest.mark.parametrize("way", WAYS)
def test_a_sentence_is_embedded_and_decoded_again(looks: Looks, site: Site, way: str) -> None:
    # Given the playground of an API that has the embedder beside it
    look = looks(way)
    page = look.open("/playground")
    look.assert_sound()
    # When a sentence is sent
    page.get_by_role("textbox", name="Sentence").fill("Where can I charge my phone?")
    page.get_by_role("button", name="Decode").click()
    page.get_by_text("Not decoded yet").wait_for(timeout=60_000)
    _until_jobs_run_out(site)
    # Then the page shows it beside what it was decoded into
    assert page.locator("#written").inner_text(timeout=60_000) == "Where can I charge my phone?"
    assert any(word in page.locator(".answer").inner_text() for word in ("charge", "phone"))
    look.assert_sound()
    look.picture("playground")


def test_a_vector_is_decoded_and_what_came_out_is_shown(looks: Looks, site: Site) -> None:
    # Given the playground, with an example in it
    look = looks("light")
    page = look.open("/playground")
    page.get_by_role("link", name="Take an example").click()
    # When it is decoded
    page.get_by_role("button", name="Decode").click()
    page.get_by_text("Not decoded yet").wait_for()
    _until_jobs_run_out(site)
    # Then the page shows the text by itself, the pieces that it is made of, and what else it might have been
    text = page.locator(".answer").inner_text(timeout=60_000)
    pieces = "".join(page.locator(".pieces .mono").all_inner_texts())
    assert pieces.removesuffix("end").replace("⇧", "").lower().strip() == text.lower()
    assert page.get_by_role("table").locator("tbody tr").first.inner_text().startswith(text)
    look.assert_sound()


def _until_jobs_run_out(site: Site) -> None:
    """Its priority is high, and yet others may have their turn before it."""
    while any(not job.state.is_ended for job in site.store.jobs.page(wanted=PLAYED).jobs):
        site.work()


def test_what_is_no_vector_is_said_beside_the_form_which_keeps_what_was_given(looks: Looks) -> None:
    look = looks(scripts=False)
    page = look.open("/playground")
    page.get_by_role("textbox", name="Vector").fill("[0.1, 0.2]")
    page.get_by_role("button", name="Decode").click()
    assert "2" in page.get_by_role("alert").inner_text()
    assert page.get_by_role("textbox", name="Vector").input_value() == "[0.1, 0.2]"
