from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import Engine, text

from tests.builders import make_job
from unembed.errors import UnavailableError
from unembed.models.payloads import Payloads
from unembed.models.settings import Settings
from unembed.models.store import Store, Swept
from unembed.schemas import Batch, BatchState, JobState
from unembed.worker.celery import make_app, publish
from unembed.worker.sweeper import LEADER, Sweeper

Queued = Callable[..., Batch]
MakeSweeper = Callable[..., Sweeper]


@pytest.fixture
def sweeper(store: Store, queue: redis.Redis, settings: Settings) -> MakeSweeper:
    app = make_app(settings)

    def make(name: str, interval: float = 10) -> Sweeper:
        payloads = Payloads(queue, settings.payload_ttl)
        return Sweeper(store, queue, payloads, lambda batch_id: publish(app, batch_id), name=name, interval=interval)

    return make


def test_a_batch_whose_message_was_never_sent_is_published(
    sweeper: MakeSweeper, queued: Queued, messages: Callable[[], int]
) -> None:
    # Given a batch that was committed just before the API died
    batch = queued()
    # When the sweeper comes by
    swept = sweeper("a").sweep()
    # Then its message is sent, once
    assert swept is not None
    assert swept.publish == [batch.id]
    assert messages() == 1
    again = sweeper("a").sweep()
    assert again is not None
    assert again.publish == []


def test_a_lease_that_ran_out_brings_the_batch_back(
    sweeper: MakeSweeper, queued: Queued, messages: Callable[[], int], store: Store
) -> None:
    # Given a worker that took a batch and was never heard of again
    batch = queued()
    store.attempts.claim(batch.id, "gone", 0.05)
    time.sleep(0.1)
    # When the sweeper comes by
    swept = sweeper("a").sweep()
    # Then the batch waits for the next worker
    assert swept is not None
    assert (len(swept.expired), swept.publish) == (1, [batch.id])
    assert store.jobs.batches(batch.job_id)[0].state is BatchState.QUEUED
    assert messages() == 1


def test_one_sweeper_leads_at_a_time(sweeper: MakeSweeper) -> None:
    first, second = sweeper("a"), sweeper("b")
    assert first.sweep() is not None
    assert second.sweep() is None
    assert first.sweep() is not None


def test_another_sweeper_leads_when_the_leader_falls_silent(sweeper: MakeSweeper) -> None:
    # Given a leader that sweeps every 50 ms, and dies
    assert sweeper("a", 0.05).sweep() is not None
    # When three intervals have passed / Then another one leads
    time.sleep(0.3)
    assert sweeper("b", 0.05).sweep() is not None


def test_a_leader_that_ends_makes_way_at_once(sweeper: MakeSweeper, queue: redis.Redis) -> None:
    # Given a leader that runs
    ended, alive = threading.Event(), threading.Event()
    thread = threading.Thread(target=sweeper("a", 0.05).run, args=[ended, alive.set])
    thread.start()
    assert alive.wait(60)
    deadline = time.monotonic() + 60
    while queue.get(LEADER) != b"a":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    # When it ends / Then nobody leads
    ended.set()
    thread.join()
    assert queue.get(LEADER) is None


def test_without_redis_nobody_sweeps_and_the_thread_lives_on(store: Store) -> None:
    away = redis.Redis(unix_socket_path="/nowhere/redis.sock", retry=Retry(NoBackoff(), 0))
    sweeper = Sweeper(store, away, Payloads(away, 60), lambda _: None, name="a", interval=0.01)
    with pytest.raises(UnavailableError):
        sweeper.sweep()
    ended, alive = threading.Event(), threading.Semaphore(0)
    thread = threading.Thread(target=sweeper.run, args=[ended, alive.release])
    thread.start()
    assert all(alive.acquire(timeout=60) for _ in range(3))
    ended.set()
    thread.join()


