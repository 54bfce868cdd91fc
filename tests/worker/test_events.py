"""What Flower is told: how an attempt ends, of whichever process it was; and that telling costs no batch."""

from __future__ import annotations

import ast
import base64
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import redis
from celery.events.state import State, Task
from kombu.exceptions import OperationalError
from sqlalchemy import update

from tests.builders import make_job
from tests.worker.stubs import StubDecoder
from unembed.models.clock import now
from unembed.models.settings import Settings
from unembed.models.store import Store
from unembed.models.tables import BatchRow
from unembed.schemas import Batch
from unembed.worker import lost_processes
from unembed.worker.celery import DECODE_BATCH, make_app, publish
from unembed.worker.context import Context
from unembed.worker.feed import Feed, Told, by_celery
from unembed.worker.sweeper import Sweeper
from unembed.worker.tasks import run

Queued = Callable[..., Batch]


class Flower:
    """What Flower knows: Celery's own record of the events that it is told."""

    def __init__(self) -> None:
        self.state = State()
        self.feed = Feed(self.take)

    def take(self, events: Sequence[Told]) -> None:
        for told in events:
            self.hear({"type": told.kind, "hostname": told.worker, **told.fields})

    def hear(self, event: dict[str, Any]) -> None:
        self.state.event({"clock": 1, "local_received": event["timestamp"], **event})

    def task(self, uuid: str) -> Task:
        assert self.feed.flush(60)
        return self.state.tasks[uuid]

    def states(self) -> dict[str, str]:
        assert self.feed.flush(60)
        return {uuid: task.state for uuid, task in self.state.tasks.items()}


@pytest.fixture
def flower() -> Flower:
    return Flower()


@pytest.fixture
def told(context: Context, flower: Flower) -> Context:
    """A worker that tells Flower."""
    return replace(context, feed=flower.feed)


def test_a_batch_that_is_done_is_a_success_and_the_list_says_whose_it_was(
    told: Context, store: Store, queued: Queued, flower: Flower
) -> None:
    # Given a batch of a job that has a name
    batch = queued(name="nightly")
    # When it is decoded
    run(batch.id, told, message="m1")
    # Then it is shown with its batch, its job's name, rows, attempt, device, worker, and how long it took
    task = flower.task(f"{batch.id}.1")
    assert (task.state, task.name, task.worker.hostname, task.result) == (
        "SUCCESS",
        DECODE_BATCH,
        "cpu0@here",
        "10 rows",
    )
    assert ast.literal_eval(task.args) == ["nightly", batch.id]
    assert ast.literal_eval(task.kwargs) == {"rows": 10, "attempt": 1, "device": "stub", "job": "nightly"}
    assert task.received
    assert task.started
    assert task.runtime >= 0
    # And nothing is shown under the id of the message
    assert "m1" not in flower.state.tasks


def test_an_attempt_that_fails_is_a_retry_and_the_last_one_a_failure(
    told: Context, queued: Queued, decoder: StubDecoder, flower: Flower
) -> None:
    batch = queued()

    def before(_: Sequence[int]) -> None:
        raise RuntimeError("the decoder is unwell")

    decoder.before = before
    for message in ("m1", "m2", "m3"):
        run(batch.id, told, message=message)
    assert flower.states() == {f"{batch.id}.1": "RETRY", f"{batch.id}.2": "RETRY", f"{batch.id}.3": "FAILURE"}
    assert flower.task(f"{batch.id}.3").exception == "RuntimeError: the decoder is unwell"
    assert flower.task(f"{batch.id}.3").retries == 2


def test_a_message_too_many_is_ignored(told: Context, queued: Queued, flower: Flower) -> None:
    batch = queued()
    run(batch.id, told, message="m1")
    run(batch.id, told, message="m2")
    assert flower.states() == {f"{batch.id}.1": "SUCCESS", "m2": "IGNORED"}
    assert ast.literal_eval(flower.task("m2").args) == [batch.id]


