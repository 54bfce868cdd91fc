"""How long a job would take, before it is one."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from tests.api.conftest import DECODER, assert_problem
from tests.builders import DIM, add_batches, generations, make_job
from unembed.models.store import Store
from unembed.schemas import Job, Timings


def estimate(api: TestClient, **spec: Any) -> dict[str, Any]:
    answer = api.post("/v1/jobs:estimate", json={"decoder": DECODER, "embedding_dim": DIM, "rows": 1000, **spec})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def decoded(store: Store, rows: int, seconds: float, **spec: Any) -> Job:
    """A job of one batch that a worker took so long over."""
    job = make_job(store, decoder=DECODER, **spec)
    (batch,) = add_batches(store, job, (rows,))
    assert store.attempts.claim(batch.id, "cpu0", 60.0) is not None
    store.attempts.finish(batch.id, 1, generations(batch), Timings())
    began = {
        "sqlite": "strftime('%Y-%m-%d %H:%M:%f', finished_at, -:s || ' seconds') || '000'",
        "postgresql": "finished_at - :s * interval '1 second'",
    }[store.engine.dialect.name]
    with store.engine.begin() as connection:
        told = {"s": seconds, "batch": batch.id}
        connection.execute(text(f"UPDATE batches SET claimed_at = {began} WHERE id = :batch"), told)
    return job


def test_where_nothing_was_decoded_nothing_is_guessed(api: TestClient, store: Store) -> None:
    # Given no worker, Then what can be counted is, and nothing is queued
    found = estimate(api, batch_size=300)
    assert found == {
        "rows": 1000,
        "batches": 4,
        "bytes": 1000 * DIM * 4,
        "workers": 0,
        "rows_per_second": None,
        "jobs_ahead": 0,
        "rows_ahead": 0,
        "seconds": None,
    }
    assert store.jobs.page().jobs == []


def test_the_pace_is_that_of_the_same_decoder_with_the_same_options(api: TestClient, store: Store) -> None:
    # Given a worker that has decoded greedily and with candidates
    store.workers.check_in("cpu0", "host", 1, "cpu", "float32")
    decoded(store, 20, 2.0, options={"candidates": 1})
    decoded(store, 20, 10.0, options={"candidates": 8})
    # When either is asked for, Then its own pace is taken; where there is none, none
    greedy = estimate(api, options={"candidates": 1})
    assert greedy["rows_per_second"] == pytest.approx(10.0, rel=1e-3)
    assert greedy["seconds"] == pytest.approx(100.0, rel=1e-3)
    assert estimate(api, options={"candidates": 8})["rows_per_second"] == pytest.approx(2.0, rel=1e-3)
    unknown = estimate(api, options={"candidates": 16})
    assert (unknown["workers"], unknown["rows_per_second"], unknown["seconds"]) == (1, None, None)


def test_what_waits_comes_before_its_end_as_far_as_turns_allow(api: TestClient, store: Store) -> None:
    # Given a worker of ten rows a second, and a large job that waits
    store.workers.check_in("cpu0", "host", 1, "cpu", "float32")
    decoded(store, 20, 2.0)
    add_batches(store, make_job(store), [1000] * 20)
    # When a small job is asked for / Then they take turns: as many rows of the large one are decoded as it has
    found = estimate(api, rows=50)
    assert (found["jobs_ahead"], found["rows_ahead"]) == (1, 50)
    assert found["seconds"] == pytest.approx(10.0, rel=1e-3)
    # And with a high priority, an eighth
    assert estimate(api, rows=80, priority="high")["rows_ahead"] == 10


@pytest.mark.parametrize(
    ("spec", "status", "code"),
    [
        ({"embedding_dim": DIM + 1}, 422, "dimension"),
        ({"decoder": "nobody"}, 422, "unknown_decoder"),
        ({"rows": 0}, 422, "input"),
        ({"results_uri": "/nowhere"}, 422, "roots"),
    ],
)
def test_what_no_job_could_be_is_refused_as_a_job_would_be(
    api: TestClient, spec: dict[str, Any], status: int, code: str
) -> None:
    answer = api.post("/v1/jobs:estimate", json={"decoder": DECODER, "embedding_dim": DIM, "rows": 10, **spec})
    assert_problem(answer, status, code)