def test_an_error_that_nobody_foresaw_does_not_end_the_sweeping(
    sweeper: MakeSweeper, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a store with a defect
    swept = threading.Semaphore(0)

    def defective(_: int) -> Swept:
        swept.release()
        raise ZeroDivisionError

    monkeypatch.setattr(store.sweeping, "sweep", defective)
    ended = threading.Event()
    thread = threading.Thread(target=sweeper("a", 0.01).run, args=[ended, lambda: None])
    # When it is swept, Then it is swept again, and the log tells why
    thread.start()
    assert all(swept.acquire(timeout=60) for _ in range(3))
    ended.set()
    thread.join()
    assert "ZeroDivisionError" in caplog.text


class TestTidying:
    def test_a_batch_that_lost_its_vectors_is_found_though_nobody_asks_for_them(
        self, sweeper: MakeSweeper, queued: Queued, queue: redis.Redis, store: Store
    ) -> None:
        # Given two batches that wait, and vectors that are gone for one of them
        lost, kept = queued(), queued()
        queue.delete(f"unembed:payload:{lost.id}")
        # When the sweeper tidies
        sweeper("a").tidy()
        # Then the one is dead and says so, and the other waits
        (dead,) = store.jobs.dead_batches(lost.job_id)
        assert dead.lacks_its_vectors
        assert store.jobs.batches(kept.job_id)[0].state is BatchState.QUEUED

    def test_a_list_of_payloads_that_is_not_whole_kills_nobody(
        self, sweeper: MakeSweeper, queued: Queued, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a batch that waits, and a list that leaves it out, as when Redis is started again while it is made
        batch = queued()
        monkeypatch.setattr(Payloads, "batch_ids", lambda _: set())
        # When the sweeper tidies, Then Redis was asked for the batch by its name, and it still waits
        sweeper("a").tidy()
        assert store.jobs.batches(batch.job_id)[0].state is BatchState.QUEUED

    def test_vectors_that_nobody_needs_any_more_go_and_a_stranger_s_stay(
        self, sweeper: MakeSweeper, queued: Queued, queue: redis.Redis, store: Store
    ) -> None:
        # Given the vectors of a cancelled batch, of one that waits, and of one that this database does not know
        cancelled, waits = queued(), queued()
        store.jobs.cancel(cancelled.job_id)
        queue.set("unembed:payload:stranger-0", b"x")
        # When the sweeper tidies, Then those of the cancelled one are gone
        sweeper("a").tidy()
        assert Payloads(queue, 60).batch_ids() == {waits.id, "stranger-0"}

    def test_it_happens_every_few_sweeps(
        self, sweeper: MakeSweeper, queued: Queued, queue: redis.Redis, store: Store
    ) -> None:
        # Given vectors that are gone, When it is swept often enough, Then that is found
        batch = queued()
        queue.delete(f"unembed:payload:{batch.id}")
        one = sweeper("a")
        for _ in range(20):
            one.sweep()
        assert store.jobs.batches(batch.job_id)[0].state is BatchState.DEAD

    def test_jobs_left_half_sent_end(self, sweeper: MakeSweeper, store: Store, engine: Engine) -> None:
        # Given a job that was begun two days ago and never sealed
        job = make_job(store)
        two_days_ago = {"sqlite": "datetime('now', '-2 days')", "postgresql": "now() - interval '2 days'"}
        with engine.begin() as connection:
            connection.execute(text(f"UPDATE jobs SET created_at = {two_days_ago[engine.dialect.name]}"))
        # When the sweeper tidies, Then it is cancelled
        sweeper("a").tidy()
        assert store.jobs.get(job.id).state is JobState.CANCELLED

    def test_old_jobs_go_with_their_vectors(
        self, queued: Queued, queue: redis.Redis, engine: Engine, settings: Settings
    ) -> None:
        # Given a store that keeps no ended job, one that has ended, and one that waits
        store = Store(engine, settings.model_copy(update={"job_ttl": 0.05}))
        ended, waits = queued(), queued()
        store.jobs.cancel(ended.job_id)
        time.sleep(0.1)
        # When the sweeper tidies, Then the one is gone
        Sweeper(store, queue, Payloads(queue, 60), lambda _: None, name="a", interval=10).tidy()
        assert [job.id for job in store.jobs.page().jobs] == [waits.job_id]
        assert Payloads(queue, 60).batch_ids() == {waits.id}
