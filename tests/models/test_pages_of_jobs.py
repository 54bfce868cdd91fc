"""Jobs in pages, newest first; the numbers of all of them, and the workers. On SQLite and on PostgreSQL."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.builders import add_batches, generations, make_job, run_job
from unembed.errors import InputError, NotFoundError
from unembed.models.store import JobFilter, Store, sql
from unembed.schemas import JobState, RowStatus, Timings, batch_id_of

AN_ID_WITH_NUL = base64.urlsafe_b64encode(b"2026-01-01T00:00:00+00:00 " + b"a\0" * 13).decode()


class TestPagesOfJobs:
    def test_jobs_come_newest_first_in_pages(self, store: Store) -> None:
        # Given five jobs
        made = [make_job(store).id for _ in range(5)]
        # When they are read two at a time
        seen, cursor, pages = [], None, 0
        while True:
            page = store.jobs.page(limit=2, cursor=cursor)
            seen += [job.id for job in page.jobs]
            pages += 1
            cursor = page.next_cursor
            if cursor is None:
                break
        # Then each comes once. (Those of one millisecond are in no order that was promised.)
        assert pages == 3
        assert sorted(seen) == sorted(made)
        times = [store.jobs.get(job_id).created_at for job_id in seen]
        assert times == sorted(times, reverse=True)

    def test_a_job_that_comes_while_paging_disturbs_nothing(self, store: Store) -> None:
        made = {make_job(store).id for _ in range(4)}
        first = store.jobs.page(limit=2)
        make_job(store)
        second = store.jobs.page(limit=2, cursor=first.next_cursor)
        assert {job.id for job in (*first.jobs, *second.jobs)} == made

    def test_jobs_can_be_asked_for_by_state(self, store: Store) -> None:
        make_job(store)
        cancelled = store.jobs.cancel(make_job(store).id)
        assert store.jobs.page(wanted=JobFilter(state=JobState.CANCELLED)).jobs == [cancelled]

    def test_a_page_has_the_counts_of_each_job(self, store: Store) -> None:
        sizes = {}
        for rows in ((1,), (2, 3)):
            job = make_job(store)
            add_batches(store, job, rows)
            sizes[job.id] = (len(rows), sum(rows))
        page = store.jobs.page()
        assert {job.id: (job.batches.total, job.rows.total) for job in page.jobs} == sizes

    def test_the_batches_of_a_job_that_has_ended_are_counted_once(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a job that goes on, and one that has ended, with a dead batch
        running, ended = make_job(store), make_job(store)
        add_batches(store, running, (2, 3))
        add_batches(store, ended, (2, 3))
        _die(store, batch_id_of(ended.id, 1))
        before = run_job(store, ended)
        assert (before.state, before.batches.done, before.batches.dead) == (JobState.PARTIAL, 1, 1)
        counted: list[Any] = []
        count = sql._sums
        monkeypatch.setattr(sql, "_sums", lambda on, jobs: counted.append(list(jobs)) or count(on, jobs))
        # When the jobs are listed, Then only the batches of the one that goes on are counted, and all counts are right
        assert store.jobs.page().jobs == [before, store.jobs.get(running.id)]
        assert counted == [[running.id], [running.id]]
        # And when the other one is tried again, then it is counted, and once more at its next end
        store.requeue.retry(ended.id, [batch_id_of(ended.id, 1)])
        assert store.jobs.get(ended.id).batches.queued == 1
        after = run_job(store, ended)
        assert (after.state, after.batches.done, after.batches.dead) == (JobState.SUCCEEDED, 2, 0)
        counted.clear()
        assert store.jobs.get(ended.id) == after
        assert counted == []

    @pytest.mark.parametrize("cursor", ["", "nonsense", "é", "AAAA", "i5", "bm90IGEgdGltZQ", AN_ID_WITH_NUL])
    def test_a_cursor_that_is_none_is_refused_by_name(self, store: Store, cursor: str) -> None:
        with pytest.raises(InputError, match="is no cursor of a page of jobs"):
            store.jobs.page(cursor=cursor)


def _die(store: Store, batch_id: str) -> None:
    claim = store.attempts.claim(batch_id, "worker", 5.0)
    assert claim is not None
    store.attempts.fail(batch_id, claim.attempt, "decode_failed", "it went wrong", final=True)


class TestPagesOfBatches:
    def test_batches_come_in_order_and_each_once(self, store: Store) -> None:
        # Given five batches, and another job with some
        job = make_job(store)
        made = add_batches(store, job, (1, 2, 3, 4, 5))
        add_batches(store, make_job(store), (1, 1))
        # When they are read two at a time
        sizes, found, cursor = [], [], None
        while True:
            page = store.jobs.batch_page(job.id, 2, cursor)
            sizes.append(len(page.batches))
            found += page.batches
            cursor = page.next_cursor
            if cursor is None:
                break
        # Then each comes once, in the order of their ordinals
        assert sizes == [2, 2, 1]
        assert [batch.id for batch in found] == [batch.id for batch in made]

    def test_a_last_page_that_is_full_has_no_next(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job, (1, 1))
        assert store.jobs.batch_page(job.id, 2).next_cursor is None

    @pytest.mark.parametrize("cursor", ["", "3", "b", "b-1", "bx", "b99999999999"])
    def test_a_cursor_that_is_none_is_refused_by_name(self, store: Store, cursor: str) -> None:
        with pytest.raises(InputError, match="is no cursor of a page of batches"):
            store.jobs.batch_page(make_job(store).id, 2, cursor)

    def test_a_job_that_is_not_there_has_no_page(self, store: Store) -> None:
        with pytest.raises(NotFoundError):
            store.jobs.batch_page("nope", 2)


class TestStatsAndWorkers:
    def test_an_empty_store_has_nothing_to_report(self, store: Store) -> None:
        stats = store.queue.stats()
        assert (stats.queued_batches, stats.running_batches, stats.dead_batches, stats.queued_rows) == (0, 0, 0, 0)
        assert stats.oldest_queued_seconds == 0.0
        assert stats.jobs == dict.fromkeys(JobState, 0)
        assert stats.rows == dict.fromkeys(RowStatus, 0)

    def test_stats_count_the_rows_by_status(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job, (2, 3))
        run_job(store, job, errors=(0,))
        assert store.queue.stats().rows == {RowStatus.OK: 3, RowStatus.FALLBACK: 0, RowStatus.ERROR: 2}

    def test_stats_count_what_waits_runs_and_is_dead(self, store: Store) -> None:
        job = make_job(store)
        running, dead, *_ = add_batches(store, job, (1, 1, 2, 3))
        store.attempts.claim(running.id, "worker", 5.0)
        store.attempts.claim(dead.id, "worker", 5.0)
        store.attempts.fail(dead.id, 1, "broken", "no use", final=True)
        stats = store.queue.stats()
        assert (stats.queued_batches, stats.queued_rows) == (2, 5)
        assert (stats.running_batches, stats.dead_batches) == (1, 1)
        assert 0.0 < stats.oldest_queued_seconds < 60.0
        assert stats.jobs[JobState.RUNNING] == 1

    def test_a_worker_is_known_by_what_it_did(self, store: Store) -> None:
        # Given a worker whose main process came first, without a device
        store.workers.check_in("gpu0", "host", 7, None, None)
        store.workers.check_in("gpu0", "host", 7, "cuda:0", "bfloat16", "torch")
        # When it has done two batches, and its main process is seen again
        for batch in add_batches(store, make_job(store), [10, 5]):
            assert store.attempts.claim(batch.id, "gpu0", 60.0) is not None
            assert store.attempts.finish(batch.id, 1, generations(batch), Timings())
        store.workers.check_in("gpu0", "host", 7, None, None)
        # Then
        (worker,) = store.workers.all()
        assert (worker.name, worker.host, worker.pid) == ("gpu0", "host", 7)
        assert (worker.device, worker.precision, worker.engine) == ("cuda:0", "bfloat16", "torch")
        assert (worker.batches_done, worker.rows_done) == (2, 15)
        assert worker.last_done is not None
        assert worker.last_seen >= worker.last_done

    def test_a_worker_that_has_done_nothing_says_so(self, store: Store) -> None:
        store.workers.check_in("idle", "host", 7, None, None)
        (worker,) = store.workers.all()
        assert worker.last_done is None

    def test_ping_answers(self, store: Store) -> None:
        store.ping()
