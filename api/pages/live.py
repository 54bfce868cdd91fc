"""What keeps a page up to date: an event whenever something has happened, and now and then in any case."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Final

import anyio
from anyio import to_thread
from fastapi import APIRouter
from fastapi.sse import format_sse_event
from starlette.responses import StreamingResponse

from unembed.api.callers import Caller, require_still
from unembed.api.deps import Deps, Needs
from unembed.api.events import HEADERS, LONGEST, RETRY_MS
from unembed.api.pages.visitors import Visitor
from unembed.errors import AuthError, BusyError, UnavailableError
from unembed.schemas import EVENT_STREAM

router = APIRouter()

_PAUSE: Final = 1.0  # seconds between two looks
_AT_LEAST_EVERY: Final = 15.0  # seconds: ages move, and proxies take silence for the end


@router.get("/events")
async def read_changes(deps: Needs, visitor: Visitor) -> StreamingResponse:
    """Server-Sent Events `changed`, without data: what has changed is for the page to ask. BusyError for too many."""
    if deps.waiters.are_too_many:
        raise BusyError("too many pages are followed already; reload this one now and then")
    return StreamingResponse(follow(deps, visitor), headers=HEADERS, media_type=EVENT_STREAM)


async def follow(deps: Deps, visitor: Caller) -> AsyncIterator[bytes]:
    """The events, until the server is about to end or the visitor's key was revoked, or for a quarter of an hour: the
    page then comes again."""
    until = time.monotonic() + LONGEST
    with deps.waiters.one_more():
        yield format_sse_event(retry=RETRY_MS)
        try:
            pulse, told = await to_thread.run_sync(deps.store.overview.pulse), time.monotonic()
            while not deps.leaving.is_set() and time.monotonic() < until:
                await anyio.sleep(_PAUSE)
                last, pulse = pulse, await to_thread.run_sync(_pulse, deps, visitor)
                if pulse != last or time.monotonic() - told > _AT_LEAST_EVERY:
                    told = time.monotonic()
                    yield format_sse_event(event="changed", data_str="")
        except (AuthError, UnavailableError):
            return  # the page comes again


def _pulse(deps: Deps, visitor: Caller) -> str:
    require_still(deps, visitor)
    return deps.store.overview.pulse()
