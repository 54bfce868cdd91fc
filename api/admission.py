"""Whether a batch may come in now. Refused before Redis is full, for a full Redis loses the messages that it has.

Each limit is looked at, not reserved: a few uploads at once may pass it together, by no more than they hold.
"""

from __future__ import annotations

import math
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from unembed.errors import BusyError, QueueUnavailableError
from unembed.models.payloads import Payloads
from unembed.models.settings import Settings
from unembed.models.store import Backlog, ClientLimits, JobHead

if TYPE_CHECKING:
    from unembed.api.deps import Deps

FRESH: Final = 1.0  # seconds for which what was left of the limits is believed


@dataclass
class _Left:
    """What a job's batches may still hold before a limit is met, less what this process has let in since."""

    rows: float
    nbytes: float
    until: float  # monotonic


class Room:
    """What was left of the queue's limits a moment ago: to count what waits takes longer, the more waits.

    It lets in only what surely fits. Whatever else comes, the queue is counted.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: dict[str, _Left] = {}  # by job

    def takes(self, job_id: str, rows: int, nbytes: int) -> bool:
        with self._lock:
            left = self._left.get(job_id)
            if left is None or time.monotonic() > left.until or left.rows < rows or left.nbytes < nbytes:
                return False
            self._take(rows, nbytes)
            return True

    def counted(
        self, job_id: str, backlog: Backlog, settings: Settings, limits: ClientLimits, rows: int, nbytes: int
    ) -> None:
        """This was the backlog before a batch of so many rows and bytes was let in."""
        now = time.monotonic()
        with self._lock:
            self._left = {job: left for job, left in self._left.items() if left.until > now}
            self._left[job_id] = _Left(
                min(settings.max_queued_rows - backlog.rows, _left(limits.rows, backlog.client_rows)),
                min(settings.max_queued_bytes - backlog.bytes, _left(limits.bytes, backlog.client_bytes)),
                now + FRESH,
            )
            self._take(rows, nbytes)

    def _take(self, rows: int, nbytes: int) -> None:
        for left in self._left.values():  # of this client or not: some limits are everybody's
            left.rows -= rows
            left.nbytes -= nbytes


def _left(limit: int | None, held: int) -> float:
    return math.inf if limit is None else limit - held


def require_room(deps: Deps, job: JobHead, rows: int, nbytes: int, limits: ClientLimits) -> None:
    """Raises BusyError, naming the limit, when these rows would go past one. Nothing is changed."""
    if not deps.room.takes(job.id, rows, nbytes):
        backlog = deps.store.queue.backlog(job.id)
        _require_room_in_queue(deps.settings, limits, backlog, rows, nbytes)
        deps.room.counted(job.id, backlog, deps.settings, limits, rows, nbytes)
    share = deps.settings.max_redis_use
    _require_room_in_redis(deps.payloads, nbytes, share)
    if deps.settings.payload_redis_url != deps.settings.redis_url:
        # A queue that is down refuses nothing: its message is sent later, by the sweeper.
        with suppress(QueueUnavailableError):
            _require_room_in_redis(deps.queue, 0, share)


def _require_room_in_queue(settings: Settings, limits: ClientLimits, backlog: Backlog, rows: int, nbytes: int) -> None:
    for held, more, limit, what in (
        (backlog.client_rows, rows, limits.rows, "rows of this client"),
        (backlog.client_bytes, nbytes, limits.bytes, "bytes of this client"),
        (backlog.rows, rows, settings.max_queued_rows, "rows"),
        (backlog.bytes, nbytes, settings.max_queued_bytes, "bytes"),
    ):
        # A batch that is over the limit alone is let in when nothing waits: refused, it would come again for ever.
        if limit is not None and held and held + more > limit:
            raise BusyError(f"{held} {what} are queued or running, and {more} more would pass the limit of {limit}")


def _require_room_in_redis(payloads: Payloads, nbytes: int, share: float) -> None:
    memory = payloads.memory()
    if memory.limit and memory.used + nbytes > share * memory.limit:
        raise BusyError(
            f"Redis at {payloads.address} uses {memory.used} of {memory.limit} bytes, and {nbytes} more would pass "
            f"the limit of {share:.0%}"
        )
