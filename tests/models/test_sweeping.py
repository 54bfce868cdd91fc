"""Lost vectors, jobs left half sent, jobs that are too old, and what a dead worker held. On both databases."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from tests.builders import DIM, add_batches, generations, make_job
from unembed.codes import FailureCode
from unembed.errors import ConflictError, NotFoundError
from unembed.models.settings import Settings
from unembed.models.store import Backlog, JobFile, Store
from unembed.schemas import Batch, BatchState, JobState, Timings


def later(engine: Engine, settings: Settings, **changes: float) -> Store:
    """A store for which what has just happened was long ago."""
    return Store(engine, settings.model_copy(update=changes))


def finish(store: Store, batch: Batch) -> None:
    claim = store.attempts.claim(batch.id, "w", 60)
    assert claim is not None
    assert store.attempts.finish(batch.id, claim.attempt, generations(batch), Timings())


def states(store: Store, job_id: str) -> list[BatchState]:
    return [batch.state for batch in store.jobs.batches(job_id)]


class TestLostPayloads:
    def test_a_batch_that_waits_without_its_vectors_is_dead_and_says_why(self, store: Store) -> None:
        # Given three batches, one done, one running, one waiting
        job = make_job(store)
        done, running, waiting = add_batches(store, job, (1, 1, 1))
        finish(store, done)
        store.attempts.claim(running.id, "w", 60)
        assert store.sweeping.queued() == {waiting.id}
        # When all three are said to have no payload
        lost = store.sweeping.fail_missing_payloads([done.id, running.id, waiting.id])
        # Then it is the one that waits that is dead: the others have read theirs
        assert lost == 1
        assert states(store, job.id) == [BatchState.DONE, BatchState.RUNNING, BatchState.DEAD]
        dead = store.jobs.batches(job.id)[2]
        assert (dead.error_code, dead.lacks_its_vectors) == (FailureCode.PAYLOAD_MISSING, True)
        assert "no longer in Redis" in str(dead.error)

    def test_a_job_whose_last_batches_are_lost_ends(self, store: Store) -> None:
        # Given two jobs that wait
        jobs = [make_job(store), make_job(store)]
        batches = [batch for job in jobs for batch in add_batches(store, job)]
        # When all their payloads are lost, Then both have failed
        assert store.sweeping.fail_missing_payloads([batch.id for batch in batches]) == 4
        assert [store.jobs.get(job.id).state for job in jobs] == [JobState.FAILED, JobState.FAILED]

    def test_what_is_done_or_cancelled_needs_no_payload_any_more(self, store: Store) -> None:
        # Given batches in every state
        job = make_job(store)
        done, dead, running, waiting = add_batches(store, job, (1, 1, 1, 1))
        finish(store, done)
        claim = store.attempts.claim(dead.id, "w", 60)
        assert claim is not None
        store.attempts.fail(dead.id, claim.attempt, "c", "e", final=True)
        store.attempts.claim(running.id, "w", 60)
        everything = [done.id, dead.id, running.id, waiting.id, "of-another-house"]
        # When they are asked about / Then only what is over for good is spent, and a stranger's is not ours to judge
        assert store.sweeping.done_or_cancelled(everything) == [done.id]
        store.jobs.cancel(job.id)
        assert sorted(store.sweeping.done_or_cancelled(everything)) == sorted([done.id, waiting.id])


class TestNeverSealed:
    def test_a_job_that_its_client_left_is_cancelled_and_says_so(
        self, store: Store, engine: Engine, settings: Settings
    ) -> None:
        # Given a job that was begun and not sealed, of which one batch is done
        job = make_job(store)
        done, waiting = add_batches(store, job, (1, 1), seal=False)
        finish(store, done)
        assert store.sweeping.cancel_unsealed() == []
        # When nothing has come for longer than a client may take
        assert later(engine, settings, receive_timeout=1e-6).sweeping.cancel_unsealed() == [job.id]
        # Then it is cancelled, with the reason, and what is done stays
        ended = store.jobs.get(job.id)
        assert (ended.state, ended.rows.ok) == (JobState.CANCELLED, 1)
        assert "never sealed" in str(ended.error)
        assert states(store, job.id) == [BatchState.DONE, BatchState.CANCELLED]
        assert waiting.id not in store.sweeping.queued()

    def test_its_running_batch_ends_it_with_the_same_reason(
        self, store: Store, engine: Engine, settings: Settings
    ) -> None:
        # Given a job that is left while a batch of it runs
        job = make_job(store)
        (batch,) = add_batches(store, job, (1,), seal=False)
        claim = store.attempts.claim(batch.id, "w", 60)
        assert claim is not None
        later(engine, settings, receive_timeout=1e-6).sweeping.cancel_unsealed()
        assert store.jobs.get(job.id).state is JobState.CANCELLING
        # When its worker has stopped, Then the reason is still there
        assert store.attempts.cancel_running(batch.id, claim.attempt)
        assert store.jobs.get(job.id).state is JobState.CANCELLED
        assert "never sealed" in str(store.jobs.get(job.id).error)

    def test_a_batch_that_came_of_late_keeps_it_open(self, store: Store, engine: Engine) -> None:
        # Given a job that was begun two days ago, and whose last batch has just come
        job = make_job(store)
        add_batches(store, job, (1,), seal=False)
        two_days_ago = {"sqlite": "datetime('now', '-2 days')", "postgresql": "now() - interval '2 days'"}
        with engine.begin() as connection:
            connection.execute(text(f"UPDATE jobs SET created_at = {two_days_ago[engine.dialect.name]}"))
        # When it is looked at, Then it is left alone
        assert store.sweeping.cancel_unsealed() == []
        assert store.jobs.get(job.id).state is JobState.RECEIVING

    def test_a_sealed_job_may_wait_for_ever(self, store: Store, engine: Engine, settings: Settings) -> None:
        job = make_job(store)
        add_batches(store, job)
        assert later(engine, settings, receive_timeout=1e-6).sweeping.cancel_unsealed() == []


class TestTooOld:
    def test_only_what_has_ended_long_ago_has_outlived_its_use(
        self, store: Store, engine: Engine, settings: Settings
    ) -> None:
        # Given a job that has ended, and one that has not
        ended, waits = make_job(store), make_job(store)
        for batch in add_batches(store, ended):
            finish(store, batch)
        add_batches(store, waits)
        # When jobs are kept for ever, or for a day, Then none is too old; when for no time, the ended one is
        assert store.sweeping.expired_jobs() == []
        assert later(engine, settings, job_ttl=86400).sweeping.expired_jobs() == []
        assert later(engine, settings, job_ttl=0).sweeping.expired_jobs() == [ended.id]

    def test_an_uploaded_file_goes_when_jobs_of_its_age_would(
        self, store: Store, engine: Engine, settings: Settings
    ) -> None:
        # Given a file, and a job that was made of it
        file = store.files.add("", "in.jsonl", b"{}")
        job = make_job(store)
        store.files.note_job(job.id, JobFile(file.id, "/v1/completions", {}))
        # When jobs are kept for ever, or for a day, Then it stays; when for no time, it goes, and the job does not
        assert store.files.remove_old() == []
        assert later(engine, settings, job_ttl=86400).files.remove_old() == []
        assert later(engine, settings, job_ttl=0).files.remove_old() == [file.id]
        assert store.files.page(10, None, None) == []
        assert store.files.of_job(job.id).file_id == file.id

    def test_a_removed_job_takes_its_batches_and_rows_along(self, store: Store, engine: Engine) -> None:
        # Given a job of more batches than go at once, and another one
        job, other = make_job(store), make_job(store)
        batches = add_batches(store, job, [1] * 40)
        for batch in (*batches, *add_batches(store, other, (2,))):
            finish(store, batch)
        # When it is removed
        assert sorted(store.jobs.remove(job.id)) == sorted(batch.id for batch in batches)
        # Then nothing is left of it, and all of the other
        with pytest.raises(NotFoundError):
            store.jobs.get(job.id)
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM batches")) == 1
            assert connection.scalar(text("SELECT count(*) FROM generations")) == 2

    def test_what_has_not_ended_is_not_removed(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job)
        with pytest.raises(ConflictError, match="cancel it"):
            store.jobs.remove(job.id)
        assert len(store.jobs.batches(job.id)) == 2


class TestTakeBack:
    def test_what_a_dead_worker_held_waits_again_and_the_attempt_counts(self, store: Store) -> None:
        # Given two workers with a batch each
        job = make_job(store)
        of_dead, of_living = add_batches(store, job)
        store.attempts.claim(of_dead.id, "dead", 60)
        store.attempts.claim(of_living.id, "living", 60)
        # When one of them is known to be dead
        assert len(store.sweeping.reclaim("dead")) == 1
        # Then its batch waits, without the lease that it still had, and the other one's is left alone
        first, second = store.jobs.batches(job.id)
        assert (first.state, first.attempt, first.error_code) == (BatchState.QUEUED, 1, "worker_lost")
        assert second.state is BatchState.RUNNING
        assert store.sweeping.sweep(0).publish == [of_dead.id]

    def test_one_batch_alone_can_be_taken_back_and_only_from_its_worker(self, store: Store) -> None:
        # Given a worker that seems to hold two, each in answer to a message
        job = make_job(store)
        first, second = add_batches(store, job)
        store.attempts.claim(first.id, "w", 60, "message 1")
        store.attempts.claim(second.id, "w", 60, "message 2")
        assert len(store.sweeping.reclaim("other", "message 1")) == 0
        # When its child died over the first, Then the second is left alone
        assert len(store.sweeping.reclaim("w", "message 1")) == 1
        assert states(store, job.id) == [BatchState.QUEUED, BatchState.RUNNING]

    def test_the_last_attempt_leaves_it_dead(self, store: Store, settings: Settings) -> None:
        # Given a batch whose child dies, every time
        job = make_job(store)
        (batch,) = add_batches(store, job, (1,))
        for _ in range(settings.max_attempts):
            assert store.attempts.claim(batch.id, "w", 60, "message") is not None
            assert len(store.sweeping.reclaim("w", "message")) == 1
        # Then it is dead, and says how
        (dead,) = store.jobs.dead_batches(job.id)
        assert (dead.attempt, dead.error_code) == (settings.max_attempts, "worker_lost")
        assert store.jobs.get(job.id).state is JobState.FAILED

    def test_a_batch_that_ends_each_start_of_all_workers_is_dead_in_the_end(
        self, store: Store, settings: Settings
    ) -> None:
        # Given a batch that takes the machine down, and one that only waits
        job = make_job(store)
        bad, waiting = add_batches(store, job, (1, 1))
        # When it runs at every start, and at the next one all workers are known to be dead
        for attempt in range(1, settings.max_attempts + 1):
            claim = store.attempts.claim(bad.id, f"w{attempt}", 3600)
            assert claim is not None
            assert claim.attempt == attempt
            assert len(store.sweeping.reclaim_all()) == 1
        # Then it is dead and says why, and the other still waits, with no attempt against it
        dead, other = store.jobs.batches(job.id)
        assert (dead.state, dead.error_code) == (BatchState.DEAD, "worker_lost")
        assert (other.id, other.state, other.attempt) == (waiting.id, BatchState.QUEUED, 0)
        assert store.attempts.claim(bad.id, "w", 60) is None
        assert len(store.sweeping.reclaim_all()) == 0

    def test_of_a_cancelled_job_it_ends(self, store: Store) -> None:
        job = make_job(store)
        (batch,) = add_batches(store, job, (1,))
        store.attempts.claim(batch.id, "w", 60)
        store.jobs.cancel(job.id)
        assert len(store.sweeping.reclaim("w")) == 1
        assert store.jobs.get(job.id).state is JobState.CANCELLED


def test_the_backlog_is_what_is_queued_or_running_in_all_and_of_one_client(store: Store) -> None:
    # Given two clients' jobs, of which one batch is done, one runs and three wait
    mine, other = make_job(store, client="me"), make_job(store, client="you")
    done, running, _ = add_batches(store, mine, (1, 2, 4))
    add_batches(store, other, (8, 16))
    finish(store, done)
    store.attempts.claim(running.id, "w", 60)
    # When the backlog is asked for / Then rows and bytes of what is not done are told, and of whose they are
    row = DIM * 4
    assert store.queue.backlog(mine.id) == Backlog(30, 30 * row, 6, 6 * row)
    assert store.queue.backlog(other.id) == Backlog(30, 30 * row, 24, 24 * row)


def test_where_no_payload_is_left_all_that_is_not_done_may_be_sent_again(store: Store) -> None:
    # Given a job with a batch that waits, one that failed for good, and one that is done
    job = make_job(store)
    waits, failed, done = add_batches(store, job, (2, 2, 2))
    finish(store, done)
    claim = store.attempts.claim(failed.id, "w", 60)
    assert claim is not None
    store.attempts.fail(failed.id, claim.attempt, "decode_failed", "it went wrong", final=True)
    # When the payloads are known to be gone, Then the first two lack their vectors, and come back when they are sent
    store.sweeping.forget_payloads()
    assert [batch.lacks_its_vectors for batch in store.jobs.batches(job.id)] == [True, True, False]
    for batch in (waits, failed):
        store.requeue.after_resend(batch.id)
    assert states(store, job.id) == [BatchState.QUEUED, BatchState.QUEUED, BatchState.DONE]
