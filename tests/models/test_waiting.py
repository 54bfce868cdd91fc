"""Why nothing of a job runs, as SQL tells it. On SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from tests.builders import add_batches, generations, make_job, run_job
from unembed.models.clock import now
from unembed.models.settings import Settings
from unembed.models.store import Store
from unembed.models.tables import BatchRow, WorkerRow
from unembed.schemas import Job, Timings, Waiting


def waiting(store: Store, job: Job) -> Waiting:
    found = store.waits.of(store.jobs.get(job.id))
    assert found is not None
    return found


def test_a_job_of_which_a_batch_runs_waits_for_nothing(store: Store) -> None:
    job = make_job(store)
    assert store.waits.of(store.jobs.get(job.id)) is None  # nothing of it is there yet
    first, _ = add_batches(store, job)
    assert store.waits.of(store.jobs.get(job.id)) is not None
    store.attempts.claim(first.id, "cpu0@here", 60.0)
    assert store.waits.of(store.jobs.get(job.id)) is None


def test_an_ended_job_waits_for_nothing(store: Store) -> None:
    job = make_job(store)
    add_batches(store, job)
    assert store.waits.of(run_job(store, job)) is None


def test_other_jobs_are_ahead_with_no_more_rows_than_are_decoded_in_between(store: Store) -> None:
    # Given a job of 4 rows, and others of 2 and of 60
    job, small, large = (make_job(store) for _ in range(3))
    add_batches(store, job, (2, 2))
    add_batches(store, small, (2,))
    add_batches(store, large, (30, 30))
    # When it waits, Then both are ahead, the large one with as many rows as it has itself
    found = waiting(store, job)
    assert (found.jobs_ahead, found.rows_ahead, found.seconds) == (2, 6, None)


def test_priorities_and_clients_have_their_shares(store: Store) -> None:
    # Given a job of 16 rows, one of the same client that is urgent, one that is not, and one of another client
    job = make_job(store, client="a")
    add_batches(store, job, (16,))
    for client, priority in (("a", "high"), ("a", "low"), ("b", "normal")):
        add_batches(store, make_job(store, client=client, priority=priority), (400, 400))
    # When it waits, Then before its end come 8 rows of the urgent one for each of its own, one of the other for 8 of
    # its own, and of the other client as many as of all of its own client
    assert waiting(store, job).rows_ahead == 16 * 8 + 16 // 8 + 146


def test_what_runs_comes_first(store: Store) -> None:
    # Given a job of 2 rows, and a batch of another that runs
    job, large = make_job(store), make_job(store)
    add_batches(store, job, (2,))
    first, _ = add_batches(store, large, (30, 30))
    store.attempts.claim(first.id, "cpu0@here", 60.0)
    assert waiting(store, job).rows_ahead == 30


def test_how_long_it_takes_is_reckoned_from_what_living_workers_did_of_late(store: Store) -> None:
    # Given two workers that live, of which one has just decoded 2 rows in 4 s
    for name in ("cpu0@here", "cpu1@here"):
        store.workers.check_in(name, "here", 1, "cpu", None)
    done, job = make_job(store), make_job(store)
    (batch,) = add_batches(store, done, (2,))
    store.attempts.claim(batch.id, "cpu0@here", 60.0)
    with store.engine.begin() as connection:
        connection.execute(update(BatchRow).values(claimed_at=now(-4)))
    store.attempts.finish(batch.id, 1, generations(batch), Timings())
    # When a job of 8 rows waits, Then the two will have done them in about 8 s
    add_batches(store, job, (8,))
    found = waiting(store, job)
    assert found.workers == 2
    assert found.seconds == pytest.approx(8.0, rel=0.2)
    assert store.waits.pace() == pytest.approx(1.0, rel=0.2)


def test_the_attempt_that_failed_last_is_told_until_the_next_one_begins(store: Store, settings: Settings) -> None:
    # Given a batch that failed, and waits for half a minute
    slow = Store(store.engine, settings.model_copy(update={"backoff": 30.0}))
    job = make_job(slow)
    (batch,) = add_batches(slow, job, (2,))
    slow.attempts.claim(batch.id, "gpu0@here", 60.0)
    slow.attempts.fail(batch.id, 1, "out_of_memory", "no room for a row")
    # When the job is looked at, Then it says which attempt that was, where and why, and when the next one comes
    failed = waiting(slow, job).failed
    assert failed is not None
    assert (failed.batch, failed.attempt, failed.max_attempts, failed.worker) == (batch.id, 1, 3, "gpu0@here")
    assert (failed.error_code, failed.error) == ("out_of_memory", "no room for a row")
    assert 0 < failed.next_in <= 30


def test_vectors_that_were_lost_and_sent_again_are_no_failed_attempt(store: Store) -> None:
    job = make_job(store)
    (batch,) = add_batches(store, job, (2,))
    store.sweeping.fail_missing_payloads([batch.id])
    store.requeue.after_resend(batch.id)
    assert waiting(store, job).failed is None


class TestTheLastWorker:
    def test_before_there_was_any_there_is_none(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job)
        found = waiting(store, job)
        assert (found.workers, found.last_worker) == (0, None)

    def test_one_that_could_not_work_says_why_until_it_starts_anew(self, store: Store) -> None:
        # Given a worker that ended because its device is not there
        job = make_job(store)
        add_batches(store, job)
        store.workers.check_in("gpu0@here", "here", 1, None, None)
        store.workers.ended("gpu0@here", "here", 1, "device 'cuda' is not available here")
        # When a job waits, Then no worker runs, and that is why
        found = waiting(store, job)
        assert found.workers == 0
        assert found.last_worker == "gpu0@here ended with: device 'cuda' is not available here"
        # And a late word of the same process changes nothing, but a new process does
        store.workers.check_in("gpu0@here", "here", 1, None, None)
        assert waiting(store, job).workers == 0
        store.workers.check_in("gpu0@here", "here", 2, None, None)
        assert waiting(store, job).workers == 1

    def test_one_that_said_nothing_was_last_seen_some_time_ago(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job)
        store.workers.check_in("gpu0@here", "here", 1, None, None)
        with store.engine.begin() as connection:
            connection.execute(update(WorkerRow).values(last_seen=now(-3600)))
        assert (waiting(store, job).last_worker or "").startswith("gpu0@here was last seen 3,6")
