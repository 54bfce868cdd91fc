"""A job's progress as Server-Sent Events: as it is now, and again whenever it has changed, until it has ended."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any, Final

import anyio
from anyio import to_thread
from fastapi import Response
from fastapi.sse import format_sse_event
from starlette.responses import StreamingResponse

from unembed.api.callers import Caller, require_still
from unembed.api.deps import Deps
from unembed.api.looks import look
from unembed.errors import AuthError, BusyError, NotFoundError, UnavailableError
from unembed.schemas import EVENT_STREAM, Job

_PAUSE: Final = 0.5  # seconds between two looks
_PING_AFTER: Final = 15.0  # seconds of silence, which proxies take for the end
LONGEST: Final = 900.0  # seconds; whoever still listens comes again
RETRY_MS: Final = 2000
HEADERS: Final = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

DESCRIBED: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Events `progress`, and at last `end`, with the job as their data; `removed` if it is gone",
        "content": {EVENT_STREAM: {"schema": {"type": "string"}}},
    },
    204: {"description": "`Last-Event-ID` is that of the job's end: there is nothing more to come"},
}


def respond(deps: Deps, caller: Caller, job: Job, tag: str, seen: str | None) -> Response:
    """The job from now on, or from after the event that was `seen`; 204 for who has seen its end.

    Once the caller's key was revoked, it ends without a word: whoever comes again is told.

    Raises BusyError when too many listen already.
    """
    if job.state.is_ended and seen == _id_of(tag):
        return Response(status_code=204)
    if deps.waiters.are_too_many:
        raise BusyError("too many wait for news of jobs already; look at the job itself")
    return StreamingResponse(_events(deps, caller, job, tag, seen), headers=HEADERS, media_type=EVENT_STREAM)


async def _events(deps: Deps, caller: Caller, job: Job, tag: str, seen: str | None) -> AsyncIterator[bytes]:
    with deps.waiters.one_more():
        async for event in _news(deps, caller, job, tag, seen):
            yield event


async def _news(deps: Deps, caller: Caller, job: Job, tag: str, seen: str | None) -> AsyncIterator[bytes]:
    until = time.monotonic() + LONGEST
    spoke = time.monotonic()
    yield format_sse_event(retry=RETRY_MS)
    while True:
        if seen != _id_of(tag):
            seen, spoke = _id_of(tag), time.monotonic()
            kind = "end" if job.state.is_ended else "progress"
            yield format_sse_event(data_str=job.model_dump_json(), event=kind, id=seen)
        elif time.monotonic() - spoke > _PING_AFTER:
            spoke = time.monotonic()
            yield format_sse_event(comment="still here")
        if job.state.is_ended or deps.leaving.is_set() or time.monotonic() > until:
            return
        await anyio.sleep(_PAUSE)
        try:
            job, tag = await to_thread.run_sync(_look_again, deps, caller, job.id)
        except NotFoundError:
            yield format_sse_event(data_str="{}", event="removed")
            return
        except (AuthError, UnavailableError):
            return  # whoever listens comes again


def _look_again(deps: Deps, caller: Caller, job_id: str) -> tuple[Job, str]:
    require_still(deps, caller)
    return look(deps, job_id)


def _id_of(tag: str) -> str:
    return tag.removeprefix('W/"').removesuffix('"')
