"""No page of another site changes anything here, whether with a visitor's cookie or by reaching loopback."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from unembed.api import problems
from unembed.errors import ForbiddenError

_CHANGES_NOTHING: Final = ("GET", "HEAD", "OPTIONS")
_OWN: Final = ("same-origin", "none")  # none: a person typed the address


class CrossSite:
    """ASGI middleware: 403 for a change that a browser makes for a page of another site.

    Browsers say whose page it is in Sec-Fetch-Site, older ones in Origin; programs send neither, and pass. Without it a
    page anywhere could cancel jobs of an `unembed up` on the visitor's machine (OWASP: Cross-Site Request Forgery).
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _CHANGES_NOTHING or _is_own(Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        error = ForbiddenError(
            "a page of another site made this request: only this server's own pages may change things"
        )
        await problems.of_error(scope["path"], error)(scope, receive, send)


def _is_own(headers: Headers) -> bool:
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in _OWN
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")
