"""Dead batches tried again, batches sent again, and jobs taken away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from fastapi.testclient import TestClient

from tests.api.conftest import assert_problem, new_job, put
from tests.builders import generations, read
from unembed.codes import FailureCode
from unembed.models.payloads import Payloads
from unembed.models.settings import Settings
from unembed.models.store import Store
from unembed.schemas import BatchState, JobState, Timings
from unembed.worker.celery import QUEUE

MISSING = FailureCode.PAYLOAD_MISSING


@pytest.fixture
def queue(api_settings: Settings) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(api_settings.redis_url) as client:
        yield client


@pytest.fixture
def payloads(queue: redis.Redis) -> Payloads:
    return Payloads(queue, 600)


def sealed_job(api: TestClient, batches: int = 2) -> str:
    """A job of batches of two rows."""
    job = new_job(api)
    for ordinal in range(batches):
        assert put(api, job, ordinal, 2 * ordinal).status_code == 201
    assert api.post(f"/v1/jobs/{job}/seal", json={"batches": batches, "rows": 2 * batches}).status_code == 200
    return job


def die(store: Store, batch_id: str, code: str = "decode_failed") -> None:
    claim = store.attempts.claim(batch_id, "w", 60)
    assert claim is not None
    store.attempts.fail(batch_id, claim.attempt, code, "it went wrong", final=True)


def finish(store: Store, batch_id: str) -> None:
    claim = store.attempts.claim(batch_id, "w", 60)
    assert claim is not None
    assert store.attempts.finish(batch_id, claim.attempt, generations(claim.batch), Timings())


def states(store: Store, job: str) -> list[BatchState]:
    return [batch.state for batch in store.jobs.batches(job)]


class TestRetry:
    def test_the_dead_are_queued_again_and_the_done_are_left_alone(
        self, api: TestClient, store: Store, queue: redis.Redis
    ) -> None:
        # Given a job of which one batch is done and one is dead
        job = sealed_job(api)
        finish(store, f"{job}-0")
        die(store, f"{job}-1")
        assert store.jobs.get(job).state is JobState.PARTIAL
        queue.delete(QUEUE)
        # When it is retried
        answer = api.post(f"/v1/jobs/{job}/retry")
        # Then the job runs once more, the dead batch waits, and a message says so
        assert answer.status_code == 200, answer.text
        assert (answer.json()["state"], answer.json()["error"], answer.json()["finished_at"]) == ("running", None, None)
        assert states(store, job) == [BatchState.DONE, BatchState.QUEUED]
        assert queue.llen(QUEUE) == 1
        # And it has as many attempts as a new one, under numbers that were never given out
        finish(store, f"{job}-1")
        again = store.jobs.batches(job)[1]
        assert (again.attempt, again.max_attempts) == (2, 1 + store.settings.max_attempts)
        assert store.jobs.get(job).state is JobState.SUCCEEDED
        rows = read(store, job, order="index")
        assert [row.index for row in rows] == [0, 1, 2, 3]

    def test_without_a_dead_batch_there_is_nothing_to_retry(self, api: TestClient, store: Store) -> None:
        # Given a job that has succeeded, When it is retried, Then it is a conflict, and nothing has changed
        job = sealed_job(api, 1)
        finish(store, f"{job}-0")
        assert_problem(api.post(f"/v1/jobs/{job}/retry"), 409, "conflict", "no dead batch")
        assert store.jobs.get(job).state is JobState.SUCCEEDED

    def test_a_cancelled_job_stays_cancelled(self, api: TestClient, store: Store) -> None:
        # Given a cancelled job with a dead batch, When it is retried, Then it is a conflict that says why
        job = sealed_job(api)
        die(store, f"{job}-0")
        api.post(f"/v1/jobs/{job}/cancel")
        assert_problem(api.post(f"/v1/jobs/{job}/retry"), 409, "conflict", "cancelled")

    def test_batches_whose_vectors_are_gone_stay_dead(self, api: TestClient, store: Store, payloads: Payloads) -> None:
        # Given two dead batches, of which one has lost its vectors
        job = sealed_job(api)
        die(store, f"{job}-0")
        die(store, f"{job}-1")
        payloads.delete([f"{job}-0"])
        # When the job is retried, Then the other one is queued
        assert api.post(f"/v1/jobs/{job}/retry").json()["batches"]["queued"] == 1
        assert states(store, job) == [BatchState.DEAD, BatchState.QUEUED]
        # And when none has them any more, Then the problem says what to do
        die(store, f"{job}-1")
        payloads.delete([f"{job}-1"])
        assert_problem(api.post(f"/v1/jobs/{job}/retry"), 409, "conflict", "2 dead batches", "idempotency key")

    def test_a_job_that_is_not_there_is_not_found(self, api: TestClient) -> None:
        assert_problem(api.post("/v1/jobs/nothing/retry"), 404, "not_found")


class TestSentAgain:
    def test_what_lost_its_vectors_is_queued_again(
        self, api: TestClient, store: Store, payloads: Payloads, queue: redis.Redis
    ) -> None:
        # Given an ended job of which one batch has lost its vectors
        job = sealed_job(api)
        finish(store, f"{job}-0")
        queue.flushall()
        die(store, f"{job}-1", MISSING)
        # When that batch is sent again
        answer = put(api, job, 1, 2)
        # Then it waits, with its vectors and a message
        assert (answer.status_code, answer.json()["state"]) == (200, "queued")
        assert payloads.batch_ids() == {f"{job}-1"}
        assert queue.llen(QUEUE) == 1
        # And the job succeeds, with each row once
        finish(store, f"{job}-1")
        assert store.jobs.get(job).state is JobState.SUCCEEDED
        assert [row.index for row in read(store, job, order="index")] == [0, 1, 2, 3]

    def test_other_rows_are_still_a_conflict(self, api: TestClient, store: Store, payloads: Payloads) -> None:
        # Given a batch that has lost its vectors, When others come in their place, Then they are refused
        job = sealed_job(api, 1)
        payloads.delete([f"{job}-0"])
        die(store, f"{job}-0", MISSING)
        assert_problem(put(api, job, 0, 1), 409, "conflict", "first_index")
        assert payloads.batch_ids() == set()

    def test_a_batch_that_is_dead_for_another_reason_stays_dead(self, api: TestClient, store: Store) -> None:
        # Given a batch that its decoder cannot do, When it is sent again, Then that changes nothing
        job = sealed_job(api, 1)
        die(store, f"{job}-0")
        assert put(api, job).json()["state"] == "dead"
        assert store.jobs.get(job).state is JobState.FAILED

    def test_a_running_batch_keeps_its_vectors(self, api: TestClient, store: Store, payloads: Payloads) -> None:
        # Given a batch that runs, and whose client did not hear that it was accepted
        job = sealed_job(api, 1)
        store.attempts.claim(f"{job}-0", "w", 60)
        # When it is sent again, Then the vectors are there for the next attempt, should this one fail
        assert put(api, job).status_code == 200
        assert payloads.batch_ids() == {f"{job}-0"}

    def test_a_done_batch_leaves_no_vectors_behind(self, api: TestClient, store: Store, payloads: Payloads) -> None:
        # Given a batch that is done, When it is sent again, Then nothing stays in Redis that nobody would delete
        job = new_job(api)
        put(api, job)
        finish(store, f"{job}-0")
        payloads.delete([f"{job}-0"])
        assert put(api, job).status_code == 200
        assert payloads.batch_ids() == set()


class TestRemove:
    def test_an_ended_job_goes_with_all_that_it_had(
        self, api: TestClient, store: Store, payloads: Payloads, engine: Any
    ) -> None:
        # Given a job with rows and a dead batch whose vectors are kept, and another job
        job, other = sealed_job(api), sealed_job(api)
        finish(store, f"{job}-0")
        die(store, f"{job}-1")
        # When it is removed
        answer = api.delete(f"/v1/jobs/{job}")
        # Then there is nothing of it any more, and all of the other
        assert (answer.status_code, answer.content) == (204, b"")
        assert_problem(api.get(f"/v1/jobs/{job}"), 404, "not_found")
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM generations").scalar() == 0
            assert connection.exec_driver_sql("SELECT count(*) FROM batches").scalar() == 2
        assert not {each for each in payloads.batch_ids() if each.startswith(job)}
        assert {f"{other}-0", f"{other}-1"} <= payloads.batch_ids()
        # And once more it is not found
        assert_problem(api.delete(f"/v1/jobs/{job}"), 404, "not_found")

    def test_a_job_that_has_not_ended_is_not_removed(self, api: TestClient, store: Store) -> None:
        # Given a job that waits, When it is removed, Then the problem says what to do, and all of it is there
        job = sealed_job(api)
        assert_problem(api.delete(f"/v1/jobs/{job}"), 409, "conflict", "queued", "cancel it")
        assert len(store.jobs.batches(job)) == 2

    def test_its_key_is_free_again(self, api: TestClient, store: Store) -> None:
        # Given a job under a key, cancelled
        def create(seed: int) -> Any:
            body = {"decoder": "toy", "embedding_dim": 4, "seed": seed}
            return api.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"})

        job = create(0).json()["id"]
        api.post(f"/v1/jobs/{job}/cancel")
        assert create(1).status_code == 422
        # When it is removed, Then another job may have the key
        api.delete(f"/v1/jobs/{job}")
        assert create(1).status_code == 201
