"""`Prefer: wait=N`: an answer that comes when there is something to say, and after N seconds at the latest."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Final

import anyio
from anyio import to_thread
from fastapi import Header, Request

from unembed.api.callers import Caller, require_still
from unembed.api.deps import Deps
from unembed.schemas import Job

LONGEST_WAIT: Final = 60.0  # seconds

_FIRST_PAUSE, _LAST_PAUSE = 0.1, 1.0  # seconds between two looks
_WAIT_SHARE: Final = 0.2  # of the time waited so far: nobody hears of a short job long after its end
_AGE_SHARE: Final = 0.1  # of a job's age, until it is worth looking again
_WAIT: Final = re.compile(r"\s*wait\s*=\s*\"?(\d{1,6})\"?\s*(?:;.*)?", re.IGNORECASE)

Prefer = Annotated[
    str | None, Header(max_length=200, description="`wait=N`: answer when there is news, within N seconds")
]


async def waited(
    request: Request, deps: Deps, caller: Caller, prefer: str | None, is_news: Callable[[], bool]
) -> dict[str, str]:
    """Returns when there is news, when the time is over, or when nobody waits any more; the headers of the answer say
    which preference was followed. `is_news` is called in a thread. AuthError when the caller's key was revoked."""
    seconds = _asked(prefer)
    if seconds is None or deps.waiters.are_too_many:
        return {}
    with deps.waiters.one_more():
        began = time.monotonic()
        until = began + seconds
        while not await to_thread.run_sync(is_news):
            now = time.monotonic()
            left = until - now
            if left <= 0 or deps.leaving.is_set() or await request.is_disconnected():
                break
            await anyio.sleep(min(pause_after(now - began), left))
            await to_thread.run_sync(require_still, deps, caller)
    return {"Preference-Applied": f"wait={seconds:.0f}"}


def pause_after(waited: float) -> float:
    """Seconds until the next look."""
    return min(max(_FIRST_PAUSE, _WAIT_SHARE * waited), _LAST_PAUSE)


def _asked(prefer: str | None) -> float | None:
    for each in (prefer or "").split(","):
        if found := _WAIT.fullmatch(each):
            return min(float(found[1]), LONGEST_WAIT)
    return None


def look_again_after(job: Job) -> str:
    """Whole seconds: the older the job, the less is lost by looking at it later."""
    age = (datetime.now(UTC) - job.created_at).total_seconds()
    return str(round(min(max(1.0, _AGE_SHARE * age), 30.0)))
