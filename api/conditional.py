"""Answers that need not be sent again: a tag for what is shown, and 304 for who has it already."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Final

from fastapi import Header, Response

IfNoneMatch = Annotated[
    str | None, Header(max_length=2000, description="An `ETag` from before: 304 if nothing has changed since")
]
ETAG: Final[dict[str, Any]] = {
    "ETag": {"description": "For `If-None-Match`", "schema": {"type": "string"}},
    "Retry-After": {
        "description": "Seconds until it is worth looking again; only while the job has not ended",
        "schema": {"type": "integer"},
    },
}
UNCHANGED: Final[dict[int | str, dict[str, Any]]] = {304: {"description": "`If-None-Match` names the present `ETag`"}}


def tag_of(*shown: object) -> str:
    """A weak tag: the same for what means the same."""
    return f'W/"{hashlib.sha256(repr(shown).encode()).hexdigest()[:32]}"'


def has(given: str | None, tag: str) -> bool:
    """Whether an If-None-Match names this tag."""
    if given is None:
        return False
    tags = {each.strip().removeprefix("W/") for each in given.split(",")}
    return "*" in tags or tag.removeprefix("W/") in tags


def unchanged(headers: dict[str, str]) -> Response:
    """304, with the headers that the whole answer would have."""
    return Response(status_code=304, headers=headers)
