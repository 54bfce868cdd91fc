"""What Flower shows after a restart: the latest attempts, from SQL. It keeps nothing itself (docs/decisions/0024).

What it shows as running is looked up in SQL from time to time, so that an attempt whose end it was not told of, for
Redis or a worker died, does not run for ever.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from celery.events.state import State
from flower.events import EventsState

from unembed.models.store import Attempt, Store
from unembed.schemas import BatchState
from unembed.worker.flower_tasks import RECEIVED, STARTED, began, ending, ending_of, task_of_attempt, uuid_of

_RUNNING: Final = ("RECEIVED", "STARTED")
_TOLD_WITHIN: Final = 5.0  # seconds; an attempt that ended this long ago without a word was not told of
_AT_ONCE: Final = 500  # attempts that are looked up


class Running(NamedTuple):
    """An attempt that Flower shows as running."""

    batch_id: str
    number: int


def replay(state: EventsState, attempts: Iterable[Attempt]) -> None:
    """Shows these attempts, the oldest first, as if their events came now; those that it knows stay as they are.

    They count for their workers, but not in Flower's metrics: Prometheus has counted them when they happened.
    """
    for attempt in attempts:
        if uuid_of(attempt.batch_id, attempt.number) in state.tasks.data:
            continue
        if attempt.state is BatchState.RUNNING:
            _take(state, attempt, STARTED, task_of_attempt(attempt) | began(attempt))
        else:
            _take(state, attempt, *ending_of(attempt))
        state.counter[attempt.worker][RECEIVED] += 1
    state.search_engine.rebuild(state.tasks.items())


def running(state: EventsState) -> list[Running]:
    """The attempts that are shown as running, and began a while ago."""
    since = time.time() - _TOLD_WITHIN
    shown = [task for task in state.tasks.data.values() if task.state in _RUNNING and (task.received or 0) < since]
    found = (task.uuid.rpartition(".") for task in shown[:_AT_ONCE])
    return [Running(batch_id, int(number)) for batch_id, _, number in found if number.isdecimal()]


def look_up(store: Store, shown: Iterable[Running]) -> list[Attempt]:
    """The last attempts at these batches. Raises StoreUnavailableError."""
    return store.attempts.of(sorted({each.batch_id for each in shown}))


def mend(state: EventsState, shown: Iterable[Running], attempts: Iterable[Attempt]) -> None:
    """Ends what is shown as running, but according to the batches' last `attempts` is not."""
    since = time.time() - _TOLD_WITHIN
    last = {attempt.batch_id: attempt for attempt in attempts}
    for batch_id, number in shown:
        attempt, task = last.get(batch_id), state.tasks.data.get(uuid_of(batch_id, number))
        if task is None:
            continue
        if attempt is None:
            kind, fields = ending(BatchState.CANCELLED, rows=0)  # its job was removed
        elif attempt.number > number:
            kind, fields = ending(BatchState.QUEUED, rows=0, error=f"not known: attempt {attempt.number} has followed")
        elif attempt.ended_at is not None and attempt.ended_at.timestamp() < since:
            kind, fields = ending_of(attempt)
        else:
            continue
        state.event(_event(kind, task.worker.hostname, time.time(), {"uuid": task.uuid, **fields}))


def _take(state: EventsState, attempt: Attempt, kind: str, fields: dict[str, Any]) -> None:
    event = _event(kind, attempt.worker, (attempt.ended_at or attempt.claimed_at).timestamp(), fields)
    State.event(state, event)  # beside Flower's own method, which counts
    if kind != STARTED:
        state.counter[attempt.worker][kind] += 1


def _event(kind: str, worker: str, at: float, fields: dict[str, Any]) -> dict[str, Any]:
    when = {"timestamp": at, "local_received": at, "utcoffset": 0, "clock": 0}
    return {"type": kind, "hostname": worker, **when, **fields}
