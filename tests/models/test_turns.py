"""Whose turn it is: no job waits for another to end. On SQLite and on PostgreSQL."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from sqlalchemy import Engine, text

from tests.builders import add_batches, generations, make_job
from unembed.models.settings import Settings
from unembed.models.store import Store
from unembed.schemas import Job, Timings, job_id_of

LONG = 600.0


def take(store: Store, times: int = 1) -> list[str]:
    """The jobs whose batches are decoded next, each batch from its claim to its end."""
    served = []
    for _ in range(times):
        batch_id = store.queue.first_in_turn()
        assert batch_id is not None
        claim = store.attempts.claim(batch_id, "worker", LONG)
        assert claim is not None
        store.attempts.finish(batch_id, claim.attempt, generations(claim.batch), Timings())
        served.append(job_id_of(batch_id))
    return served


def filled(store: Store, batches: int, rows: int = 10, **spec: object) -> Job:
    job = make_job(store, **spec)
    add_batches(store, job, [rows] * batches)
    return job


def test_where_nothing_waits_nothing_is_next(store: Store) -> None:
    assert store.queue.first_in_turn() is None
    make_job(store)
    assert store.queue.first_in_turn() is None


def test_the_batches_of_a_job_come_in_the_order_of_the_corpus(store: Store) -> None:
    batches = add_batches(store, make_job(store), [1] * 12)
    for batch in batches:
        assert store.queue.first_in_turn() == batch.id
        store.attempts.claim(batch.id, "worker", LONG)


def test_a_small_job_passes_a_large_one(store: Store) -> None:
    # Given a large job, of which much is done
    large = filled(store, 100)
    take(store, 40)
    # When a small one comes, Then it is served within two turns, and the large one goes on
    small = filled(store, 1)
    assert small.id in take(store, 2)
    assert set(take(store, 10)) == {large.id}


def test_ten_jobs_get_a_tenth_each_whenever_they_came(store: Store) -> None:
    # Given a job that is served alone for a while, and nine that come later
    jobs = [filled(store, 60)]
    take(store, 20)
    jobs += [filled(store, 60) for _ in range(9)]
    # When a hundred batches are taken, Then each has had a tenth: nobody catches up on what was before
    served = Counter(take(store, 100))
    assert set(served) == {job.id for job in jobs}
    assert all(9 <= times <= 11 for times in served.values())


def test_turns_are_counted_in_rows_not_in_batches(store: Store) -> None:
    # Given a job of large batches and one of small ones
    large, small = filled(store, 10, rows=40), filled(store, 50, rows=10)
    # When 200 rows of each could have been taken, Then they were
    served = Counter(take(store, 25))
    assert abs(served[large.id] - 5) <= 1
    assert abs(served[small.id] - 20) <= 1


@pytest.mark.parametrize(("priority", "other"), [("high", "normal"), ("normal", "low")])
def test_a_priority_is_eight_times_the_share_of_the_next(store: Store, priority: str, other: str) -> None:
    first, second = filled(store, 80, priority=priority), filled(store, 80, priority=other)
    served = Counter(take(store, 45))
    assert served[first.id] == 40
    assert served[second.id] == 5


def test_a_low_priority_waits_for_nobody_when_it_is_alone(store: Store) -> None:
    low = filled(store, 5, priority="low")
    assert take(store, 5) == [low.id] * 5


def test_submitted_again_under_its_key_a_job_has_its_new_priority(store: Store) -> None:
    # Given a job of low priority, among others
    job = make_job(store, idempotency_key="key", priority="low")
    add_batches(store, job, [10] * 80)
    other = filled(store, 80)
    # When it is submitted again with a high one
    again = make_job(store, idempotency_key="key", priority="high")
    # Then it is the same job, with its share
    assert (again.id, again.priority) == (job.id, "high")
    take(store, 2)
    assert Counter(take(store, 45)) == {job.id: 40, other.id: 5}


def test_clients_take_turns_however_many_jobs_each_has(store: Store) -> None:
    # Given a client with nine jobs of high priority, and one with a single job
    for _ in range(9):
        filled(store, 40, client="many", priority="high")
    single = filled(store, 40, client="one")
    # When forty batches are taken, Then half of them are the single job's
    assert Counter(take(store, 40))[single.id] == 20


def test_a_job_that_had_nothing_waiting_saves_no_turns_up(store: Store) -> None:
    # Given a job whose client sends a batch and pauses, while another is served
    slow = make_job(store)
    add_batches(store, slow, [10], seal=False)
    take(store)
    busy = filled(store, 100)
    take(store, 50)
    # When the slow one sends much at once
    for ordinal in range(1, 21):
        store.jobs.add_batch(slow.id, ordinal, 10 * ordinal, 10, 160, f"{ordinal:064}")
    # Then they take turns from now on
    served = take(store, 20)
    assert Counter(served) == {slow.id: 10, busy.id: 10}
    assert all(one != other for one, other in pairwise(served))


def test_a_batch_that_waits_for_its_back_off_holds_up_nobody(engine: Engine, settings: Settings) -> None:
    # Given a job whose first batch has just failed, and another job
    store = Store(engine, settings.model_copy(update={"backoff": 120.0}))
    failing, other = make_job(store), make_job(store)
    first, second = add_batches(store, failing, (1, 1))
    store.attempts.claim(first.id, "worker", LONG)
    store.attempts.fail(first.id, 1, "broken", "for a test")
    add_batches(store, other, (1,))
    # Then what is next is what may be taken
    assert sorted(take(store, 2)) == sorted([job_id_of(second.id), other.id])
    assert store.queue.first_in_turn() is None


def test_a_batch_that_kills_its_workers_takes_its_turns_and_no_more(store: Store, settings: Settings) -> None:
    # Given a job whose batch kills every worker, and one that is well
    poison = filled(store, 1)
    well = filled(store, 20)
    # When worker after worker takes what is next
    for _ in range(settings.max_attempts + 20):
        batch_id = store.queue.first_in_turn()
        assert batch_id is not None
        claim = store.attempts.claim(batch_id, "worker", LONG)
        assert claim is not None
        if job_id_of(batch_id) == poison.id:
            store.sweeping.reclaim("worker")
        else:
            store.attempts.finish(batch_id, claim.attempt, generations(claim.batch), Timings())
    # Then the one is dead by its own attempts, and the other is done at its first
    assert [batch.attempt for batch in store.jobs.dead_batches(poison.id)] == [settings.max_attempts]
    assert {batch.attempt for batch in store.jobs.batches(well.id)} == {1}
    assert store.jobs.get(well.id).state.is_ended


def test_what_is_cancelled_has_no_turn(store: Store) -> None:
    cancelled, other = filled(store, 5), filled(store, 1)
    store.jobs.cancel(cancelled.id)
    assert take(store) == [other.id]
    assert store.queue.first_in_turn() is None


def test_a_job_that_is_tried_again_starts_where_the_others_are(store: Store) -> None:
    # Given a job that has failed, and one that has been served for long
    failed, busy = filled(store, 20), filled(store, 60)
    store.sweeping.fail_missing_payloads([batch.id for batch in store.jobs.batches(failed.id)])
    take(store, 40)
    # When it is tried again, Then they take turns
    store.requeue.retry(failed.id, [batch.id for batch in store.jobs.batches(failed.id)])
    assert Counter(take(store, 20)) == {failed.id: 10, busy.id: 10}


def test_a_job_has_a_turn_until_it_ends(store: Store, engine: Engine) -> None:
    job = filled(store, 1)

    def turn() -> float | None:
        with engine.connect() as connection:
            return connection.execute(text("SELECT turn FROM jobs")).scalar_one()

    assert turn() == 0.0
    take(store)
    assert store.jobs.get(job.id).state.is_ended
    assert turn() is None


def test_workers_that_find_the_same_batch_each_take_one_of_its_job(store: Store) -> None:
    # Given a job of three batches, and four workers that all found the first one
    batches = add_batches(store, make_job(store), (2, 2, 2))
    found = store.queue.first_in_turn()
    assert found == batches[0].id
    # When each claims it, or the next
    taken = [store.attempts.claim(found, f"worker-{number}", 60, or_next=True) for number in range(4)]
    # Then each has a batch of its own, in the order of the corpus, until there is none
    assert [claim and claim.batch.ordinal for claim in taken] == [0, 1, 2, None]
    assert [claim and claim.batch.worker for claim in taken[:3]] == ["worker-0", "worker-1", "worker-2"]
    # And whoever wants that one batch and no other still gets nothing
    add_batches_of_another = make_job(store)
    (other, _) = add_batches(store, add_batches_of_another, (2, 2))
    assert store.attempts.claim(other.id, "worker", 60) is not None
    assert store.attempts.claim(other.id, "second", 60) is None


def test_a_job_is_charged_for_all_that_was_taken_of_it_at_once(store: Store) -> None:
    # Given two jobs that came together, of which three workers found the same one
    one, two = make_job(store), make_job(store)
    first = add_batches(store, one, (10,) * 6)
    add_batches(store, two, (10,) * 6)
    for number in range(3):
        assert store.attempts.claim(first[0].id, f"worker-{number}", 60, or_next=True) is not None
    # When the next ones are taken, Then the other job has its turns until both had as much
    following = []
    for _ in range(4):
        found = store.queue.first_in_turn()
        assert found is not None
        claim = store.attempts.claim(found, "worker", 60, or_next=True)
        assert claim is not None
        following.append(claim.job.id)
    assert following[:3] == [two.id] * 3


def test_a_batch_in_its_back_off_is_not_the_next(store: Store, settings: Settings) -> None:
    # Given a job whose second batch has failed and waits
    patient = Store(store.engine, settings.model_copy(update={"backoff": 600.0}))
    first, second, _ = add_batches(patient, make_job(patient), (2, 2, 2))
    failed = patient.attempts.claim(second.id, "worker", 60)
    assert failed is not None
    patient.attempts.fail(second.id, failed.attempt, "decode_failed", "it went wrong")
    # When three workers claim the first one or the next, Then that one is passed over
    taken = [patient.attempts.claim(first.id, "worker", 60, or_next=True) for _ in range(3)]
    assert [claim and claim.batch.ordinal for claim in taken] == [0, 2, None]
