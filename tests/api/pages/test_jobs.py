"""The list of jobs."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from tests.api.pages.conftest import assert_escaped, scripted_job, sign_in
from tests.builders import add_batches, make_job, run_job
from unembed.models.store import Store

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def listed(page: str) -> list[str]:
    """The jobs' names, in the order of the page."""
    return re.findall(r'<a id="job-[^"]+" href="[^"]+">([^<]*)</a>', page)


@pytest.fixture
def some(store: Store) -> Store:
    """Three jobs: one that has ended, one with a label, one of another decoder."""
    done = make_job(store, name="Nightly one")
    add_batches(store, done, (2,))
    run_job(store, done)
    make_job(store, name="daily", labels={"team": "search"}, priority="high")
    make_job(store, name="nightly two", decoder="toy")
    return store


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("", {"Nightly one", "daily", "nightly two"}),
        ("?q=&state=&decoder=&label=&cursor=", {"Nightly one", "daily", "nightly two"}),
        ("?q=NIGHT", {"Nightly one", "nightly two"}),
        ("?q=night&state=succeeded", {"Nightly one"}),
        ("?label=team", {"daily"}),
        ("?label=team=search", {"daily"}),
        ("?label=team=other", set()),
        ("?decoder=toy", {"nightly two"}),
        ("?q=%25", set()),
    ],
)
def test_jobs_are_found_by_all_that_is_asked_for(browser: TestClient, some: Store, asked: str, found: set[str]) -> None:
    # When a browser sends the form, with the fields that are empty too
    page = browser.get(f"/jobs{asked}")
    # Then it has the jobs that are all of it, or says that there is none
    assert page.status_code == 200
    assert set(listed(page.text)) == found
    assert ("No job is all of this" in page.text) is not found


def test_what_was_asked_for_stays_in_the_form(browser: TestClient, some: Store) -> None:
    page = browser.get("/jobs", params={"q": '"><b>', "state": "failed", "decoder": "gone", "label": "team"}).text
    assert 'value="&#34;&gt;&lt;b&gt;"' in page
    for chosen in ("failed", "gone"):
        assert f"<option selected>{chosen}</option>" in page


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("state=lost", "There is no state &#39;lost&#39;; expected receiving, queued, running"),
        ("label=-x", "&#39;-x&#39; is no label"),
    ],
)
def test_what_cannot_be_asked_for_is_said_in_a_line(browser: TestClient, some: Store, asked: str, says: str) -> None:
    page = browser.get(f"/jobs?{asked}").text
    assert says in page
    assert listed(page) == []


def test_jobs_are_read_in_pages_of_what_was_asked_for(browser: TestClient, store: Store) -> None:
    # Given more jobs than a page has, and one of another name
    for number in range(30):
        make_job(store, name=f"one {number}")
    make_job(store, name="other")
    # When the pages are followed by their links
    seen, address = [], "/jobs?q=one"
    while address:
        page = browser.get(address).text
        seen += listed(page)
        following = re.search(r'<a href="([^"]+)">Older</a>', page)
        address = following[1].replace("&amp;", "&") if following else ""
    # Then each is there once, and from the last page the way leads back to the first
    assert sorted(seen) == sorted(f"one {number}" for number in range(30))
    assert '<a href="/jobs?q=one">Newest</a>' in page


def test_a_cursor_that_is_none_is_refused(browser: TestClient) -> None:
    answer = browser.get("/jobs?cursor=nonsense")
    assert answer.status_code == 400
    assert "is no cursor of a page of jobs" in answer.text


def test_a_job_is_shown_with_its_state_its_rows_and_its_errors(browser: TestClient, store: Store) -> None:
    # Given a job of which one row is an error, and one that waits with priority
    done = make_job(store, name="done")
    add_batches(store, done, (3,))
    run_job(store, done, errors=(1,))
    add_batches(store, make_job(store, name="waits", priority="high"), (7,))
    # When the list is read, Then states are words, and what is in progress has a bar with words
    page = browser.get("/jobs").text
    assert '<span class="state partial">partial</span>' in page
    assert '3 rows, <span class="error">1 error</span>' in page
    assert '<progress max="7" value="0" aria-label="Rows decoded of waits">' in page
    assert "high priority" in page


def test_only_the_jobs_of_ones_own_key_are_listed(browse: Callable[..., TestClient], store: Store) -> None:
    client = browse()
    sign_in(client, store, "mine")
    make_job(store, client="key:mine", name="my job")
    make_job(store, client="key:other", name="their job")
    assert listed(client.get("/jobs").text) == ["my job"]
    assert listed(client.get("/jobs?q=their").text) == []


def test_a_job_whose_name_and_labels_are_scripts_is_listed_as_text(browser: TestClient, store: Store) -> None:
    scripted_job(store)
    page = browser.get("/jobs").text
    assert_escaped(page, times=2)
    # And its label leads to the jobs that have it
    assert 'href="/jobs?label=kind%3D%3Cscript%3Ealert%281%29%3C%2Fscript%3E"' in page
