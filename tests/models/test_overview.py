"""What is going on, as SQL tells it. On SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from tests.builders import add_batches, generations, make_job, run_job
from unembed.models.clock import now
from unembed.models.store import JobFilter, Sample, Store
from unembed.models.tables import BatchRow
from unembed.schemas import Job, JobState, Timings


def decode(store: Store, job: Job, *, ago: float, took: float = 1.0) -> None:
    """A worker that lives does all of a job's batches, and has done them so many seconds ago."""
    store.workers.check_in("cpu0@here", "here", 1, "cpu", None)
    for batch in store.jobs.batches(job.id):
        claim = store.attempts.claim(batch.id, "cpu0@here", 60.0)
        assert claim is not None
        assert store.attempts.finish(batch.id, claim.attempt, generations(batch), Timings())
    with store.engine.begin() as connection:
        times = {"claimed_at": now(-ago - took), "finished_at": now(-ago)}
        connection.execute(update(BatchRow).where(BatchRow.job_id == job.id).values(times))


def test_rows_are_counted_in_the_minute_in_which_their_batch_was_done(store: Store) -> None:
    # Given batches that were done just now, three and a half minutes ago, and two hours ago
    for rows, ago in (((2, 2), 5.0), ((3,), 210.0), ((30,), 7200.0)):
        job = make_job(store)
        add_batches(store, job, rows)
        decode(store, job, ago=ago)
    # When the last hour is looked at, Then each minute has its rows, and the old batch is not there
    minutes = store.overview.rows_by_minute()
    assert len(minutes) == 60
    assert {place: rows for place, rows in enumerate(minutes) if rows} == {59: 4, 56: 3}


def test_a_batch_that_took_most_of_an_hour_is_counted_when_it_is_done(store: Store) -> None:
    job = make_job(store)
    add_batches(store, job, (5,))
    decode(store, job, ago=3500.0, took=3500.0)
    assert sum(store.overview.rows_by_minute()) == 5


def test_before_anything_was_done_each_minute_has_none(store: Store) -> None:
    assert store.overview.rows_by_minute() == [0] * 60


def test_what_runs_is_told_with_its_worker_and_how_far_it_is(store: Store) -> None:
    # Given a batch of which three rows are decoded
    job = make_job(store, client="key:a", name="nightly")
    (batch,) = add_batches(store, job, (5,))
    assert store.overview.held() == []
    store.attempts.claim(batch.id, "gpu0@here", 60.0)
    store.attempts.heartbeat(batch.id, 1, 60.0, 3)
    # When it is looked at
    (held,) = store.overview.held()
    # Then worker, job and place are there
    assert (held.worker, held.job_id, held.job_name, held.client) == ("gpu0@here", job.id, "nightly", "key:a")
    assert (held.rows, held.decoded, held.attempt) == (5, 3, 1)
    assert 0 <= held.seconds < 60


def test_a_job_is_sampled_by_its_first_row_with_a_text(store: Store) -> None:
    # Given a job whose first row is an error, one without any text, and one that has nothing yet
    mixed, broken, new = (make_job(store) for _ in range(3))
    for job, errors in ((mixed, (0,)), (broken, (0, 1, 2))):
        add_batches(store, job, (3,))
        run_job(store, job, errors=errors)
    # When they are sampled, Then only the first has a sample, its second row
    found = store.overview.samples([mixed.id, broken.id, new.id])
    assert found == {mixed.id: Sample(1, "text 1", 0.5, False)}
    assert store.overview.samples([]) == {}


def test_the_pulse_is_another_whenever_something_happens(store: Store) -> None:
    beats = [store.overview.pulse()]
    assert store.overview.pulse() == beats[0]

    def has_moved() -> bool:
        beats.append(store.overview.pulse())
        return beats[-1] != beats[-2]

    # A job comes, a worker too, it takes a batch, gets on, is done with it, with all of them, and ends
    job = make_job(store)
    first, second = add_batches(store, job)
    assert has_moved()
    store.workers.check_in("worker", "here", 1, "cpu", None)
    assert has_moved()
    store.attempts.claim(first.id, "worker", 60.0)
    assert has_moved()
    store.attempts.heartbeat(first.id, 1, 60.0, 1)
    assert has_moved()
    store.attempts.finish(first.id, 1, generations(first), Timings())
    assert has_moved()
    store.attempts.claim(second.id, "worker", 60.0)
    store.attempts.finish(second.id, 1, generations(second), Timings())
    assert has_moved()
    store.workers.ended("worker", "here", 1, "out of memory")
    assert has_moved()


def test_open_jobs_and_ended_ones_are_told_apart_and_by_whose_they_are(store: Store) -> None:
    # Given jobs of two clients, one of each ended
    ended = [make_job(store, client=client) for client in ("a", "b")]
    open_ = [make_job(store, client=client) for client in ("a", "b")]
    for job in ended:
        store.jobs.cancel(job.id)
    # When they are looked at, Then what ended last comes first, and a client sees its own
    assert [job.id for job in store.overview.ended_jobs(5)] == [job.id for job in reversed(ended)]
    assert {job.id for job in store.overview.open_jobs(5)} == {job.id for job in open_}
    assert [job.id for job in store.overview.open_jobs(5, frozenset({"b"}))] == [open_[1].id]
    assert len(store.overview.open_jobs(1)) == 1
    assert store.overview.ended_jobs(5)[0].state is JobState.CANCELLED


@pytest.mark.parametrize(
    ("search", "found"), [("night", True), ("NIGHTLY", True), ("daily", False), ("%", False), ("", True)]
)
def test_a_job_is_found_by_a_part_of_its_name(store: Store, search: str, found: bool) -> None:
    make_job(store, name="The nightly one")
    assert bool(store.jobs.page(wanted=JobFilter(search=search)).jobs) is found


def test_a_job_is_found_by_how_its_id_begins(store: Store) -> None:
    job, _ = make_job(store), make_job(store)
    assert [each.id for each in store.jobs.page(wanted=JobFilter(search=job.id[:24].upper())).jobs] == [job.id]
    assert store.jobs.page(wanted=JobFilter(search=job.id[1:9])).jobs == []


def test_what_is_left_of_each_job_is_reckoned_from_its_turns(store: Store) -> None:
    # Given a worker that did 2 rows in 4 s, and two open jobs of 8 and of 2 rows
    done, large, small = (make_job(store) for _ in range(3))
    add_batches(store, done, (2,))
    decode(store, done, ago=0.0, took=4.0)
    add_batches(store, large, (8,))
    add_batches(store, small, (2,))
    # When they are asked for, Then the small one has as many rows of the large one before its end as it has itself
    left = store.waits.seconds_left([large.id, small.id, done.id])
    assert left == {large.id: pytest.approx(20.0, rel=0.2), small.id: pytest.approx(8.0, rel=0.2)}
    assert store.waits.living() == {"cpu0@here"}


def test_without_a_pace_nothing_is_said_of_when_a_job_ends(store: Store) -> None:
    job = make_job(store)
    add_batches(store, job, (8,))
    assert store.waits.seconds_left([job.id]) == {job.id: None}
    assert store.waits.living() == frozenset()
