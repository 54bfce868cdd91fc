"""No body is read further than its limit, whether its length was declared or not."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unembed.api import problems
from unembed.errors import TooLargeError

DOCUMENT_BYTES: Final = 64 * 1024  # of a JSON body; the largest that is valid has about 2 KiB
FORM_BYTES: Final = 1024 * 1024  # of a form with a vector in it: the numbers of 4096 values take 140 KB

# An answer before the end of the body leaves the rest of it on the connection: only closing it stops the sender.
CLOSE: Final = {"Connection": "close"}


class BodyLimit:
    """ASGI middleware: 413 for a body of more than `batch_bytes`, of a batch or a file, or DOCUMENT_BYTES elsewhere."""

    def __init__(self, app: ASGIApp, batch_bytes: int) -> None:
        self.app = app
        self.batch_bytes = batch_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = limit_of(scope, self.batch_bytes)
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            detail = f"the body has {declared} bytes, but at most {limit} are accepted"
            response = problems.problem(scope["path"], 413, detail, TooLargeError.code, headers=CLOSE)
            await response(scope, receive, send)
            return
        await self.app(scope, _limited(receive, limit), send)


def limit_of(scope: Scope, batch_bytes: int) -> int:
    """How many bytes the body of this request may have."""
    if scope["path"] == "/playground":
        return FORM_BYTES
    return batch_bytes if scope["method"] == "PUT" or scope["path"] == "/v1/files" else DOCUMENT_BYTES


def _limited(receive: Receive, limit: int) -> Receive:
    read = 0

    async def receive_within_limit() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > limit:
            # An HTTPException, because FastAPI takes any other error in a body for one of parsing it.
            raise HTTPException(413, f"the body has more than the {limit} bytes that are accepted", CLOSE)
        return message

    return receive_within_limit
