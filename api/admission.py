"""Whether a batch may come in now. Refused before Redis is full, for a full Redis loses the messages that it has.

Each limit is looked at, not reserved: a few uploads at once may pass it together, by no more than they hold.
"""

from __future__ import annotations

from contextlib import suppress

from unembed.api.deps import Deps
from unembed.errors import BusyError, QueueUnavailableError
from unembed.models.payloads import Payloads
from unembed.models.store import Backlog, JobHead


def require_room(deps: Deps, job: JobHead, rows: int, nbytes: int) -> None:
    """Raises BusyError, naming the limit, when these rows would go past one. Nothing is changed."""
    _require_room_in_queue(deps, deps.store.queue.backlog(job.id), rows, nbytes)
    share = deps.settings.max_redis_use
    _require_room_in_redis(deps.payloads, nbytes, share)
    if deps.settings.payload_redis_url != deps.settings.redis_url:
        # A queue that is down refuses nothing: its message is sent later, by the sweeper.
        with suppress(QueueUnavailableError):
            _require_room_in_redis(deps.queue, 0, share)


def _require_room_in_queue(deps: Deps, backlog: Backlog, rows: int, nbytes: int) -> None:
    limits = deps.settings
    for held, more, limit, what in (
        (backlog.client_rows, rows, limits.max_client_rows, "rows of this client"),
        (backlog.client_bytes, nbytes, limits.max_client_bytes, "bytes of this client"),
        (backlog.rows, rows, limits.max_queued_rows, "rows"),
        (backlog.bytes, nbytes, limits.max_queued_bytes, "bytes"),
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
