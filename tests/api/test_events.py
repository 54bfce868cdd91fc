"""A job's progress as Server-Sent Events."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import assert_problem, new_job
from tests.api.test_results import finish
from tests.builders import add_batches, make_job
from tests.worker.processes import await_
from unembed.api.deps import Deps
from unembed.models.store import Store

# Nothing here depends on which database it is.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def deps(api: TestClient) -> Deps:
    found: Deps = api.app.state.deps  # type: ignore[attr-defined]
    return found


def events(text: str) -> list[dict[str, Any]]:
    """The events of a stream, with their fields; `data` is read as JSON."""
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            found.append({**fields, "data": json.loads(fields["data"])})
    return found


def test_a_job_is_followed_to_its_end(api: TestClient, store: Store, deps: Deps) -> None:
    # Given somebody who follows a job of two batches
    job = make_job(store)
    first, second = add_batches(store, job, [2, 2])
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(api.get, f"/v1/jobs/{job.id}/events")
        await_(lambda: deps.waiters.are_some, 60)
        # When both are done
        finish(store, first)
        finish(store, second)
        got = answer.result(60)
    # Then it was told of the job as it was and as it ended, and the stream has ended
    assert got.headers["content-type"].startswith("text/event-stream")
    assert got.headers["cache-control"] == "no-cache"
    told = events(got.text)
    assert (told[0]["event"], told[0]["data"]["state"]) == ("progress", "queued")
    assert (told[-1]["event"], told[-1]["data"]["state"]) == ("end", "succeeded")
    assert len({each["id"] for each in told}) == len(told)
    assert not deps.waiters.are_some


def test_who_comes_again_goes_on_where_they_were(api: TestClient, store: Store) -> None:
    # Given somebody who saw a job before it ended, by a server that kept nobody waiting
    job = make_job(store)
    (batch,) = add_batches(store, job, [2])
    api.app.state.deps.leaving.set()  # type: ignore[attr-defined]
    path = f"/v1/jobs/{job.id}/events"
    (seen,) = events(api.get(path).text)
    # When they come again and nothing has changed, Then they are told nothing
    assert events(api.get(path, headers={"Last-Event-ID": seen["id"]}).text) == []
    # And when it has ended, then they are told so
    finish(store, batch)
    (end,) = events(api.get(path, headers={"Last-Event-ID": seen["id"]}).text)
    assert (end["event"], end["data"]["rows"]["ok"]) == ("end", 2)
    # And then that there is no more, so that they do not come again
    again = api.get(path, headers={"Last-Event-ID": end["id"]})
    assert (again.status_code, again.content) == (204, b"")


def test_a_job_that_is_removed_ends_the_stream(api: TestClient, store: Store, deps: Deps) -> None:
    # Given somebody who follows a job
    job = make_job(store)
    add_batches(store, job, [2])
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(api.get, f"/v1/jobs/{job.id}/events")
        await_(lambda: deps.waiters.are_some, 60)
        # When it is gone, from one look to the next
        with store.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM jobs")
        # Then that is the last that is told
        assert events(answer.result(60).text)[-1]["event"] == "removed"


def test_too_many_listeners_are_told_to_come_later(api: TestClient, deps: Deps) -> None:
    # Given as many who wait for news as there may be
    job = new_job(api)
    deps.waiters.most = 0
    # When one more comes, Then it is told to come later, and a long poll is answered at once
    answer = api.get(f"/v1/jobs/{job}/events")
    assert_problem(answer, 429, "busy", "news")
    assert answer.headers["Retry-After"]
    polled = api.get(f"/v1/jobs/{job}", headers={"Prefer": "wait=60"})
    assert (polled.status_code, "Preference-Applied" in polled.headers) == (200, False)


def test_a_job_that_there_is_not_has_no_events(api: TestClient) -> None:
    assert_problem(api.get("/v1/jobs/nope/events"), 404, "not_found")


def test_head_of_events_does_not_wait_for_them(api: TestClient) -> None:
    # Given a job that goes on, When only the headers of its events are asked for, Then they come at once
    answer = api.head(f"/v1/jobs/{new_job(api)}/events")
    assert (answer.status_code, answer.content) == (200, b"")
