"""An error as a page, for who looks with a browser."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from fastapi import Request
from starlette.responses import RedirectResponse, Response

from unembed.api.pages.shell import render

SIGN_IN: Final = "/sign-in"
_MACHINES: Final = ("/v1/", "/healthz", "/readyz", "/metrics", "/openapi.json")
_UNAUTHORIZED: Final = HTTPStatus.UNAUTHORIZED


def is_wanted(request: Request) -> bool:
    """Whether a person looks: a browser that asks for HTML, or a page for a part of itself."""
    if request.url.path.startswith(_MACHINES):
        return False
    return "text/html" in request.headers.get("accept", "") or "hx-request" in request.headers


def respond(request: Request, status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """The page; to the sign-in, and from there back again, where a key is missing."""
    if status == _UNAUTHORIZED and request.url.path != SIGN_IN:
        return _to_sign_in(request)
    page = render(request, "problem.html", status=status, title=HTTPStatus(status).phrase, detail=detail)
    page.headers.update(headers or {})
    return page


def _to_sign_in(request: Request) -> Response:
    if "hx-request" in request.headers:  # a redirect would put the sign-in into the middle of a page
        return Response(status_code=_UNAUTHORIZED, headers={"HX-Redirect": SIGN_IN})
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"{SIGN_IN}?next={quote(back, safe='')}", HTTPStatus.SEE_OTHER)
