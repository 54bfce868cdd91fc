"""Attempts: one worker has a batch at a time, and only the one that has it may end it. On SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from tests.builders import add_batches, generations, make_job, read
from unembed.generations import from_rows, rows_of
from unembed.models.settings import Settings
from unembed.models.store import Beat, Claim, Store
from unembed.schemas import Batch, BatchState, Job, JobState, Timings

LAPSED = -1.0  # a lease that has run out as soon as it begins


def take(store: Store, batch: Batch, lease: float = 5.0) -> Claim:
    claim = store.attempts.claim(batch.id, "worker", lease)
    assert claim is not None
    return claim


def now_of(store: Store, batch: Batch) -> Batch:
    return store.jobs.batches(batch.job_id)[batch.ordinal]


@pytest.fixture
def job(store: Store) -> Job:
    return make_job(store)


@pytest.fixture
def batch(store: Store, job: Job) -> Batch:
    """The only batch of the job."""
    return add_batches(store, job, (3,))[0]


class TestClaim:
    def test_a_claim_takes_the_batch_and_starts_the_job(self, store: Store, job: Job, batch: Batch) -> None:
        claim = take(store, batch)
        assert claim.attempt == 1
        assert (claim.batch.state, claim.batch.attempt, claim.batch.worker) == (BatchState.RUNNING, 1, "worker")
        assert claim.batch.claimed_at is not None
        assert claim.job == store.jobs.head(job.id)
        assert claim.job.state is JobState.RUNNING
        assert store.jobs.get(job.id).started_at is not None

    def test_the_claim_measures_how_long_the_batch_waited(self, store: Store, batch: Batch) -> None:
        claim = take(store, batch)
        assert claim.batch.claimed_at is not None
        waited = (claim.batch.claimed_at - claim.batch.queued_at).total_seconds() * 1000
        assert claim.batch.timings.waited_ms == pytest.approx(waited, abs=5.0)

    def test_a_batch_that_runs_cannot_be_claimed(self, store: Store, batch: Batch) -> None:
        take(store, batch)
        assert store.attempts.claim(batch.id, "other", 5.0) is None
        assert now_of(store, batch).worker == "worker"

    def test_of_threads_that_claim_at_once_one_gets_the_batch(self, store: Store, batch: Batch) -> None:
        # When four threads claim one batch
        got: list[Claim | None] = []
        start = threading.Barrier(4)

        def claim(name: str) -> None:
            start.wait()
            got.append(store.attempts.claim(batch.id, name, 5.0))

        threads = [threading.Thread(target=claim, args=(f"worker-{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # Then one has it
        (winner,) = [claim for claim in got if claim is not None]
        assert len(got) == 4
        assert now_of(store, batch).worker == winner.batch.worker
        assert now_of(store, batch).attempt == 1

    def test_threads_that_work_at_once_do_every_batch_once(self, store: Store, job: Job) -> None:
        # Given many batches, and workers that each get a message for every one of them
        batches = add_batches(store, job, [2] * 12)
        done: list[str] = []

        def work() -> None:
            for batch in batches:
                if claim := store.attempts.claim(batch.id, "worker", 5.0):
                    assert store.attempts.finish(batch.id, claim.attempt, generations(batch), Timings())
                    done.append(batch.id)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # Then each was done once, and numbered without a gap
        assert sorted(done) == sorted(batch.id for batch in batches)
        ended = store.jobs.get(job.id)
        assert ended.state is JobState.SUCCEEDED
        assert ended.rows.ok == 24

    def test_a_batch_that_ended_cannot_be_claimed(self, store: Store, batch: Batch) -> None:
        take(store, batch)
        store.attempts.finish(batch.id, 1, generations(batch), Timings())
        assert store.attempts.claim(batch.id, "other", 5.0) is None

    def test_a_batch_that_is_not_there_cannot_be_claimed(self, store: Store) -> None:
        assert store.attempts.claim("nothing-0", "worker", 5.0) is None

    def test_a_batch_of_a_cancelled_job_cannot_be_claimed(self, store: Store, job: Job, batch: Batch) -> None:
        store.jobs.cancel(job.id)
        assert store.attempts.claim(batch.id, "worker", 5.0) is None

    def test_a_batch_whose_lease_ran_out_can_be_claimed_before_the_sweep(self, store: Store, batch: Batch) -> None:
        take(store, batch, LAPSED)
        assert take(store, batch).attempt == 2

    def test_a_batch_whose_attempts_are_used_up_cannot_be_claimed(
        self, store: Store, settings: Settings, batch: Batch
    ) -> None:
        for _ in range(settings.max_attempts):
            take(store, batch, LAPSED)
        assert store.attempts.claim(batch.id, "worker", 5.0) is None


class TestHeartbeat:
    def test_a_heartbeat_keeps_the_lease(self, store: Store, batch: Batch) -> None:
        # Given a lease that has run out, but that nobody has taken yet
        take(store, batch, LAPSED)
        # When the worker is heard of after all
        assert store.attempts.heartbeat(batch.id, 1, 5.0) is Beat.ALIVE
        # Then the batch stays its own
        assert store.attempts.claim(batch.id, "other", 5.0) is None
        assert store.sweeping.sweep(0).expired == []

    def test_a_stale_attempt_is_told_that_it_is_fenced(self, store: Store, batch: Batch) -> None:
        take(store, batch, LAPSED)
        take(store, batch)
        assert store.attempts.heartbeat(batch.id, 1, 5.0) is Beat.FENCED
        assert store.attempts.heartbeat(batch.id, 2, 5.0) is Beat.ALIVE

    def test_a_heartbeat_tells_how_far_the_batch_is_and_never_takes_it_back(self, store: Store, batch: Batch) -> None:
        # Given an attempt that has decoded a row, and one that took its batch over
        take(store, batch)
        store.attempts.heartbeat(batch.id, 1, 5.0, 1)
        store.attempts.heartbeat(batch.id, 1, 5.0, 0)
        counts = store.jobs.get(batch.job_id).rows
        assert (counts.unwritten, counts.written, counts.done) == (1, 0, 1)
        # When it has failed, Then its rows count no more, and no late word of it does
        store.attempts.release(batch.id, 1)
        assert store.jobs.get(batch.job_id).rows.done == 0
        take(store, batch)
        assert store.attempts.heartbeat(batch.id, 1, 5.0, batch.rows) is Beat.FENCED
        assert now_of(store, batch).counts.unwritten == 0
        # And when the batch is done, its rows are written, and counted once
        store.attempts.heartbeat(batch.id, 2, 5.0, batch.rows)
        store.attempts.finish(batch.id, 2, generations(batch), Timings())
        counts = store.jobs.get(batch.job_id).rows
        assert (counts.unwritten, counts.written) == (0, batch.rows)

    def test_a_batch_that_waits_or_is_not_there_has_no_heartbeat(self, store: Store, batch: Batch) -> None:
        assert store.attempts.heartbeat(batch.id, 0, 5.0) is Beat.FENCED
        assert store.attempts.heartbeat("nothing-0", 1, 5.0) is Beat.FENCED

    def test_a_cancelled_job_is_told_with_the_heartbeat(self, store: Store, job: Job, batch: Batch) -> None:
        take(store, batch)
        store.jobs.cancel(job.id)
        assert store.attempts.heartbeat(batch.id, 1, 5.0) is Beat.CANCELLED


class TestFinish:
    def test_a_finished_batch_has_its_rows_counts_and_timings(self, store: Store, batch: Batch) -> None:
        waited = take(store, batch).batch.timings.waited_ms
        timings = Timings(waited_ms=9e9, load_ms=1.0, decode_ms=2.0, score_ms=3.0, write_ms=9e9)
        rows = generations(batch, errors=(1,))
        assert store.attempts.finish(batch.id, 1, rows, timings, device="cuda:0 H200", peak_memory_bytes=2**40)
        done = now_of(store, batch)
        assert done.state is BatchState.DONE
        assert (done.counts.ok, done.counts.error, done.counts.written) == (2, 1, 3)
        assert (done.device, done.peak_memory_bytes, done.worker) == ("cuda:0 H200", 2**40, "worker")
        assert (done.timings.load_ms, done.timings.decode_ms, done.timings.score_ms) == (1.0, 2.0, 3.0)
        # And the two that only the store can measure are its own
        assert done.timings.waited_ms == waited
        assert 0.0 < done.timings.write_ms < 60_000.0
        assert done.finished_at is not None

    def test_finishing_again_is_true_and_writes_nothing(self, store: Store, job: Job, batch: Batch) -> None:
        # Given a worker that did not hear that its rows were committed
        take(store, batch)
        store.attempts.finish(batch.id, 1, generations(batch), Timings(decode_ms=1.0))
        before, rows = now_of(store, batch), read(store, job.id)
        # When it tries again, with other rows even
        assert store.attempts.finish(batch.id, 1, generations(batch, errors=(0,)), Timings(decode_ms=2.0))
        # Then nothing has changed
        assert now_of(store, batch) == before
        assert read(store, job.id) == rows

    def test_a_stale_attempt_never_commits(self, store: Store, job: Job, batch: Batch) -> None:
        # Given a worker that slept through its lease, and another that has the batch now
        take(store, batch, LAPSED)
        take(store, batch)
        # When the first wakes up and finishes
        assert store.attempts.finish(batch.id, 1, generations(batch), Timings()) is False
        # Then nothing was written, and the second goes on
        assert read(store, job.id) == []
        assert now_of(store, batch).state is BatchState.RUNNING
        assert store.attempts.finish(batch.id, 2, generations(batch), Timings())
        # And not even afterwards
        assert store.attempts.finish(batch.id, 1, generations(batch), Timings()) is False

    def test_two_attempts_that_finish_at_once_write_once(self, store: Store, job: Job, batch: Batch) -> None:
        take(store, batch, LAPSED)
        take(store, batch)
        results: dict[int, bool] = {}
        start = threading.Barrier(2)

        def finish(attempt: int) -> None:
            start.wait()
            results[attempt] = store.attempts.finish(batch.id, attempt, generations(batch), Timings())

        threads = [threading.Thread(target=finish, args=(attempt,)) for attempt in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == {1: False, 2: True}
        assert len(read(store, job.id)) == 3

    def test_a_batch_that_was_swept_away_is_not_finished(self, store: Store, job: Job, batch: Batch) -> None:
        take(store, batch, LAPSED)
        store.sweeping.sweep(0)
        assert store.attempts.finish(batch.id, 1, generations(batch), Timings()) is False
        assert now_of(store, batch).state is BatchState.QUEUED

    def test_a_batch_that_is_not_there_is_not_finished(self, store: Store, batch: Batch) -> None:
        assert store.attempts.finish("nothing-0", 1, generations(batch), Timings()) is False

    @pytest.mark.parametrize("wrong", ["too few", "too many", "another's", "one twice"])
    def test_rows_that_are_not_the_batchs_are_refused(self, store: Store, job: Job, wrong: str) -> None:
        # Given the second of two batches, rows 2 to 4
        _, batch = add_batches(store, job, (2, 3))
        take(store, batch)
        rows = list(rows_of(generations(batch)))
        another = rows[0].model_copy(update={"index": 1})
        given = {
            "too few": rows[:2],
            "too many": [another, *rows],
            "another's": [another, *rows[1:]],
            "one twice": [rows[0], rows[0], rows[2]],
        }[wrong]
        # When other rows are handed in
        with pytest.raises(ValueError, match=r"has rows 2 to 4, each once; given were \d"):
            store.attempts.finish(batch.id, 1, from_rows(given), Timings())
        # Then nothing was written, and the attempt still has the batch
        assert read(store, job.id) == []
        assert store.attempts.heartbeat(batch.id, 1, 5.0) is Beat.ALIVE


class TestFail:
    def test_a_failed_attempt_waits_for_the_next(self, store: Store, batch: Batch) -> None:
        take(store, batch)
        assert store.attempts.fail(batch.id, 1, "out_of_memory", "no room for 1 row") is BatchState.QUEUED
        failed = now_of(store, batch)
        assert (failed.state, failed.attempt) == (BatchState.QUEUED, 1)
        assert (failed.error_code, failed.error) == ("out_of_memory", "no room for 1 row")
        assert take(store, batch).attempt == 2

    def test_a_success_after_a_failure_leaves_no_error(self, store: Store, batch: Batch) -> None:
        take(store, batch)
        store.attempts.fail(batch.id, 1, "out_of_memory", "no room")
        take(store, batch)
        store.attempts.finish(batch.id, 2, generations(batch), Timings())
        assert (now_of(store, batch).error_code, now_of(store, batch).error) == (None, None)

    def test_a_batch_is_dead_when_its_attempts_are_used_up(
        self, store: Store, settings: Settings, job: Job, batch: Batch
    ) -> None:
        # When every attempt fails
        for attempt in range(1, settings.max_attempts + 1):
            assert take(store, batch).attempt == attempt
            state = store.attempts.fail(batch.id, attempt, "poison", f"attempt {attempt}")
        # Then the batch is dead with its last error, and the job has failed
        assert state is BatchState.DEAD
        (dead,) = store.jobs.dead_batches(job.id)
        assert (dead.error, dead.attempt) == ("attempt 3", 3)
        assert dead.finished_at is not None
        assert store.jobs.get(job.id).state is JobState.FAILED
        assert store.attempts.claim(batch.id, "worker", 5.0) is None

    def test_a_final_failure_is_dead_at_once(self, store: Store, batch: Batch) -> None:
        take(store, batch)
        assert store.attempts.fail(batch.id, 1, "payload_missing", "gone", final=True) is BatchState.DEAD

    def test_a_stale_attempt_cannot_fail_the_batch(self, store: Store, batch: Batch) -> None:
        take(store, batch, LAPSED)
        take(store, batch)
        assert store.attempts.fail(batch.id, 1, "late", "too late") is None
        assert now_of(store, batch).state is BatchState.RUNNING
        assert now_of(store, batch).error is None

    def test_a_failure_in_a_cancelled_job_cancels_the_batch(self, store: Store, job: Job, batch: Batch) -> None:
        take(store, batch)
        store.jobs.cancel(job.id)
        assert store.attempts.fail(batch.id, 1, "out_of_memory", "no room") is BatchState.CANCELLED
        assert store.jobs.get(job.id).state is JobState.CANCELLED

    def test_after_a_failure_the_batch_is_left_alone_for_a_while(
        self, engine: Engine, settings: Settings, job: Job, batch: Batch
    ) -> None:
        # Given a back-off of minutes
        store = Store(engine, settings.model_copy(update={"backoff": 120.0}))
        take(store, batch)
        store.attempts.fail(batch.id, 1, "out_of_memory", "no room")
        # Then it can neither be claimed nor is its message sent
        assert store.attempts.claim(batch.id, "worker", 5.0) is None
        assert store.sweeping.sweep(0).publish == []

    def test_the_back_off_is_over_in_the_end(self, engine: Engine, settings: Settings, batch: Batch) -> None:
        store = Store(engine, settings.model_copy(update={"backoff": 0.05}))
        take(store, batch)
        store.attempts.fail(batch.id, 1, "out_of_memory", "no room")
        within(5.0, lambda: store.attempts.claim(batch.id, "worker", 5.0) is not None)

    def test_an_error_that_no_database_can_keep_is_kept_as_it_can_be(self, store: Store, batch: Batch) -> None:
        take(store, batch)
        store.attempts.fail(batch.id, 1, "c" * 100, "nul \x00, half a pair \ud800, " + "x" * 10_000)
        failed = now_of(store, batch)
        assert failed.error_code == "c" * 64
        assert failed.error is not None
        assert failed.error.startswith("nul �, half a pair ?, xxx")
        assert len(failed.error) == 4000


class TestReleaseAndCancelRunning:
    def test_a_released_batch_waits_again_and_has_lost_no_attempt(
        self, store: Store, settings: Settings, batch: Batch
    ) -> None:
        take(store, batch)
        assert store.attempts.release(batch.id, 1)
        released = now_of(store, batch)
        assert released.state is BatchState.QUEUED
        assert released.max_attempts - released.attempt == settings.max_attempts
        assert store.sweeping.sweep(0).publish == [batch.id]

    def test_a_worker_that_released_its_batch_and_went_on_is_stale(self, store: Store, batch: Batch) -> None:
        # Given a batch that was released and that another has now
        take(store, batch)
        store.attempts.release(batch.id, 1)
        other = take(store, batch)
        # When the first finishes after all, then its number is not the other's
        assert store.attempts.finish(batch.id, 1, generations(batch), Timings()) is False
        assert store.attempts.finish(batch.id, other.attempt, generations(batch), Timings())

    def test_a_stale_attempt_cannot_release_the_batch(self, store: Store, batch: Batch) -> None:
        take(store, batch, LAPSED)
        take(store, batch)
        assert store.attempts.release(batch.id, 1) is False
        assert now_of(store, batch).state is BatchState.RUNNING

    def test_a_release_in_a_cancelled_job_cancels_the_batch(self, store: Store, job: Job, batch: Batch) -> None:
        take(store, batch)
        store.jobs.cancel(job.id)
        assert store.attempts.release(batch.id, 1)
        assert store.jobs.get(job.id).state is JobState.CANCELLED

    def test_a_batch_cannot_be_cancelled_unless_its_job_is(self, store: Store, batch: Batch) -> None:
        take(store, batch)
        assert store.attempts.cancel_running(batch.id, 1) is False
        assert now_of(store, batch).state is BatchState.RUNNING

    def test_a_stale_attempt_cannot_cancel_the_batch(self, store: Store, job: Job, batch: Batch) -> None:
        take(store, batch, LAPSED)
        take(store, batch)
        store.jobs.cancel(job.id)
        assert store.attempts.cancel_running(batch.id, 1) is False
        assert store.attempts.cancel_running(batch.id, 2) is True
        assert store.attempts.cancel_running(batch.id, 2) is False


def within(seconds: float, is_so: Callable[[], bool]) -> None:
    """Wait until it is so."""
    waiting = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if is_so():
            return
        waiting.wait(0.02)
    raise AssertionError(f"still not so after {seconds} s")
