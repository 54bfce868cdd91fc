"""Bodies that come packed are unpacked on their way in, and never further than their limit."""

from __future__ import annotations

import zlib
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unembed.api import problems
from unembed.api.limits import CLOSE, limit_of
from unembed.errors import InputError

_GZIP: Final = ("gzip", "x-gzip")
_WITH_HEADER: Final = 16 + zlib.MAX_WBITS  # of gzip, for zlib


class Unpacking:
    """ASGI middleware: bodies with `Content-Encoding: gzip` arrive plain; 415 for any other encoding, 413 for one that
    unpacks to more than is accepted."""

    def __init__(self, app: ASGIApp, batch_bytes: int) -> None:
        self.app = app
        self.batch_bytes = batch_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("POST", "PUT"):
            await self.app(scope, receive, send)
            return
        headers = MutableHeaders(raw=list(scope["headers"]))
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding in _GZIP:
            del headers["content-encoding"]
            del headers["content-length"]  # it is the packed one's
            unpacked = _unpacked(receive, limit_of(scope, self.batch_bytes))
            await self.app({**scope, "headers": headers.raw}, unpacked, send)
        elif encoding in ("identity", ""):
            await self.app(scope, receive, send)
        else:
            detail = f"the body's Content-Encoding is {encoding[:40]!r}; expected gzip, or none"
            accepted = {"Accept-Encoding": "gzip", **CLOSE}
            response = problems.problem(scope["path"], 415, detail, InputError.code, headers=accepted)
            await response(scope, receive, send)


def _unpacked(receive: Receive, limit: int) -> Receive:
    members = _Members(limit)

    async def receive_unpacked() -> Message:
        message = await receive()
        if message["type"] != "http.request":
            return message
        body = members.add(message.get("body", b""))
        if not message.get("more_body", False):
            members.end()
        return {**message, "body": body}

    return receive_unpacked


class _Members:
    """A gzip body as it comes: one member, or several in a row."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._read = 0
        self._member = zlib.decompressobj(_WITH_HEADER)
        self._is_within = False  # a member, of which more is to come

    def add(self, packed: bytes) -> bytes:
        plain = []
        while packed:
            self._is_within = True
            try:
                # One byte over the limit tells that there is more, whatever else is packed in there.
                plain.append(self._member.decompress(packed, self._limit - self._read + 1))
            except zlib.error as error:
                raise HTTPException(400, f"the body is not readable gzip: {error}", CLOSE) from None
            self._read += len(plain[-1])
            if self._read > self._limit:
                raise HTTPException(413, f"the body unpacks to more than the {self._limit} bytes accepted", CLOSE)
            packed = self._member.unconsumed_tail
            if self._member.eof:
                packed = self._member.unused_data
                self._member = zlib.decompressobj(_WITH_HEADER)
                self._is_within = False
        return b"".join(plain)

    def end(self) -> None:
        if self._is_within:
            raise HTTPException(400, "the gzip body ends before its end", CLOSE)
