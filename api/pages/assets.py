"""The files of static/: styles and scripts. They are public, and may be kept for as long as their address lasts."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

from unembed.api.pages.shell import STATIC

router = APIRouter()

_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".txt": "text/plain"}
_FILES: Final = {each.name: each for each in STATIC.iterdir() if each.suffix in _TYPES}
_A_YEAR: Final = "public, max-age=31536000, immutable"
_ASK_AGAIN: Final = "no-cache"  # without its version, an address stays the same when the file changes


@router.get("/static/{name}")
def read_asset(name: str, request: Request) -> Response:
    path = _FILES.get(name)  # by its name alone: no path leads out of the folder
    if path is None:
        raise HTTPException(404, f"there is no file {name[:80]!r} here")
    kept = _A_YEAR if "v" in request.query_params else _ASK_AGAIN
    return FileResponse(
        path, media_type=_TYPES[path.suffix], headers={"Cache-Control": kept, "X-Content-Type-Options": "nosniff"}
    )
