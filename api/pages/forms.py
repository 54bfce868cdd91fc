"""What a form of a page says."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl

from fastapi import Request
from starlette.exceptions import HTTPException

_FORM: Final = "application/x-www-form-urlencoded"
_MOST_FIELDS: Final = 50


async def fields(request: Request) -> dict[str, str]:
    """The fields of a form by their names; of one that is there twice, the last. Raises 415 and 400.

    Starlette's own reader wants a package more, for the files that no form here has.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _FORM:
        raise HTTPException(415, f"the body is {kind or 'of no type'!r}; expected {_FORM}, as a form sends it")
    try:
        text = (await request.body()).decode("ascii")
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict"))
    except ValueError as error:
        raise HTTPException(400, f"the form cannot be read; expected at most {_MOST_FIELDS} fields of UTF-8") from error
