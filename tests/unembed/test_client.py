"""The client that waits, where it differs from the one that is awaited; what they share is in test_both_clients.py."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import redis

from tests.builders import DIM
from tests.unembed.conftest import DECODER, Hand, ServeWith
from unembed.calls import requests
from unembed.client import Client
from unembed.corpus import corpus_from_array
from unembed.errors import (
    ConflictError,
    CorpusError,
    DimensionError,
    InputError,
    JobFailedError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
    UnembedError,
    UnknownDecoderError,
)
from unembed.generations import SCHEMA, from_columns, json_lines, rows_of
from unembed.models.settings import Settings
from unembed.schemas import ARROW_STREAM, JSON_LINES, JobState, Order, RowStatus


def vectors(rows: int = 25, dim: int = DIM) -> np.ndarray:
    return np.linspace(-1, 1, rows * dim, dtype=np.float32).reshape(rows, dim)


def test_a_file_is_sent_in_batches_and_progress_counts_to_its_end(client: Client, tmp_path: Path) -> None:
    # Given a file of 25 rows
    np.save(tmp_path / "a.npy", vectors())
    seen: list[tuple[int, int]] = []
    # When it is submitted in batches of 10
    job = client.submit(tmp_path / "a.npy", decoder=DECODER, batch_size=10, progress=lambda *at: seen.append(at))
    # Then it is queued as three batches, and progress went up to all rows
    assert job.job.state is JobState.QUEUED
    assert [(b.ordinal, b.first_index, b.rows) for b in client.batches(job.id)] == [(0, 0, 10), (1, 10, 10), (2, 20, 5)]
    assert seen == [(10, 25), (20, 25), (25, 25)]


def test_the_batches_of_a_job_are_read_a_page_at_a_time(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a job of seven batches, and pages of three
    monkeypatch.setattr("unembed.calls.requests.PAGE_BATCHES", 3)
    job = client.submit(vectors(), decoder=DECODER, batch_size=4)
    # When they are asked for, Then all are there, in order
    assert [batch.ordinal for batch in client.batches(job.id)] == list(range(7))


def test_rows_that_are_not_finite_end_as_error_rows_and_the_job_as_partial(client: Client, hand: Hand) -> None:
    # Given NaN in one row
    sent = vectors()
    sent[3, 0] = np.nan
    # When it is decoded
    job = client.submit(sent, decoder=DECODER, batch_size=10)
    hand.work()
    # Then the job is partial, which is no exception, and that row alone is an error
    assert job.wait(timeout=60).job.state is JobState.PARTIAL
    assert [row.index for row in job.results() if row.status is RowStatus.ERROR] == [3]


def test_a_job_without_a_text_is_an_exception_unless_it_is_not_wanted(client: Client, hand: Hand) -> None:
    # Given rows of NaN alone
    job = client.submit(np.full((3, DIM), np.nan, np.float32), decoder=DECODER)
    hand.work()
    # When it is waited for, Then the failure is not silent, but its rows can be had
    with pytest.raises(JobFailedError, match=job.id):
        job.wait(timeout=60)
    assert len(list(job.wait(check=False).results())) == 3


def test_results_can_be_read_while_the_job_runs(client: Client, hand: Hand) -> None:
    # Given a job of three batches, of which one is done
    job = client.submit(vectors(), decoder=DECODER, batch_size=10)
    hand.work(limit=1)
    # When its results are read, Then they are those of that batch; and later they are all
    assert len(list(job.results())) == 10
    hand.work()
    assert sorted(row.index for row in job.results()) == list(range(25))


@pytest.mark.parametrize("order", ["finished", "index"])
def test_rows_are_to_be_had_as_columns_a_page_at_a_time(
    client: Client, hand: Hand, monkeypatch: pytest.MonkeyPatch, order: Order
) -> None:
    # Given a job of 25 rows, and pages of 10
    monkeypatch.setattr("unembed.calls.requests.PAGE_ROWS", 10)
    job = client.submit(vectors(), decoder=DECODER, batch_size=4)
    hand.work()
    # When its rows are read as columns, and one by one
    batches = list(job.result_batches(order))
    rows = list(job.results(order))
    # Then both are the same rows, and no more than a page of them came at once
    assert [batch.num_rows for batch in batches] == [10, 10, 5]
    assert [row for batch in batches for row in rows_of(batch)] == rows
    assert sorted(row.index for row in rows) == list(range(25))
    # And all together are one table
    assert job.to_arrow().schema.equals(SCHEMA, check_metadata=True)


def test_one_page_is_read_ahead_and_no_more() -> None:
    # Given a server with five pages, and a caller who takes two of them
    asked = threading.Semaphore(0)
    pages = iter(range(5))

    def answer(request: httpx2.Request) -> httpx2.Response:
        page = next(pages)
        asked.release()
        headers = {"Content-Type": JSON_LINES} | ({"Unembed-Next-Cursor": f"i{page}"} if page < 4 else {})
        return httpx2.Response(200, content=json_lines(from_columns([page], status="ok", text="a")), headers=headers)

    with Client("http://server:1", transport=httpx2.MockTransport(answer)) as client:
        batches = client.result_batches("some-job", "index")
        taken = [next(batches).column("index")[0].as_py() for _ in range(2)]
        # Then three pages have been asked for, and no fourth when the caller leaves
        assert taken == [0, 1]
        assert all(asked.acquire(timeout=60) for _ in range(3))
        batches.close()
    assert not asked.acquire(timeout=0.1)


def test_a_page_that_fails_ahead_is_an_error_when_its_turn_comes() -> None:
    # Given a server that has one page, and then no job any more
    def answer(request: httpx2.Request) -> httpx2.Response:
        if "cursor" in request.url.params:
            return httpx2.Response(404)
        body = json_lines(from_columns([0], status="ok", text="a"))
        return httpx2.Response(200, content=body, headers={"Content-Type": JSON_LINES, "Unembed-Next-Cursor": "i0"})

    with Client("http://server:1", transport=httpx2.MockTransport(answer)) as client:
        batches = client.result_batches("some-job", "index")
        # When the first page is read, Then it is whole; and the error comes where the second would be
        assert next(batches).column("index").to_pylist() == [0]
        with pytest.raises(NotFoundError):
            next(batches)
        assert list(batches) == []


def test_a_job_without_rows_yet_has_no_batches_and_an_empty_table(client: Client) -> None:
    job = client.submit(vectors(), decoder=DECODER)
    assert list(job.result_batches()) == []
    assert job.to_arrow().schema == SCHEMA


def test_a_server_that_knows_no_arrow_is_understood() -> None:
    # Given an older server, which answers with JSON lines whatever is asked for, in two pages
    pages = [from_columns([0, 1], status="ok", text=["a", "é\u2028"]), from_columns([2], status="ok", text="c")]
    asked: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        page = len(asked)
        asked.append(request)
        cursor = {"Unembed-Next-Cursor": "i1"} if page == 0 else {}
        return httpx2.Response(200, content=json_lines(pages[page]), headers={"Content-Type": JSON_LINES} | cursor)

    # When a job's rows are read
    with Client("http://server:1", transport=httpx2.MockTransport(answer)) as client:
        batches = list(client.result_batches("some-job", "index"))
    # Then Arrow was asked for, and the lines have become columns
    assert all(request.headers["Accept"].startswith(ARROW_STREAM) for request in asked)
    assert asked[1].url.params["cursor"] == "i1"
    assert [batch.equals(page) for batch, page in zip(batches, pages, strict=True)] == [True, True]


@pytest.mark.parametrize(
    ("kind", "content"),
    [(ARROW_STREAM, b"no stream"), (JSON_LINES, b'{"index": 1, "status": "new"}\n'), (JSON_LINES, b"<html>")],
)
def test_rows_that_cannot_be_read_are_one_error(kind: str, content: bytes) -> None:
    # Given a server of another version, When its rows are read, Then the error says so in one line
    response = httpx2.Response(200, content=content, headers={"Content-Type": kind})
    with Client("http://server:1", transport=httpx2.MockTransport(lambda _: response)) as client:
        with pytest.raises(UnembedError, match="another version") as caught:
            list(client.results("some-job"))
        assert "\n" not in str(caught.value)


def test_rows_of_a_newer_server_may_say_more() -> None:
    # Given a server that says more of a row than this version knows, When it is read, Then the rest of it is
    content = b'{"index": 1, "status": "ok", "text": "A text.", "new": 1}\n'
    response = httpx2.Response(200, content=content, headers={"Content-Type": JSON_LINES})
    with Client("http://server:1", transport=httpx2.MockTransport(lambda _: response)) as client:
        assert [row.text for row in client.results("some-job")] == ["A text."]


def test_an_ended_job_cannot_be_cancelled(client: Client, hand: Hand) -> None:
    # Given a job that has succeeded
    job = client.submit(vectors(), decoder=DECODER)
    hand.work()
    # When it is cancelled, Then the server's own error arrives
    with pytest.raises(ConflictError, match="succeeded"):
        job.cancel()


def test_an_interrupted_submit_is_continued_under_its_key(client: Client, hand: Hand) -> None:
    # Given a submit that breaks off after 8 batches
    def break_off(sent: int, total: int) -> None:
        if sent >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.submit(vectors(), decoder=DECODER, batch_size=1, idempotency_key="k", progress=break_off)
    (before,) = client.jobs().jobs
    assert before.state is JobState.RECEIVING
    # When the same is submitted again and decoded
    job = client.submit(vectors(), decoder=DECODER, batch_size=1, idempotency_key="k")
    hand.work()
    # Then it is the same job, whole
    assert job.id == before.id
    assert [row.index for row in job.wait(timeout=60).results("index")] == list(range(25))


def test_a_submit_is_continued_with_the_batches_that_it_was_begun_with(client: Client, hand: Hand) -> None:
    # Given a submit in batches of 2 that breaks off
    def break_off(sent: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.submit(vectors(), decoder=DECODER, batch_size=2, idempotency_key="k", progress=break_off)
    # When it is submitted again with another batch size, Then what arrived still fits, and the job is whole
    job = client.submit(vectors(), decoder=DECODER, batch_size=10, idempotency_key="k")
    hand.work()
    assert {batch.rows for batch in client.batches(job.id)} == {2, 1}
    assert [row.index for row in job.wait(timeout=60).results("index")] == list(range(25))


def test_what_the_server_lost_is_sent_again_and_nothing_else(
    client: Client, hand: Hand, server_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a job of five batches of which one is done, and a Redis that has lost the vectors of the others
    first = client.submit(vectors(), decoder=DECODER, batch_size=5, idempotency_key="k")
    hand.work(limit=1)
    with redis.Redis.from_url(server_settings.redis_url) as connection:
        connection.flushall()
    hand.find_payloads_lost()
    assert first.refresh().state is JobState.PARTIAL
    # When the same is submitted again
    sent: list[int] = []
    put = requests.put

    def counted(job_id: str, ordinal: int, *more: Any) -> Any:
        sent.append(ordinal)
        return put(job_id, ordinal, *more)

    monkeypatch.setattr(requests, "put", counted)
    job = client.submit(vectors(), decoder=DECODER, batch_size=5, idempotency_key="k")
    # Then it is the same job, just those four batches were sent, and it ends with every row once
    assert job.id == first.id
    assert sorted(sent) == [1, 2, 3, 4]
    hand.work()
    assert job.wait(timeout=60).job.state is JobState.SUCCEEDED
    assert [row.index for row in job.results("index")] == list(range(25))


def test_a_dead_batch_is_retried(client: Client, hand: Hand) -> None:
    # Given a job of which one batch is dead
    job = client.submit(vectors(), decoder=DECODER, batch_size=10)
    hand.fail(1)
    hand.work()
    assert job.refresh().state is JobState.PARTIAL
    # When it is retried, Then the job runs again, and every row is there once
    assert job.retry().state is JobState.RUNNING
    hand.work()
    assert job.wait(timeout=60).job.state is JobState.SUCCEEDED
    assert [row.index for row in job.results("index")] == list(range(25))
    # And then there is nothing to retry any more
    with pytest.raises(ConflictError, match="no dead batch"):
        job.retry()


def test_a_removed_job_is_gone(client: Client) -> None:
    # Given a job that waits, When it is removed, Then it has to be cancelled first; after that it is gone
    job = client.submit(vectors(), decoder=DECODER)
    with pytest.raises(ConflictError, match="cancel it"):
        job.remove()
    job.cancel()
    job.remove()
    with pytest.raises(NotFoundError):
        job.refresh()


def test_an_interrupted_submit_does_not_wait_for_room(serve_with: ServeWith) -> None:
    # Given a server that has no room, and nobody who would make any
    url = serve_with(max_queued_rows=5)

    def interrupt(sent: int, total: int) -> None:
        raise KeyboardInterrupt

    # When the submit is interrupted, Then it ends at once although others of its batches wait to be let in
    with Client(url) as client, pytest.raises(KeyboardInterrupt):
        client.submit(vectors(40), decoder=DECODER, batch_size=5, progress=interrupt)
    with Client(url) as client:
        assert [job.state for job in client.jobs().jobs] == [JobState.CANCELLED]


def test_the_errors_of_the_server_arrive_as_the_classes_that_it_raised(client: Client) -> None:
    # Given requests that the server refuses, When they are made, Then each is the server's own error
    with pytest.raises(UnknownDecoderError, match="nobody"):
        client.submit(vectors(), decoder="nobody")
    with pytest.raises(DimensionError, match=rf"7 dimensions.*expects {DIM}; no decoder reads 7 \(.*toy: {DIM}\)"):
        client.submit(vectors(dim=7), decoder=DECODER)
    with pytest.raises(NotFoundError):
        client.job("0" * 26)
    with pytest.raises(TooLargeError, match="101 rows, but at most 100"):
        client.submit(vectors(101), decoder=DECODER)
    with pytest.raises(InputError, match="cursor"):
        client.jobs(cursor="nonsense")


def test_a_submit_that_is_wrong_in_itself_never_reaches_the_server(client: Client) -> None:
    # Given values out of range, When they are submitted, Then the field and the value are named
    with pytest.raises(InputError, match="seed is -1"):
        client.submit(vectors(), decoder=DECODER, seed=-1)
    with pytest.raises(InputError, match="batch_size is 0"):
        client.submit(vectors(), decoder=DECODER, batch_size=0)
    with pytest.raises(CorpusError, match="complex64"):
        client.submit(np.zeros((2, DIM), np.complex64))
    with pytest.raises(CorpusError, match="ids go with vectors in memory"):
        client.submit(corpus_from_array(vectors()), ids=["a"])


def test_jobs_are_listed_page_by_page(client: Client) -> None:
    # Given three jobs
    ids = [client.submit(vectors(), decoder=DECODER, name=f"n{i}").id for i in range(3)]
    # When they are listed two at a time, Then the newest come first and the cursor leads to the rest
    page = client.jobs(limit=2)
    rest = client.jobs(limit=2, cursor=page.next_cursor)
    assert [job.id for job in page.jobs + rest.jobs] == ids[::-1]
    assert client.jobs(state=JobState.RUNNING).jobs == []


def test_the_decoders_are_listed(client: Client) -> None:
    # Given a server with a decoder, When they are listed, Then it is among them
    assert (DECODER, DIM) in [(decoder.name, decoder.embedding_dim) for decoder in client.decoders()]


def test_without_a_server_the_error_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Given no URL and nothing that runs from the home folder
    monkeypatch.setenv("UNEMBED_HOME", str(tmp_path))
    # When a client is made, Then the error says what to do
    with pytest.raises(UnavailableError, match=r"unembed up.*UNEMBED_URL"):
        Client()
