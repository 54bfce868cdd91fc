"""Jobs: created once, filled without gaps, sealed, cancelled, paged. On SQLite and on PostgreSQL."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from models.store import Store
from tests.builders import add_batches, generations, make_job
from unembed.errors import ConflictError, IdempotencyError, InputError, NotFoundError
from unembed.schemas import BatchState, DecodeOptions, Job, JobCreate, JobState, RowCounts, RowStatus, Timings

SHA = "a" * 64
OTHER_SHA = "b" * 64
AN_ID_WITH_NUL = base64.urlsafe_b64encode(b"2026-01-01T00:00:00+00:00 " + b"a\0" * 13).decode()


def run_job(store: Store, job: Job, *, errors: tuple[int, ...] = ()) -> Job:
    """Claim and finish every batch that waits; `errors` are the offsets of error rows in each."""
    for batch in store.batches(job.id):
        if claim := store.claim(batch.id, "worker", 5.0):
            store.finish(batch.id, claim.attempt, generations(batch, errors=errors), Timings())
    return store.job(job.id)


def test_a_new_job_is_receiving_and_is_what_was_asked_for(store: Store) -> None:
    # When a job is created with everything set
    options = DecodeOptions(temperature=0.5, top_k=10, max_pieces=32)
    spec = JobCreate(embedding_dim=384, decoder="d", seed=2**62, options=options, name="näme", fingerprint="f")
    job, created = store.create_job(spec)
    # Then all of it is kept, and the clock is about ours, and UTC
    assert created
    assert job.state is JobState.RECEIVING
    assert (job.decoder, job.embedding_dim, job.seed, job.options, job.name) == ("d", 384, 2**62, options, "näme")
    assert abs(datetime.now(UTC) - job.created_at) < timedelta(minutes=1)
    assert store.job(job.id) == job


def test_a_job_that_is_not_there_is_not_found(store: Store) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.job("nothing"),
        lambda: store.batches("nothing"),
        lambda: store.dead_batches("nothing"),
        lambda: store.generations("nothing"),
        lambda: store.cancel("nothing"),
        lambda: store.seal("nothing", 1, 1),
        lambda: store.add_batch("nothing", 0, 0, 1, 4, SHA),
    ]
    for call in calls:
        with pytest.raises(NotFoundError, match="'nothing'"):
            call()


class TestIdempotency:
    SPEC = JobCreate(embedding_dim=4, fingerprint="first")

    def test_the_same_key_and_spec_is_the_same_job(self, store: Store) -> None:
        job, _ = store.create_job(self.SPEC, client="c", idempotency_key="k")
        again, created = store.create_job(self.SPEC, client="c", idempotency_key="k")
        assert (again, created) == (job, False)

    def test_the_same_key_with_another_corpus_is_refused_naming_both(self, store: Store) -> None:
        store.create_job(self.SPEC, client="c", idempotency_key="k")
        other = self.SPEC.model_copy(update={"fingerprint": "second"})
        with pytest.raises(IdempotencyError, match=r"'k'.*another fingerprint.*'first'.*'second'"):
            store.create_job(other, client="c", idempotency_key="k")

    def test_the_same_key_with_other_options_is_refused(self, store: Store) -> None:
        store.create_job(self.SPEC, client="c", idempotency_key="k")
        other = self.SPEC.model_copy(update={"options": DecodeOptions(temperature=1.0), "seed": 1})
        with pytest.raises(IdempotencyError, match="another seed, options"):
            store.create_job(other, client="c", idempotency_key="k")

    def test_another_client_may_use_the_same_key(self, store: Store) -> None:
        first, _ = store.create_job(self.SPEC, client="c", idempotency_key="k")
        second, created = store.create_job(self.SPEC, client="d", idempotency_key="k")
        assert created
        assert second.id != first.id

    def test_without_a_key_every_job_is_new(self, store: Store) -> None:
        assert make_job(store).id != make_job(store).id

    def test_two_at_once_make_one_job(self, store: Store) -> None:
        # When several threads create a job with one key
        found: list[tuple[str, bool]] = []
        start = threading.Barrier(4)

        def create() -> None:
            start.wait()
            job, created = store.create_job(self.SPEC, idempotency_key="k")
            found.append((job.id, created))

        threads = [threading.Thread(target=create) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # Then all got the same one, and one of them made it
        assert len({job_id for job_id, _ in found}) == 1
        assert sorted(created for _, created in found) == [False, False, False, True]


class TestAddingBatches:
    def test_a_batch_is_queued(self, store: Store) -> None:
        job = make_job(store)
        batch, created = store.add_batch(job.id, 0, 0, 3, 48, SHA)
        assert created
        assert (batch.id, batch.state, batch.rows, batch.attempt) == (f"{job.id}-0", BatchState.QUEUED, 3, 0)
        assert store.batches(job.id) == [batch]
        assert store.job(job.id).rows.total == 3

    def test_the_same_batch_again_is_found_not_added(self, store: Store) -> None:
        job = make_job(store)
        first, _ = store.add_batch(job.id, 0, 0, 3, 48, SHA)
        assert store.add_batch(job.id, 0, 0, 3, 48, SHA) == (first, False)

    def test_the_same_batch_again_is_found_even_after_the_seal(self, store: Store) -> None:
        # Given a client whose connection broke after its last batch, and another that sealed
        job = make_job(store)
        store.add_batch(job.id, 0, 0, 3, 48, SHA)
        store.seal(job.id, 1, 3)
        # When the first tries again, then it learns that the batch had arrived
        _, created = store.add_batch(job.id, 0, 0, 3, 48, SHA)
        assert not created

    @pytest.mark.parametrize(
        ("first_index", "rows", "sha", "name"),
        [(0, 3, OTHER_SHA, "sha256"), (1, 3, SHA, "first_index"), (0, 2, SHA, "rows")],
    )
    def test_the_same_ordinal_with_other_content_is_refused(
        self, store: Store, first_index: int, rows: int, sha: str, name: str
    ) -> None:
        job = make_job(store)
        store.add_batch(job.id, 0, 0, 3, 48, SHA)
        with pytest.raises(ConflictError, match=f"batch 0 .* received with {name}"):
            store.add_batch(job.id, 0, first_index, rows, 48, sha)

    @pytest.mark.parametrize(("first_index", "rows"), [(0, 1), (2, 4), (9, 3), (0, 100), (4, 2)])
    def test_rows_that_another_batch_has_are_refused(self, store: Store, first_index: int, rows: int) -> None:
        # Given rows 0 to 2 and 3 to 9
        job = make_job(store)
        add_batches(store, job, (3, 7), seal=False)
        # When a further batch has any of them, then it is refused
        with pytest.raises(ConflictError, match=r"overlap batch [01]"):
            store.add_batch(job.id, 2, first_index, rows, 48, SHA)

    def test_batches_may_arrive_in_any_order(self, store: Store) -> None:
        job = make_job(store)
        store.add_batch(job.id, 2, 6, 1, 16, SHA)
        store.add_batch(job.id, 0, 0, 3, 48, SHA)
        store.add_batch(job.id, 1, 3, 3, 48, SHA)
        assert [batch.ordinal for batch in store.batches(job.id)] == [0, 1, 2]
        assert store.seal(job.id, 3, 7).state is JobState.QUEUED

    def test_a_sealed_job_takes_no_more(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job)
        with pytest.raises(ConflictError, match="is queued and takes no more batches"):
            store.add_batch(job.id, 2, 4, 2, 32, SHA)

    def test_a_cancelled_job_takes_no_more(self, store: Store) -> None:
        job = make_job(store)
        store.cancel(job.id)
        with pytest.raises(ConflictError, match="is cancelled and takes no more batches"):
            store.add_batch(job.id, 0, 0, 2, 32, SHA)

    @pytest.mark.parametrize(("ordinal", "first_index", "rows"), [(-1, 0, 1), (0, -1, 1), (0, 0, 0)])
    def test_numbers_that_cannot_be_are_refused(self, store: Store, ordinal: int, first_index: int, rows: int) -> None:
        job = make_job(store)
        with pytest.raises(InputError, match=f"batch {ordinal}, {rows} rows from {first_index}"):
            store.add_batch(job.id, ordinal, first_index, rows, 0, SHA)


class TestSealing:
    def test_a_sealed_job_is_queued(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job, (2, 2), seal=False)
        sealed = store.seal(job.id, 2, 4)
        assert sealed.state is JobState.QUEUED
        assert sealed.sealed_at is not None

    def test_sealing_again_changes_nothing(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job, (2, 2))
        before = store.job(job.id)
        assert store.seal(job.id, 2, 4) == before

    def test_sealing_again_after_the_end_changes_nothing(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job, (2, 2))
        ended = run_job(store, job)
        assert store.seal(job.id, 2, 4) == ended

    def test_sealing_again_with_other_numbers_is_refused(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job, (2, 2))
        with pytest.raises(ConflictError, match="2 batches with 4 rows arrived, the seal says 2 with 5"):
            store.seal(job.id, 2, 5)

    def test_missing_batches_are_named(self, store: Store) -> None:
        job = make_job(store)
        store.add_batch(job.id, 1, 2, 2, 32, SHA)
        with pytest.raises(ConflictError, match=r"of 14 batches 13 did not arrive: 0, 2, 3, .* 10 and 3 more"):
            store.seal(job.id, 14, 28)
        assert store.job(job.id).state is JobState.RECEIVING

    def test_more_batches_than_the_seal_says_are_refused(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job, (2, 2), seal=False)
        with pytest.raises(ConflictError, match="2 batches with 4 rows arrived, the seal says 1 with 2"):
            store.seal(job.id, 1, 2)

    def test_a_gap_between_the_rows_is_refused(self, store: Store) -> None:
        # Given the right number of batches and of rows, but row 2 was left out
        job = make_job(store)
        store.add_batch(job.id, 0, 0, 2, 32, SHA)
        store.add_batch(job.id, 1, 3, 2, 32, SHA)
        with pytest.raises(ConflictError, match="batch 1 begins at row 3, but those before it end before row 2"):
            store.seal(job.id, 2, 4)

    def test_rows_that_do_not_begin_at_0_are_refused(self, store: Store) -> None:
        job = make_job(store)
        store.add_batch(job.id, 0, 1, 2, 32, SHA)
        with pytest.raises(ConflictError, match="batch 0 begins at row 1"):
            store.seal(job.id, 1, 2)

    def test_a_cancelled_job_cannot_be_sealed(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job, seal=False)
        store.cancel(job.id)
        with pytest.raises(ConflictError, match="is cancelled and cannot be sealed"):
            store.seal(job.id, 2, 4)

    def test_a_job_whose_batches_were_claimed_is_running_once_sealed(self, store: Store) -> None:
        # Given a batch that was claimed while the job received
        job = make_job(store)
        batch, *_ = add_batches(store, job, (2, 2), seal=False)
        store.claim(batch.id, "worker", 5.0)
        assert store.job(job.id).state is JobState.RECEIVING
        # When it is sealed
        assert store.seal(job.id, 2, 4).state is JobState.RUNNING

    def test_a_job_whose_batches_are_all_done_ends_with_the_seal(self, store: Store) -> None:
        # Given a worker faster than the client
        job = make_job(store)
        add_batches(store, job, (2, 2), seal=False)
        assert run_job(store, job).state is JobState.RECEIVING
        # When the client is done
        sealed = store.seal(job.id, 2, 4)
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
        assert ended.error == "all 2 rows are errors; each says why"

    def test_a_dead_batch_makes_it_a_part_and_the_job_says_why(self, store: Store) -> None:
        # Given two batches, one of which cannot be decoded
        job = make_job(store)
        lost, _ = add_batches(store, job, (2, 2))
        assert store.claim(lost.id, "worker", 5.0)
        store.fail(lost.id, 1, "payload_missing", "the payload expired", final=True)
        # When the other is done
        ended = run_job(store, job)
        # Then
        assert ended.state is JobState.PARTIAL
        assert ended.error == "1 of 2 batches are dead; the last error: payload_missing: the payload expired"
        assert [batch.id for batch in store.dead_batches(job.id)] == [lost.id]

    def test_nothing_but_dead_batches_is_a_failure(self, store: Store) -> None:
        job = make_job(store)
        for batch in add_batches(store, job, (2, 2)):
            assert store.claim(batch.id, "worker", 5.0)
            store.fail(batch.id, 1, "broken", "no use", final=True)
        assert store.job(job.id).state is JobState.FAILED

    def test_a_job_goes_on_while_a_batch_waits(self, store: Store) -> None:
        job = make_job(store)
        batch, _ = add_batches(store, job, (2, 2))
        assert store.claim(batch.id, "worker", 5.0)
        store.finish(batch.id, 1, generations(batch), Timings())
        assert store.job(job.id).state is JobState.RUNNING


class TestCancelling:
    def test_a_job_that_only_waits_is_cancelled_at_once(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job, (2, 2))
        cancelled = store.cancel(job.id)
        assert cancelled.state is JobState.CANCELLED
        assert cancelled.batches.cancelled == 2
        assert cancelled.finished_at is not None

    def test_a_job_that_receives_can_be_cancelled(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job, (2, 2), seal=False)
        assert store.cancel(job.id).state is JobState.CANCELLED

    def test_a_job_without_a_batch_can_be_cancelled(self, store: Store) -> None:
        assert store.cancel(make_job(store).id).state is JobState.CANCELLED

    def test_a_job_that_runs_is_cancelling_until_its_batches_stop(self, store: Store) -> None:
        # Given one batch that runs and one that waits
        job = make_job(store)
        running, waiting = add_batches(store, job, (2, 2))
        assert store.claim(running.id, "worker", 5.0)
        # When the job is cancelled
        cancelling = store.cancel(job.id)
        # Then the waiting one is cancelled, and cannot be claimed any more
        assert cancelling.state is JobState.CANCELLING
        assert (cancelling.batches.running, cancelling.batches.cancelled) == (1, 1)
        assert store.claim(waiting.id, "worker", 5.0) is None
        # And when the running one has stopped, the job is cancelled
        assert store.cancel_running(running.id, 1)
        assert store.job(job.id).state is JobState.CANCELLED

    def test_cancelling_again_changes_nothing(self, store: Store) -> None:
        job = make_job(store)
        batch, _ = add_batches(store, job, (2, 2))
        assert store.claim(batch.id, "worker", 5.0)
        cancelling = store.cancel(job.id)
        assert store.cancel(job.id) == cancelling
        store.cancel_running(batch.id, 1)
        cancelled = store.job(job.id)
        assert store.cancel(job.id) == cancelled

    def test_a_job_that_ended_cannot_be_cancelled(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job)
        run_job(store, job)
        with pytest.raises(ConflictError, match="has succeeded already and cannot be cancelled"):
            store.cancel(job.id)

    def test_what_is_done_stays_done(self, store: Store) -> None:
        # Given a batch that was done before the cancel, and one that got there before it noticed
        job = make_job(store)
        done, late, _ = add_batches(store, job, (2, 2, 2))
        for batch in (done, late):
            assert store.claim(batch.id, "worker", 5.0)
        store.finish(done.id, 1, generations(done), Timings())
        # When
        assert store.cancel(job.id).state is JobState.CANCELLING
        assert store.finish(late.id, 1, generations(late), Timings())
        # Then the rows of both are there
        cancelled = store.job(job.id)
        assert cancelled.state is JobState.CANCELLED
        assert (cancelled.batches.done, cancelled.batches.cancelled) == (2, 1)
        assert len(store.generations(job.id).generations) == 4


class TestPagesOfJobs:
    def test_jobs_come_newest_first_in_pages(self, store: Store) -> None:
        # Given five jobs
        made = [make_job(store).id for _ in range(5)]
        # When they are read two at a time
        seen, cursor, pages = [], None, 0
        while True:
            page = store.jobs(limit=2, cursor=cursor)
            seen += [job.id for job in page.jobs]
            pages += 1
            cursor = page.next_cursor
            if cursor is None:
                break
        # Then each comes once. (Those of one millisecond are in no order that was promised.)
        assert pages == 3
        assert sorted(seen) == sorted(made)
        times = [store.job(job_id).created_at for job_id in seen]
        assert times == sorted(times, reverse=True)

    def test_a_job_that_comes_while_paging_disturbs_nothing(self, store: Store) -> None:
        made = {make_job(store).id for _ in range(4)}
        first = store.jobs(limit=2)
        make_job(store)
        second = store.jobs(limit=2, cursor=first.next_cursor)
        assert {job.id for job in (*first.jobs, *second.jobs)} == made

    def test_jobs_can_be_asked_for_by_state(self, store: Store) -> None:
        make_job(store)
        cancelled = store.cancel(make_job(store).id)
        assert store.jobs(state=JobState.CANCELLED).jobs == [cancelled]

    def test_a_page_has_the_counts_of_each_job(self, store: Store) -> None:
        sizes = {}
        for rows in ((1,), (2, 3)):
            job = make_job(store)
            add_batches(store, job, rows)
            sizes[job.id] = (len(rows), sum(rows))
        page = store.jobs()
        assert {job.id: (job.batches.total, job.rows.total) for job in page.jobs} == sizes

    @pytest.mark.parametrize("cursor", ["", "nonsense", "é", "AAAA", "i5", "bm90IGEgdGltZQ", AN_ID_WITH_NUL])
    def test_a_cursor_that_is_none_is_refused_by_name(self, store: Store, cursor: str) -> None:
        with pytest.raises(InputError, match="is no cursor of a page of jobs"):
            store.jobs(cursor=cursor)


class TestStatsAndWorkers:
    def test_an_empty_store_has_nothing_to_report(self, store: Store) -> None:
        stats = store.stats()
        assert (stats.queued_batches, stats.running_batches, stats.dead_batches, stats.queued_rows) == (0, 0, 0, 0)
        assert stats.oldest_queued_seconds == 0.0
        assert stats.jobs == dict.fromkeys(JobState, 0)
        assert stats.rows == dict.fromkeys(RowStatus, 0)

    def test_stats_count_the_rows_by_status(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job, (2, 3))
        run_job(store, job, errors=(0,))
        assert store.stats().rows == {RowStatus.OK: 3, RowStatus.FALLBACK: 0, RowStatus.ERROR: 2}

    def test_stats_count_what_waits_runs_and_is_dead(self, store: Store) -> None:
        job = make_job(store)
        running, dead, *_ = add_batches(store, job, (1, 1, 2, 3))
        store.claim(running.id, "worker", 5.0)
        store.claim(dead.id, "worker", 5.0)
        store.fail(dead.id, 1, "broken", "no use", final=True)
        stats = store.stats()
        assert (stats.queued_batches, stats.queued_rows) == (2, 5)
        assert (stats.running_batches, stats.dead_batches) == (1, 1)
        assert 0.0 < stats.oldest_queued_seconds < 60.0
        assert stats.jobs[JobState.RUNNING] == 1

    def test_a_worker_is_known_by_what_it_did(self, store: Store) -> None:
        # Given a worker whose main process came first, without a device
        store.worker_seen("gpu0", "host", 7, None, None)
        store.worker_seen("gpu0", "host", 7, "cuda:0", "bfloat16")
        # When it has done two batches, and its main process is seen again
        store.worker_done("gpu0", 10)
        store.worker_done("gpu0", 5)
        store.worker_seen("gpu0", "host", 7, None, None)
        # Then
        (worker,) = store.workers()
        assert (worker.name, worker.host, worker.pid) == ("gpu0", "host", 7)
        assert (worker.device, worker.dtype) == ("cuda:0", "bfloat16")
        assert (worker.batches_done, worker.rows_done) == (2, 15)
        assert worker.last_done is not None
        assert worker.last_seen >= worker.last_done

    def test_a_worker_that_has_done_nothing_says_so(self, store: Store) -> None:
        store.worker_seen("idle", "host", 7, None, None)
        (worker,) = store.workers()
        assert worker.last_done is None

    def test_ping_answers(self, store: Store) -> None:
        store.ping()
