"""A worker's process that is known to be dead: what it held is given back at once, and not when its lease runs out.

    the child dies        its main process sees it (Celery: WorkerLostError), and takes back the one batch it ran
    the main process dies  its successor of the same name takes back what it held, before it takes anything itself

Both count as attempts: it may be the batch that kills. When neither can be told, the lease tells.
"""

from __future__ import annotations

import logging
import socket
from typing import Any, Final

from billiard.exceptions import WorkerLostError
from celery.worker.request import Request

from unembed.errors import UnavailableError
from unembed.home import started_at
from unembed.models import logs
from unembed.models.store import Attempt
from unembed.schemas import BatchState, job_id_of
from unembed.worker import spans
from unembed.worker.context import Context

log = logging.getLogger(__name__)

_contexts: Final[list[Context]] = []


def watch_children(context: Context) -> None:
    """From now on, in this main process, a child's death gives its batch back."""
    _contexts[:] = [context]


def reclaim_from_predecessor(context: Context) -> int:
    """How many batches a dead worker of this name held; 0 when that worker lives, or the database is away."""
    try:
        if other := _living_namesake(context):
            log.warning(
                "process %d may be another worker called %s: give each worker its own name", other, context.name
            )
            return 0
        taken = context.store.sweeping.reclaim(context.name)
    except UnavailableError as error:
        log.warning(
            "the batches that the last %s held will be queued again when their leases expire: %s", context.name, error
        )
        return 0
    if taken:
        log.warning("the last %s died; batches returned to the queue: %d", context.name, len(taken))
        _say(taken)
        context.feed.lost(taken)
    return len(taken)


def _living_namesake(context: Context) -> int | None:
    for worker in context.store.workers.all():
        if worker.name == context.name and worker.host == socket.gethostname() and worker.pid != context.pid:
            return worker.pid if started_at(worker.pid) is not None else None
    return None


class BatchRequest(Request):  # type: ignore[misc]
    """A delivered message, as the main process sees it."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        # First, because what follows hands the message to the next child, and the batch has to be free by then.
        if _is_lost(exc_info.exception) and _contexts:
            _reclaim(_contexts[0], str(self.id))
        return super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)


def _is_lost(error: BaseException) -> bool:
    cause = getattr(error, "exc", error)  # billiard wraps what comes with a traceback
    return isinstance(cause, (WorkerLostError, SystemExit, KeyboardInterrupt))


def _reclaim(context: Context, message: str) -> None:
    """What was claimed in answer to this message."""
    try:
        taken = context.store.sweeping.reclaim(context.name, message)
        finished = [] if taken else context.store.attempts.latest(1, context.name)
    except UnavailableError as error:
        log.warning("the batch of a process that died will be queued again when its lease expires: %s", error)
        return
    if taken:
        _say(taken)
    # It may have died after it had finished its batch, and before it could say so to Flower.
    own = (each for each in finished if each.message == message and each.state is BatchState.DONE)
    context.feed.lost([*taken, *own])


def _say(lost: list[Attempt]) -> None:
    spans.lost(lost)
    for attempt in lost:
        with logs.about(job=job_id_of(attempt.batch_id), batch=attempt.batch_id, attempt=attempt.number):
            log.warning("the process that decoded a batch died; the batch is %s", attempt.state)
