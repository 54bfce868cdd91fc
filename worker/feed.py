"""Telling Flower what happens, and never waiting for it: a thread of its own sends, and what cannot be sent is dropped.

    claim, end of an attempt ──▶ queue ──▶ thread ──▶ Redis (Celery's events) ──▶ Flower

Flower is a view. The truth is in SQL, and from there it gets its history when it starts (worker/flower_history.py).
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from unembed.models.store import Attempt, Claim
from unembed.schemas import BatchState
from unembed.worker.flower_tasks import (
    IGNORED,
    RECEIVED,
    REVOKED,
    STARTED,
    Fields,
    ending,
    ending_of,
    message_of,
    task_of,
)

log = logging.getLogger(__name__)

LAST_WORDS: Final = 2.0  # seconds that a process which is about to end gives its last events
_MOST_WAITING: Final = 1000  # events; more are dropped


class Told(NamedTuple):
    """An event, on its way. `fields` has its `timestamp`."""

    worker: str
    kind: str
    fields: Fields


Send = Callable[[Sequence[Told]], None]


class Feed:
    """What a process tells Flower; nothing where `send` is None. A method returns at once, whatever Redis does."""

    def __init__(self, send: Send | None = None) -> None:
        self._send = send
        self._waiting: queue.Queue[Told] = queue.Queue(_MOST_WAITING)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._began = 0.0

    def started(self, claim: Claim, worker: str, device: str | None) -> None:
        """An attempt begins: of a process, one at a time. `device`: where it decodes, if that is known by now."""
        self._began = time.monotonic()
        shown = _shown(claim, device)
        self._tell(Told(worker, kind, shown | {"timestamp": time.time()}) for kind in (RECEIVED, STARTED))

    def ended(
        self,
        claim: Claim,
        worker: str,
        state: BatchState,
        *,
        device: str | None = None,
        rows_error: int = 0,
        error: str | None = None,
    ) -> None:
        """An attempt has ended, and its batch is in this state."""
        kind, more = ending(state, rows=claim.batch.rows, rows_error=rows_error, error=error)
        more |= {"runtime": time.monotonic() - self._began, "timestamp": time.time()}
        self._tell([Told(worker, kind, _shown(claim, device) | more)])

    def lost(self, attempts: Iterable[Attempt]) -> None:
        """Attempts ended, and their workers could not say so."""
        for attempt in attempts:
            kind, fields = ending_of(attempt)
            self._tell([Told(attempt.worker, kind, fields | {"timestamp": time.time()})])

    def ignored(self, message_id: str, batch_id: str, worker: str, state: BatchState | None) -> None:
        """A message named this batch, which is in `state`; and neither it nor any other waited."""
        kind = REVOKED if state is BatchState.CANCELLED else IGNORED
        self._tell([Told(worker, kind, message_of(message_id, batch_id, time.time()))])

    def flush(self, within: float = LAST_WORDS) -> bool:
        """Waits, but no longer than so many seconds, until all is sent: the process is about to end."""
        deadline = time.monotonic() + within
        with self._waiting.all_tasks_done:
            while self._waiting.unfinished_tasks:
                if (left := deadline - time.monotonic()) <= 0 or not self._waiting.all_tasks_done.wait(left):
                    return False
        return True

    def _tell(self, events: Iterable[Told]) -> None:
        if self._send is None:
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, args=(self._send,), name="feed", daemon=True)
                self._thread.start()
        for event in events:
            try:
                self._waiting.put_nowait(event)
            except queue.Full:
                return  # the thread has said what is wrong

    def _run(self, send: Send) -> None:
        while True:
            events = [self._waiting.get()]
            while not self._waiting.empty():
                events.append(self._waiting.get())
            try:
                send(events)
            except (OperationalError, RedisError, OSError) as error:
                log.warning("Flower was not told of %d events: %s", len(events), error)
            except Exception:
                log.exception("Flower was not told of %d events", len(events))
            finally:
                for _ in events:
                    self._waiting.task_done()


def by_celery(app: Celery) -> Send:
    """Sends them as Celery's events: those of a worker together, in one message."""

    def send(events: Sequence[Told]) -> None:
        with app.amqp.producer_pool.acquire(block=True) as producer:
            for worker, of_worker in groupby(events, key=lambda event: event.worker):
                with app.events.Dispatcher(
                    producer.connection,
                    hostname=worker,
                    channel=producer.channel,
                    buffer_while_offline=False,
                    buffer_group={"task"},
                    buffer_limit=len(events) + 1,
                ) as dispatcher:
                    for event in of_worker:
                        dispatcher.send(event.kind, **event.fields)
                    dispatcher.flush(errors=False)

    return send


def _shown(claim: Claim, device: str | None) -> Fields:
    return task_of(claim.batch.id, claim.attempt, claim.job.name, claim.batch.rows, device)
