"""What Flower is told, and that it can be told nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import Task
from celery.events.state import State
from kombu.exceptions import OperationalError

from unembed.models.settings import Settings
from unembed.worker.celery import DECODE_BATCH, make_app, publish
from unembed.worker.tasks import tell_flower


@pytest.mark.parametrize("events", [True, False])
def test_a_message_is_announced_to_flower_only_where_that_is_wanted(redis_url: str, events: bool) -> None:
    # Given an API that tells Flower what it does, or not, and someone who listens as Flower does
    app = make_app(Settings(redis_url=redis_url, events=events))
    with redis.Redis.from_url(redis_url) as connection, connection.pubsub() as listening:
        listening.psubscribe("/*.celeryev/*")
        assert listening.get_message(timeout=60) is not None  # that it is subscribed
        # When a batch is announced
        publish(app, "job-0")
        # Then there is an event, or none
        heard = listening.get_message(timeout=60 if events else 0.2)
        assert (heard is not None) is events
    app.close()


@pytest.fixture
def task(redis_url: str) -> Iterator[Task]:
    """A task that runs, as the worker's child has it."""
    app = make_app(Settings(redis_url=redis_url))
    app.loader.import_default_modules()
    found = app.tasks[DECODE_BATCH]
    found.push_request(id="uuid-1", hostname="cpu0@here")
    yield found
    found.pop_request()
    app.close()


def test_flower_shows_the_batch_that_is_decoded_and_not_the_one_that_was_named(redis_url: str, task: Task) -> None:
    # Given what Flower knows of a task that has begun
    state = State()
    said = {"uuid": "uuid-1", "hostname": "cpu0@here", "clock": 1, "local_received": 1.0, "pid": 1, "utcoffset": 0}
    for at, kind in enumerate(["task-received", "task-started"]):
        state.event({"type": kind, "timestamp": float(at), **said, "args": "['job-0']", "name": DECODE_BATCH})
    with redis.Redis.from_url(redis_url) as connection, connection.pubsub() as listening:
        listening.psubscribe("/*.celeryev/*")
        assert listening.get_message(timeout=60) is not None  # that it is subscribed
        # When another batch is claimed in answer to its message
        tell_flower(task, "other-7")
        heard = listening.get_message(timeout=60)
    assert heard is not None
    # Then Flower hears of it, and shows that one
    event = json.loads(base64.b64decode(json.loads(heard["data"])["body"]))
    state.event(event | {"local_received": 2.0})
    assert state.tasks["uuid-1"].args == "['other-7']"
    assert state.tasks["uuid-1"].state == "STARTED"


def test_a_redis_that_is_away_does_not_cost_the_batch(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("Connection refused")

    monkeypatch.setattr(task, "send_event", away)
    tell_flower(task, "other-7")
