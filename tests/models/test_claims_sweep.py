"""The sweep: what was lost comes back, what is only late is not sent twice. On SQLite and on PostgreSQL."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import Engine, text

from tests.builders import add_batches, generations, make_job
from unembed.models.settings import Settings
from unembed.models.store import Store, Swept
from unembed.schemas import Batch, BatchState, JobState, Timings

LAPSED = -1.0
NOTHING = Swept(publish=[], expired=[])


def ids(batches: list[Batch]) -> list[str]:
    return [batch.id for batch in batches]


def counts(swept: Swept) -> tuple[list[str], int, int]:
    return swept.publish, len(swept.expired), swept.dead


def sent_ago(engine: Engine, batch: Batch, seconds: float) -> None:
    """As if the batch's message had been sent that long ago."""
    ago = {
        "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now', -:s || ' seconds') || '000'",
        "postgresql": "clock_timestamp() - :s * interval '1 second'",
    }[engine.dialect.name]
    with engine.begin() as connection:
        connection.execute(
            text(f"UPDATE batches SET published_at = {ago} WHERE id = :id"), {"s": seconds, "id": batch.id}
        )


@pytest.fixture
def patient(engine: Engine, settings: Settings) -> Store:
    """A store that waits 30 seconds before it takes a message for lost."""
    return Store(engine, settings.model_copy(update={"republish_after": 30.0}))


def test_there_is_nothing_to_sweep_in_an_empty_store(store: Store) -> None:
    assert store.sweeping.sweep(0) == NOTHING


def test_a_batch_that_was_never_sent_is_to_be_sent_until_it_was(store: Store) -> None:
    # Given a process that died between the commit and the message
    batches = add_batches(store, make_job(store), (1, 1, 1))
    assert store.sweeping.sweep(0).publish == ids(batches)
    # When two were sent
    store.queue.mark_published(ids(batches[:2]))
    # Then one is left
    assert store.sweeping.sweep(0).publish == ids(batches[2:])


def test_a_batch_of_a_job_that_still_receives_is_sent_too(store: Store) -> None:
    batches = add_batches(store, make_job(store), (1, 1), seal=False)
    assert store.sweeping.sweep(0).publish == ids(batches)


def test_marking_nothing_or_what_is_not_there_is_no_error(store: Store) -> None:
    store.queue.mark_published([])
    store.queue.mark_published(["nothing-0"])


def test_a_lease_that_ran_out_gives_the_batch_back(store: Store) -> None:
    # Given a worker that died
    (batch,) = add_batches(store, make_job(store), (1,))
    store.queue.mark_published([batch.id])
    store.attempts.claim(batch.id, "worker", LAPSED)
    # When the store is swept, then the batch waits, and its message is to be sent
    assert counts(store.sweeping.sweep(0)) == ([batch.id], 1, 0)
    (again,) = store.jobs.batches(batch.job_id)
    assert (again.state, again.attempt, again.error_code) == (BatchState.QUEUED, 1, "lease_expired")
    # And the next attempt is another one
    claim = store.attempts.claim(batch.id, "worker", 5.0)
    assert claim is not None
    assert claim.attempt == 2


def test_a_lease_that_runs_is_left_alone(store: Store) -> None:
    (batch,) = add_batches(store, make_job(store), (1,))
    store.attempts.claim(batch.id, "worker", 60.0)
    assert store.sweeping.sweep(0) == NOTHING


def test_a_batch_that_kills_every_worker_is_dead_in_the_end(store: Store, settings: Settings) -> None:
    # Given a batch whose worker dies, every time
    job = make_job(store)
    poison, good = add_batches(store, job, (1, 1))
    for _ in range(settings.max_attempts - 1):
        store.attempts.claim(poison.id, "worker", LAPSED)
        assert store.sweeping.sweep(0).dead == 0
    store.attempts.claim(poison.id, "worker", LAPSED)
    # When its attempts are used up
    swept = store.sweeping.sweep(0)
    # Then it is dead, it is not sent again, and the queue goes on
    assert counts(swept) == ([good.id], 1, 1)
    assert ids(store.jobs.dead_batches(job.id)) == [poison.id]
    store.attempts.claim(good.id, "worker", 5.0)
    store.attempts.finish(good.id, 1, generations(good), Timings())
    ended = store.jobs.get(job.id)
    assert ended.state is JobState.PARTIAL
    assert ended.error == "1 of 2 batches failed for good; the last error: lease_expired: the worker stopped answering"


