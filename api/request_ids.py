"""A request has an id: in every line of the log about it, in the header X-Request-ID of its answer, and in a problem.

Whoever asks may give it; what could not stand in a log or a header is replaced by one of ours.
"""

from __future__ import annotations

import re
import uuid
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unembed import tracing
from unembed.models import logs
from unembed.schemas import batch_id_of

HEADER: Final = "X-Request-ID"
_USABLE: Final = re.compile(r"[A-Za-z0-9._:+/=@-]{1,128}")


class RequestIds:
    """ASGI middleware, around all others."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _USABLE.fullmatch(given) else uuid.uuid4().hex
        # Never taken back: the server says what it did not foresee after this has returned, in the same task.
        logs.begin(request_id=request_id)
        if query := scope.get("query_string"):
            tracing.hide_query(logs.names_alone("?" + query.decode("latin-1"))[1:])

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
                logs.add(**_named(scope))  # before the server's line about it
            await send(message)

        await self.app(scope, receive, send_with_id)


def _named(scope: Scope) -> dict[str, str]:
    """The job, and the batch, that the path names."""
    found: dict[str, Any] = scope.get("path_params") or {}
    if "job_id" not in found:
        return {}
    job = {"job": str(found["job_id"])}
    ordinal = str(found.get("ordinal", ""))
    return job | ({"batch": batch_id_of(job["job"], int(ordinal))} if ordinal.isdecimal() else {})
