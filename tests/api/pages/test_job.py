"""The page of a job, what may be done there, and a look at its rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import new_job, put
from tests.api.pages.conftest import assert_escaped, scripted_job, sign_in
from tests.builders import add_batches, generations, make_job, run_job
from unembed.generations import from_columns
from unembed.models.parts import Parts, part_uri
from unembed.models.store import Store
from unembed.schemas import Job, KeyRole, Timings

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

Browse = Callable[..., TestClient]


def scored_job(store: Store, rows: int = 60) -> str:
    """An ended job whose texts are `text 0`, `text 1` and so on, each better than the one before."""
    job = make_job(store, name="Scored")
    (batch,) = add_batches(store, job, (rows,))
    claim = store.attempts.claim(batch.id, "cpu0@here", 60.0)
    assert claim is not None
    texts = [f"text {index}" for index in range(rows)]
    columns = from_columns(range(rows), text=texts, status="ok", overall_quality=np.linspace(0, 1, rows))
    timings = Timings(load_ms=10, decode_ms=70, score_ms=20)
    assert store.attempts.finish(batch.id, claim.attempt, columns, timings)
    return job.id


def texts_of(page: str) -> list[str]:
    return re.findall(r'class="said">(text \d+)<', page)


def test_texts_come_before_counts(browser: TestClient, store: Store) -> None:
    # When the page of an ended job is read
    page = browser.get(f"/jobs/{scored_job(store)}").text
    # Then it shows a few texts, then how good all are, where the time went, and who worked
    assert len(texts_of(page)) == 5
    places = [page.index(f'id="{name}"') for name in ("texts", "good", "time", "who", "about")]
    assert places == sorted(places)
    assert "About <strong>30 of 60 texts</strong>" in page
    assert "cpu0@here" in page
    assert "What went wrong" not in page
    # And it looks for no more news
    assert "data-events" not in page


def test_whatever_a_user_writes_is_shown_as_text(browser: TestClient, store: Store) -> None:
    job = scripted_job(store)
    # Name in title and heading, label, key, text, error; and on the page of rows
    assert_escaped(browser.get(f"/jobs/{job.id}").text, 6)
    for show in ("random", "best", "index", "errors"):
        assert_escaped(browser.get(f"/jobs/{job.id}/rows", params={"show": show}).text, 2)
    assert_escaped(browser.get(f"/jobs/{job.id}/rows", params={"q": "<script>alert(1)</script>"}).text, 3)
    assert_escaped(browser.get(f"/jobs/{job.id}/remove").text, 1)


def test_a_job_that_waits_says_why(browser: TestClient, store: Store) -> None:
    page = browser.get(f"/jobs/{new_job(browser, name='Waits')}").text
    assert "0 of 0 rows" in page
    job = make_job(store)
    add_batches(store, job, (3,))
    page = browser.get(f"/jobs/{job.id}").text
    assert "Nothing of it runs now: no worker has started yet." in page
    assert f'data-events="/jobs/{job.id}/events"' in page


def test_what_went_wrong_is_said_in_words_with_what_to_do(browser: TestClient, store: Store) -> None:
    # Given a job with rows that could not be read, a batch that is dead, and one that waits to be tried again
    job = make_job(store)
    first, second, third = add_batches(store, job, (4, 3, 2))
    for batch, final in ((first, None), (second, True), (third, False)):
        claim = store.attempts.claim(batch.id, "cpu0@here", 5.0)
        assert claim is not None
        if final is None:
            store.attempts.finish(batch.id, claim.attempt, generations(batch, errors=(1, 2)), Timings())
        else:
            store.attempts.fail(batch.id, claim.attempt, "decode_failed", "the device is gone", final=final)
    # When its page is read
    page = browser.get(f"/jobs/{job.id}").text
    # Then each code is told with its rows, what it means, and what to do
    assert "The vector has values that are NaN or infinite. Look for NaN or infinity" in page
    assert "the device is gone" in page
    assert "1 of 3" in page
    assert "Retry 1 dead batch" in page
    assert "2 failed" in page  # in the worker's lane


def test_a_job_of_another_key_is_not_there(browse: Browse, store: Store) -> None:
    # Given a job of somebody else
    client = browse()
    sign_in(client, store, "mine")
    other = run_job(store, _with_batch(store, client_name="key:other"))
    # When anything of it is asked for, Then there is no such job
    for path in ("", "/rows", "/events", "/download", "/cancel", "/remove"):
        assert client.get(f"/jobs/{other.id}{path}").status_code == 404, path
    for action in ("cancel", "retry", "remove"):
        assert client.post(f"/jobs/{other.id}/{action}").status_code == 404, action
    assert store.jobs.get(other.id).rows.total == 2
    # And one's own is
    own = run_job(store, _with_batch(store, client_name="key:mine"))
    assert client.get(f"/jobs/{own.id}").status_code == 200


def _with_batch(store: Store, client_name: str = "") -> Job:
    job = make_job(store, client=client_name)
    add_batches(store, job, (2,))
    return job


def test_who_may_only_read_is_offered_no_change_and_may_make_none(browse: Browse, store: Store) -> None:
    client = browse()
    sign_in(client, store, "looks", KeyRole.READER)
    job = run_job(store, _with_batch(store, client_name="key:looks"))
    page = client.get(f"/jobs/{job.id}").text
    assert "Parquet" in page
    assert ">Remove<" not in page
    for action in ("cancel", "retry", "remove"):
        assert client.post(f"/jobs/{job.id}/{action}").status_code == 403
    assert client.get(f"/jobs/{job.id}/remove").status_code == 403


def test_a_job_is_cancelled_after_a_question_and_leads_back(browse: Browse) -> None:
    client = browse()
    job = new_job(client)
    put(client, job)
    assert "Cancel this job?" in client.get(f"/jobs/{job}/cancel").text
    answer = client.post(f"/jobs/{job}/cancel")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{job}")
    assert "cancelled" in client.get(f"/jobs/{job}").text
    # And removed, after which it is gone
    assert "Remove this job?" in client.get(f"/jobs/{job}/remove").text
    answer = client.post(f"/jobs/{job}/remove")
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs")
    assert client.get(f"/jobs/{job}").status_code == 404


def test_what_cannot_be_done_is_said_on_a_page(browse: Browse, store: Store) -> None:
    client = browse()
    job = run_job(store, _with_batch(store))
    for action, says in (("cancel", "cannot be cancelled"), ("retry", "dead")):
        answer = client.post(f"/jobs/{job.id}/{action}")
        assert answer.status_code == 409
        assert says in answer.text
    running = make_job(store)
    for answer in (client.post(f"/jobs/{running.id}/remove"), client.get(f"/jobs/{running.id}/download")):
        assert answer.status_code == 409
    assert client.post(f"/jobs/{job.id}/remove", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


def test_dead_batches_are_tried_again_from_the_page(browse: Browse, store: Store) -> None:
    client = browse()
    job = new_job(client)
    put(client, job)
    client.post(f"/v1/jobs/{job}/seal", json={"batches": 1, "rows": 2})
    claim = store.attempts.claim(f"{job}-0", "cpu0@here", 5.0)
    assert claim is not None
    store.attempts.fail(f"{job}-0", claim.attempt, "decode_failed", "broken", final=True)
    assert "Retry 1 dead batch" in client.get(f"/jobs/{job}").text
    assert client.post(f"/jobs/{job}/retry").status_code == 303
    assert store.jobs.get(job).batches.queued == 1


@pytest.mark.parametrize("format", ["parquet", "jsonl", "csv", "arrow"])
def test_all_rows_are_downloaded_by_who_is_signed_in(browse: Browse, store: Store, format: str) -> None:
    client = browse()
    sign_in(client, store, "mine")
    job = run_job(store, _with_batch(store, client_name="key:mine"))
    answer = client.get(f"/jobs/{job.id}/download", params={"format": format})
    assert answer.status_code == 200
    assert f'filename="{job.id}.{format}"' in answer.headers["content-disposition"]
    assert b"text 0" in answer.content


def test_news_of_a_job_come_to_who_is_signed_in(browse: Browse, store: Store) -> None:
    client = browse()
    sign_in(client, store, "mine")
    job = run_job(store, _with_batch(store, client_name="key:mine"))
    answer = client.get(f"/jobs/{job.id}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "event: end" in answer.text


def test_the_best_and_the_worst_rows_are_shown_a_page_at_a_time(browser: TestClient, store: Store) -> None:
    job = scored_job(store)
    page = browser.get(f"/jobs/{job}/rows", params={"show": "best"}).text
    assert texts_of(page) == [f"text {index}" for index in range(59, 34, -1)]
    following = re.search(r'href="(\?[^"]*)" rel="next"', page)
    assert following is not None
    page = browser.get(f"/jobs/{job}/rows{following[1].replace('&amp;', '&')}").text
    assert texts_of(page)[0] == "text 34"
    page = browser.get(f"/jobs/{job}/rows", params={"show": "worst"}).text
    assert texts_of(page)[:2] == ["text 0", "text 1"]


def test_rows_at_random_are_the_same_behind_the_same_link(browser: TestClient, store: Store) -> None:
    job = scored_job(store)
    first = texts_of(browser.get(f"/jobs/{job}/rows?seed=3").text)
    assert texts_of(browser.get(f"/jobs/{job}/rows?seed=3").text) == first
    assert texts_of(browser.get(f"/jobs/{job}/rows?seed=4").text) != first
    assert len(first) == 25


def test_rows_are_found_by_a_word_and_by_their_index(browser: TestClient, store: Store) -> None:
    job = scored_job(store)
    assert texts_of(browser.get(f"/jobs/{job}/rows", params={"q": "TEXT 5"}).text) == ["text 5"] + [
        f"text {index}" for index in range(50, 60)
    ]
    assert "No text has “nothing”" in browser.get(f"/jobs/{job}/rows", params={"q": "nothing"}).text
    page = browser.get(f"/jobs/{job}/rows", params={"show": "index", "from": "57"}).text
    assert texts_of(page) == ["text 57", "text 58", "text 59"]
    assert "Every row that was decoded has a text" in browser.get(f"/jobs/{job}/rows?show=errors").text


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ("show=best&cursor=nonsense", 200, "is no cursor"),
        ("show=all", 422, "show"),
        ("seed=-1", 422, "seed"),
        ("show=index&from=x", 422, "from"),
    ],
)
def test_what_cannot_be_shown_is_said_in_a_line(
    browser: TestClient, store: Store, query: str, status: int, says: str
) -> None:
    answer = browser.get(f"/jobs/{scored_job(store, 3)}/rows?{query}")
    assert answer.status_code == status
    assert says in answer.text


def test_rows_in_files_are_shown_in_their_order_and_nothing_else_is_promised(
    browse: Browse, store: Store, tmp_path: Path
) -> None:
    # Given a job whose rows are in files
    folder = (tmp_path / "parts").as_uri()
    client = browse(results_roots=(tmp_path.as_uri(),))
    job = make_job(store, results_uri=folder)
    (batch,) = add_batches(store, job, (3,))
    claim = store.attempts.claim(batch.id, "cpu0@here", 60.0)
    assert claim is not None
    rows = generations(batch)
    part = Parts((tmp_path.as_uri(),)).write(part_uri(folder, batch.id, 1), rows)
    assert store.attempts.finish(batch.id, claim.attempt, rows, Timings(), part=part)
    # When they are looked at, Then the page shows them, says where they are, and has no other order
    page = client.get(f"/jobs/{job.id}/rows").text
    assert texts_of(page) == ["text 0", "text 1", "text 2"]
    assert folder in page
    assert "the best" not in page.partition("<main")[2].partition("</nav>")[0]
    assert "are in files" in client.get(f"/jobs/{job.id}/rows?show=best").text
    assert texts_of(client.get(f"/jobs/{job.id}").text) == ["text 0", "text 1", "text 2"]
    # And what is known of their quality is known without reading them
    assert "About <strong>2 of 3 texts</strong>" in client.get(f"/jobs/{job.id}").text
