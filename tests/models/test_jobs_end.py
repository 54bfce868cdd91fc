"""How jobs end: sealed, settled by their batches, or cancelled. On SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest

from tests.builders import add_batches, generations, make_job, read, run_job
from unembed.errors import ConflictError
from unembed.models.store import Store
from unembed.schemas import JobState, RowCounts, Timings

SHA = "a" * 64


class TestSealing:
    def test_a_sealed_job_is_queued(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job, (2, 2), seal=False)
        sealed = store.jobs.seal(job.id, 2, 4)
        assert sealed.state is JobState.QUEUED
        assert sealed.sealed_at is not None

    def test_sealing_again_changes_nothing(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job, (2, 2))
        before = store.jobs.get(job.id)
        assert store.jobs.seal(job.id, 2, 4) == before

    def test_sealing_again_after_the_end_changes_nothing(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job, (2, 2))
        ended = run_job(store, job)
        assert store.jobs.seal(job.id, 2, 4) == ended

    def test_sealing_again_with_other_numbers_is_refused(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job, (2, 2))
        with pytest.raises(ConflictError, match="2 batches with 4 rows arrived, the seal says 2 with 5"):
            store.jobs.seal(job.id, 2, 5)

    def test_missing_batches_are_named(self, store: Store) -> None:
        job = make_job(store)
        store.jobs.add_batch(job.id, 1, 2, 2, 32, SHA)
        with pytest.raises(ConflictError, match=r"13 of 14 batches did not arrive: 0, 2, 3, .* 10 and 3 more"):
            store.jobs.seal(job.id, 14, 28)
        assert store.jobs.get(job.id).state is JobState.RECEIVING

    def test_more_batches_than_the_seal_says_are_refused(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job, (2, 2), seal=False)
        with pytest.raises(ConflictError, match="2 batches with 4 rows arrived, the seal says 1 with 2"):
            store.jobs.seal(job.id, 1, 2)

    def test_a_gap_between_the_rows_is_refused(self, store: Store) -> None:
        # Given the right number of batches and of rows, but row 2 was left out
        job = make_job(store)
        store.jobs.add_batch(job.id, 0, 0, 2, 32, SHA)
        store.jobs.add_batch(job.id, 1, 3, 2, 32, SHA)
        with pytest.raises(ConflictError, match="batch 1 begins at row 3, but those before it end before row 2"):
            store.jobs.seal(job.id, 2, 4)

    def test_rows_that_do_not_begin_at_0_are_refused(self, store: Store) -> None:
        job = make_job(store)
        store.jobs.add_batch(job.id, 0, 1, 2, 32, SHA)
        with pytest.raises(ConflictError, match="batch 0 begins at row 1"):
            store.jobs.seal(job.id, 1, 2)

    def test_a_cancelled_job_cannot_be_sealed(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job, seal=False)
        store.jobs.cancel(job.id)
        with pytest.raises(ConflictError, match="is cancelled and cannot be sealed"):
            store.jobs.seal(job.id, 2, 4)

    def test_a_job_whose_batches_were_claimed_is_running_once_sealed(self, store: Store) -> None:
        # Given a batch that was claimed while the job received
        job = make_job(store)
        batch, *_ = add_batches(store, job, (2, 2), seal=False)
        store.attempts.claim(batch.id, "worker", 5.0)
        assert store.jobs.get(job.id).state is JobState.RECEIVING
        # When it is sealed
        assert store.jobs.seal(job.id, 2, 4).state is JobState.RUNNING

    def test_a_job_whose_batches_are_all_done_ends_with_the_seal(self, store: Store) -> None:
        # Given a worker faster than the client
        job = make_job(store)
        add_batches(store, job, (2, 2), seal=False)
        assert run_job(store, job).state is JobState.RECEIVING
        # When the client is done
        sealed = store.jobs.seal(job.id, 2, 4)
        # Then so is the job
        assert sealed.state is JobState.SUCCEEDED
        assert sealed.finished_at is not None


class TestSettling:
    def test_every_row_with_a_text_is_a_success(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job, (2, 3))
        ended = run_job(store, job)
        assert ended.state is JobState.SUCCEEDED
        assert ended.rows == RowCounts(total=5, ok=5)
        assert ended.batches.done == 2
        assert ended.error is None
        assert ended.finished_at is not None

    def test_some_error_rows_are_a_part(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job, (2, 3))
        ended = run_job(store, job, errors=(0,))
        assert ended.state is JobState.PARTIAL
        assert ended.rows == RowCounts(total=5, ok=3, error=2)

    def test_no_row_with_a_text_is_a_failure(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job, (1, 1))
        ended = run_job(store, job, errors=(0,))
        assert ended.state is JobState.FAILED
        assert ended.error == "no row could be decoded; the rows say why"

    def test_a_dead_batch_makes_it_a_part_and_the_job_says_why(self, store: Store) -> None:
        # Given two batches, one of which cannot be decoded
        job = make_job(store)
        lost, _ = add_batches(store, job, (2, 2))
        assert store.attempts.claim(lost.id, "worker", 5.0)
        store.attempts.fail(lost.id, 1, "payload_missing", "the payload expired", final=True)
        # When the other is done
        ended = run_job(store, job)
        # Then
        assert ended.state is JobState.PARTIAL
        assert ended.error == "1 of 2 batches failed for good; the last error: payload_missing: the payload expired"
        assert [batch.id for batch in store.jobs.dead_batches(job.id)] == [lost.id]

    def test_nothing_but_dead_batches_is_a_failure(self, store: Store) -> None:
        job = make_job(store)
        for batch in add_batches(store, job, (2, 2)):
            assert store.attempts.claim(batch.id, "worker", 5.0)
            store.attempts.fail(batch.id, 1, "broken", "no use", final=True)
        assert store.jobs.get(job.id).state is JobState.FAILED

    def test_a_job_goes_on_while_a_batch_waits(self, store: Store) -> None:
        job = make_job(store)
        batch, _ = add_batches(store, job, (2, 2))
        assert store.attempts.claim(batch.id, "worker", 5.0)
        store.attempts.finish(batch.id, 1, generations(batch), Timings())
        assert store.jobs.get(job.id).state is JobState.RUNNING


class TestCancelling:
    def test_a_job_that_only_waits_is_cancelled_at_once(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job, (2, 2))
        cancelled = store.jobs.cancel(job.id)
        assert cancelled.state is JobState.CANCELLED
        assert cancelled.batches.cancelled == 2
        assert cancelled.finished_at is not None

    def test_a_job_that_receives_can_be_cancelled(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job, (2, 2), seal=False)
        assert store.jobs.cancel(job.id).state is JobState.CANCELLED

    def test_a_job_without_a_batch_can_be_cancelled(self, store: Store) -> None:
        assert store.jobs.cancel(make_job(store).id).state is JobState.CANCELLED

    def test_a_job_that_runs_is_cancelling_until_its_batches_stop(self, store: Store) -> None:
        # Given one batch that runs and one that waits
        job = make_job(store)
        running, waiting = add_batches(store, job, (2, 2))
        assert store.attempts.claim(running.id, "worker", 5.0)
        # When the job is cancelled
        cancelling = store.jobs.cancel(job.id)
        # Then the waiting one is cancelled, and cannot be claimed any more
        assert cancelling.state is JobState.CANCELLING
        assert (cancelling.batches.running, cancelling.batches.cancelled) == (1, 1)
        assert store.attempts.claim(waiting.id, "worker", 5.0) is None
        # And when the running one has stopped, the job is cancelled
        assert store.attempts.cancel_running(running.id, 1)
        assert store.jobs.get(job.id).state is JobState.CANCELLED

    def test_cancelling_again_changes_nothing(self, store: Store) -> None:
        job = make_job(store)
        batch, _ = add_batches(store, job, (2, 2))
        assert store.attempts.claim(batch.id, "worker", 5.0)
        cancelling = store.jobs.cancel(job.id)
        assert store.jobs.cancel(job.id) == cancelling
        store.attempts.cancel_running(batch.id, 1)
        cancelled = store.jobs.get(job.id)
        assert store.jobs.cancel(job.id) == cancelled

    def test_a_job_that_ended_cannot_be_cancelled(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job)
        run_job(store, job)
        with pytest.raises(ConflictError, match="has succeeded already and cannot be cancelled"):
            store.jobs.cancel(job.id)

    def test_what_is_done_stays_done(self, store: Store) -> None:
        # Given a batch that was done before the cancel, and one that got there before it noticed
        job = make_job(store)
        done, late, _ = add_batches(store, job, (2, 2, 2))
        for batch in (done, late):
            assert store.attempts.claim(batch.id, "worker", 5.0)
        store.attempts.finish(done.id, 1, generations(done), Timings())
        # When
        assert store.jobs.cancel(job.id).state is JobState.CANCELLING
        assert store.attempts.finish(late.id, 1, generations(late), Timings())
        # Then the rows of both are there
        cancelled = store.jobs.get(job.id)
        assert cancelled.state is JobState.CANCELLED
        assert (cancelled.batches.done, cancelled.batches.cancelled) == (2, 1)
        assert len(read(store, job.id)) == 4
