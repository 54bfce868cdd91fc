"""Signing in: an API key, kept in a cookie that scripts cannot read and other sites cannot send a change with.

GET /sign-in ──▶ a form ──POST──▶ the key is one of ours ──▶ cookie ──▶ back to where the visitor came from
                                  └── it is not: the form again, which says so
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlsplit

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from unembed.api.callers import admitted
from unembed.api.deps import Needs
from unembed.api.pages.forms import fields
from unembed.api.pages.shell import COOKIE, render
from unembed.errors import AuthError

router = APIRouter()


@router.get("/sign-in")
def show_sign_in(request: Request, to: Annotated[str, Query(alias="next")] = "/") -> Response:
    return render(request, "sign_in.html", next=_local(to), wrong=None)


@router.post("/sign-in")
async def sign_in(request: Request, deps: Needs) -> Response:
    given = await fields(request)
    to = _local(given.get("next", "/"))
    secret = given.get("key", "").strip()
    try:
        await to_thread.run_sync(admitted, deps, secret or None)
    except AuthError as error:
        return render(request, "sign_in.html", status=error.status, next=to, wrong=error.message)
    answer = RedirectResponse(to, HTTPStatus.SEE_OTHER)
    if secret:
        # Lax: a link from a message opens a page; CrossSite refuses what would change something.
        answer.set_cookie(COOKIE, secret, httponly=True, samesite="lax", secure=request.url.scheme == "https", path="/")
    return answer


@router.post("/sign-out")
def sign_out() -> Response:
    answer = RedirectResponse("/sign-in", HTTPStatus.SEE_OTHER)
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")
    return answer


def _local(to: str) -> str:
    """Only a path of this server: a link to the sign-in must not lead elsewhere afterwards."""
    parts = urlsplit(to)
    if parts.scheme or parts.netloc or not to.startswith("/") or to.startswith(("//", "/\\")) or not to.isprintable():
        return "/"
    return to