def test_the_last_dead_batch_ends_the_job(store: Store, engine: Engine, settings: Settings) -> None:
    once = Store(engine, settings.model_copy(update={"max_attempts": 1}))
    job = make_job(once)
    (batch,) = add_batches(once, job, (1,))
    once.attempts.claim(batch.id, "worker", LAPSED)
    assert counts(once.sweeping.sweep(0)) == ([], 1, 1)
    assert store.jobs.get(job.id).state is JobState.FAILED


def test_a_worker_that_died_does_not_hold_up_a_cancel(store: Store) -> None:
    # Given a cancelled job whose worker will never say that it has stopped
    job = make_job(store)
    batch, _ = add_batches(store, job, (1, 1))
    store.attempts.claim(batch.id, "worker", LAPSED)
    store.jobs.cancel(job.id)
    # When its lease has run out
    assert counts(store.sweeping.sweep(0)) == ([], 1, 0)
    # Then the job is cancelled
    assert store.jobs.get(job.id).state is JobState.CANCELLED


def test_a_long_queue_is_not_sent_again_and_again(patient: Store, engine: Engine) -> None:
    # Given a queue that has waited for minutes behind a batch that runs, and all its messages: all is well
    batches = add_batches(patient, make_job(patient), [1] * 20)
    for position, batch in enumerate(batches):
        sent_ago(engine, batch, 300 - position)
    patient.attempts.claim(batches[0].id, "worker", 60.0)
    # Then nothing is sent
    assert patient.sweeping.sweep(19) == NOTHING
    assert patient.sweeping.sweep(25) == NOTHING


def test_as_many_messages_as_are_lost_are_sent_again(patient: Store, engine: Engine) -> None:
    # Given five batches that have waited long, and three messages
    batches = add_batches(patient, make_job(patient), [1] * 5)
    for position, batch in enumerate(batches):
        sent_ago(engine, batch, 300 - position)
    # Then two are sent, for those that have waited longest; and once they are there, none
    assert patient.sweeping.sweep(3).publish == ids(batches[:2])
    patient.queue.mark_published(ids(batches[:2]))
    assert patient.sweeping.sweep(5) == NOTHING


def test_when_every_message_is_lost_all_are_sent_again(patient: Store, engine: Engine) -> None:
    batches = add_batches(patient, make_job(patient), [1] * 20)
    for position, batch in enumerate(batches):
        sent_ago(engine, batch, 300 - position)
    assert patient.sweeping.sweep(0).publish == ids(batches)


def test_a_batch_taken_by_the_message_of_another_leaves_none_without(patient: Store) -> None:
    # Given a batch that failed and whose time has come, before its message was sent, and one whose message waits
    job = make_job(patient)
    failed, waiting = add_batches(patient, job, (1, 1))
    patient.queue.mark_published([waiting.id])
    # When the one message is answered with the failed batch
    assert patient.attempts.claim(failed.id, "worker", 60.0) is not None
    # Then the other's message is to be sent, at once
    assert patient.sweeping.sweep(0).publish == [waiting.id]


def test_a_message_sent_just_now_is_not_sent_again(patient: Store) -> None:
    batches = add_batches(patient, make_job(patient), (1, 1))
    patient.queue.mark_published(ids(batches))
    assert patient.sweeping.sweep(0) == NOTHING


def test_sweeps_at_once_count_every_lease_once(store: Store) -> None:
    # Given leases that ran out in several jobs
    for _ in range(3):
        for batch in add_batches(store, make_job(store), (1, 1)):
            store.attempts.claim(batch.id, "worker", LAPSED)
    # When two workers sweep at once
    swept: list[Swept] = []
    start = threading.Barrier(2)

    def sweep() -> None:
        start.wait()
        swept.append(store.sweeping.sweep(0))

    threads = [threading.Thread(target=sweep) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Then each lease was taken back by one of them
    assert sum(len(each.expired) for each in swept) == 6
    assert store.queue.stats().queued_batches == 6