def test_a_batch_whose_job_is_cancelled_is_revoked_while_it_runs_and_while_it_waits(
    told: Context, store: Store, queued: Queued, decoder: StubDecoder, flower: Flower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unembed.worker.heartbeat.PROMPT", 0.0)  # the heart is asked before each micro-batch
    waits, runs = queued(), queued()
    store.jobs.cancel(waits.job_id)
    decoder.before = lambda _: store.jobs.cancel(runs.job_id)
    two_rows = told.settings.model_copy(update={"micro_batch": 1})
    run(runs.id, replace(told, settings=two_rows), message="m1")
    run(waits.id, told, message="m2")
    assert flower.states() == {f"{runs.id}.1": "REVOKED", "m2": "REVOKED"}


def test_a_batch_that_is_handed_back_is_a_retry(told: Context, queued: Queued, flower: Flower) -> None:
    batch = queued()
    told.stopping.set()
    run(batch.id, told, message="m1")
    assert flower.states() == {f"{batch.id}.1": "RETRY"}
    assert "shuts down" in flower.task(f"{batch.id}.1").exception


def test_a_worker_that_is_too_slow_does_not_gainsay_who_gave_its_batch_up(
    told: Context, store: Store, queued: Queued, decoder: StubDecoder, queue: redis.Redis, flower: Flower
) -> None:
    # Given a batch in its last attempt, whose lease runs out while it is decoded
    batch = queued()
    for _ in range(2):
        claim = store.attempts.claim(batch.id, "w@h", 60)
        assert claim is not None
        store.attempts.fail(batch.id, claim.attempt, "decode_failed", "it is unwell")
    sweeper = Sweeper(store, queue, told.payloads, lambda _: None, name="me", interval=60, feed=flower.feed)

    def before(_: Sequence[int]) -> None:
        with store.engine.begin() as connection:
            connection.execute(update(BatchRow).values(lease_until=now(-1)))
        sweeper.sweep()

    decoder.before = before
    # When the worker comes to its end, and finds that it has lost its batch
    assert run(batch.id, told, message="m3")["outcome"] == "fenced"
    # Then the attempt stays as the sweeper said: the batch is dead
    assert flower.states() == {f"{batch.id}.3": "FAILURE"}


def test_whoever_finds_a_dead_worker_says_how_its_attempt_ended(
    told: Context, store: Store, queued: Queued, queue: redis.Redis, flower: Flower
) -> None:
    # Given a batch whose workers die, one after the other
    batch = queued()
    store.workers.check_in("dead@there", "there", 1, "cuda:0", "float16")
    for attempt in (1, 2, 3):
        lease = -1.0 if attempt == 2 else 60.0
        assert store.attempts.claim(batch.id, "dead@there" if attempt == 2 else told.name, lease, "m")
        # When the main process of the one, the sweeper, and the successor of the last notice
        if attempt == 1:
            lost_processes._reclaim(told, "m")
        elif attempt == 2:
            Sweeper(store, queue, told.payloads, lambda _: None, name="me", interval=60, feed=flower.feed).sweep()
        else:
            assert lost_processes.reclaim_from_predecessor(told) == 1
    # Then each attempt has ended, at the worker that died
    assert flower.states() == {f"{batch.id}.1": "RETRY", f"{batch.id}.2": "RETRY", f"{batch.id}.3": "FAILURE"}
    assert flower.task(f"{batch.id}.2").worker.hostname == "dead@there"
    assert flower.task(f"{batch.id}.2").received
    assert ast.literal_eval(flower.task(f"{batch.id}.2").kwargs)["device"] == "cuda:0"
    assert "stopped answering" in flower.task(f"{batch.id}.2").exception
    assert "died while it decoded" in flower.task(f"{batch.id}.3").exception


def test_a_child_that_died_after_it_had_finished_is_a_success(
    told: Context, context: Context, queued: Queued, flower: Flower
) -> None:
    # Given a child that wrote its rows, and died before it could tell Flower
    batch = queued()
    run(batch.id, context, message="m1")
    # When its main process notices
    lost_processes._reclaim(told, "m1")
    # Then the attempt has ended well; and so it is for no other message
    assert flower.states() == {f"{batch.id}.1": "SUCCESS"}
    lost_processes._reclaim(told, "m2")
    assert flower.states() == {f"{batch.id}.1": "SUCCESS"}


def test_celery_itself_tells_nothing_of_the_messages(redis_url: str) -> None:
    # Given an app of the workers and the API, and someone who listens as Flower does
    app = make_app(Settings(redis_url=redis_url))
    app.loader.import_default_modules()
    with redis.Redis.from_url(redis_url) as connection, connection.pubsub() as listening:
        listening.psubscribe("/*.celeryev/*")
        assert listening.get_message(timeout=60) is not None  # that it is subscribed
        # When a message is sent, and then an event of ours
        publish(app, "job-0")
        by_celery(app)([Told("cpu0@here", "task-started", {"uuid": "job-0.1", "timestamp": 5.0})])
        # Then ours is the first that is heard
        heard = listening.get_message(timeout=60)
    assert heard is not None
    (event,) = json.loads(base64.b64decode(json.loads(heard["data"])["body"]))
    assert (event["type"], event["uuid"], event["hostname"], event["timestamp"]) == (
        "task-started",
        "job-0.1",
        "cpu0@here",
        5.0,
    )
    assert app.tasks[DECODE_BATCH].send_events is False
    app.close()


def test_a_redis_that_is_away_costs_neither_the_batch_nor_its_time(
    context: Context, queued: Queued, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a Redis that does not answer what Flower is to be told
    answers = threading.Event()

    def away(_: Sequence[Told]) -> None:
        answers.wait(60)
        raise OperationalError("Connection refused")

    feed = Feed(away)
    # When a batch is decoded / Then it is done, and has waited for nothing
    assert run(queued().id, replace(context, feed=feed), message="m1")["outcome"] == "done"
    assert not feed.flush(0)
    # And what was not told is in the log
    answers.set()
    assert feed.flush(60)
    assert "Flower was not told" in caplog.text


def test_where_nobody_listens_nothing_is_told(told: Context, queued: Queued, flower: Flower) -> None:
    # Given UNEMBED_EVENTS=false
    silent = replace(told, settings=told.settings.model_copy(update={"events": False}), feed=Feed())
    # Then no thread is started and nothing is asked of the database for it
    run(queued().id, silent, message="m1")
    run("gone-0", silent, message="m2")
    assert flower.states() == {}
    assert silent.feed._thread is None


def test_what_cannot_be_sent_in_time_is_dropped(store: Store, queued: Queued) -> None:
    answers = threading.Event()
    sent: list[Told] = []

    def slow(events: Sequence[Told]) -> None:
        answers.wait(60)
        sent.extend(events)

    feed = Feed(slow)
    for number in range(3000):
        feed.ignored(f"m{number}", "job-0", "cpu0@here", None)
    answers.set()
    assert feed.flush(60)
    assert 0 < len(sent) < 3000


def test_a_long_name_of_a_job_is_cut(told: Context, store: Store, queued: Queued, flower: Flower) -> None:
    batch = queued(name="n" * 200)
    assert make_job(store).name is None
    run(batch.id, told, message="m1")
    assert len(ast.literal_eval(flower.task(f"{batch.id}.1").kwargs)["job"]) == 80
