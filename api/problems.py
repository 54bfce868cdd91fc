"""Every error leaves as an RFC 9457 problem document whose `code` names the class in `unembed.errors`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from unembed.api.pages import problem_page
from unembed.boundary import describe
from unembed.errors import (
    AuthError,
    BusyError,
    InputError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
    UnembedError,
)
from unembed.models import logs
from unembed.schemas import PROBLEM_JSON, Problem

log = logging.getLogger(__name__)

RETRY_SECONDS: Final = 5
_OPENAI: Final = ("/v1/files", "/v1/batches")
_SECRET: Final = ("secret",)  # fields whose values are never shown
_CODES: Final = {401: AuthError.code, 404: NotFoundError.code, 413: TooLargeError.code}


def problem(
    path: str,
    status: int,
    detail: str,
    code: str,
    *,
    headers: Mapping[str, str] | None = None,
    **extensions: Any,
) -> Response:
    """The document as a response; further keywords are RFC 9457 extension members."""
    if path.startswith(_OPENAI):  # its clients show what they find here
        extensions["error"] = {"message": detail, "type": HTTPStatus(status).phrase, "param": None, "code": code}
    document = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=path,
        code=code,
        request_id=logs.current("request_id"),
    )
    body = _Extended(**document.model_dump(), **extensions).model_dump_json()
    return Response(body, status, headers, media_type=PROBLEM_JSON)


class _Extended(Problem, extra="allow"):
    pass


def of_error(path: str, error: UnembedError) -> Response:
    """The document of an error."""
    return problem(path, error.status, error.message, error.code, headers=_headers_of(error))


def _headers_of(error: UnembedError) -> dict[str, str]:
    if isinstance(error, UnavailableError | BusyError):
        return {"Retry-After": str(error.retry_after if isinstance(error, BusyError) else RETRY_SECONDS)}
    return {"WWW-Authenticate": "Bearer"} if isinstance(error, AuthError) else {}


def install(app: FastAPI) -> None:
    """Give `app` a handler for each kind of error, the unforeseen included."""
    app.add_exception_handler(UnembedError, _unembed)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)


async def _unembed(request: Request, error: Exception) -> Response:
    assert isinstance(error, UnembedError)
    if error.status >= 500:
        log.warning("%s %s: %s", request.method, request.url.path, error.message, extra={"error_code": error.code})
    return _shown(request, error.status, error.message, error.code, _headers_of(error))


async def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    broken = any(each["type"] == "json_invalid" for each in error.errors())
    return _shown(request, 400 if broken else 422, describe(error, secret=_SECRET), InputError.code)


async def _http(request: Request, error: Exception) -> Response:
    """What Starlette and FastAPI raise themselves: no such path, no such method, a body that cannot be read."""
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, InputError.code if error.status_code < 500 else UnembedError.code)
    return _shown(request, error.status_code, str(error.detail), code, error.headers)


async def _unforeseen(request: Request, error: Exception) -> Response:
    """The server logs the traceback; the caller learns nothing of our insides."""
    detail = "the server met an error that it did not foresee; its log says more"
    return _shown(request, 500, detail, UnembedError.code)


def _shown(request: Request, status: int, detail: str, code: str, headers: Mapping[str, str] | None = None) -> Response:
    """A page for a person, the document for a program."""
    if problem_page.is_wanted(request):
        return problem_page.respond(request, status, detail, headers)
    return problem(request.url.path, status, detail, code, headers=headers)


# --- OpenAPI ---------------------------------------------------------------------------------------------------------

_MEANINGS: Final = {
    400: "The request cannot be read, or its embeddings cannot",
    401: "The API key is missing or wrong",
    403: "The role of the API key does not allow it",
    404: "There is nothing with this id",
    408: "The batch did not arrive in time",
    409: "The job's state forbids it",
    413: "The body, unpacked, or its number of rows, is over the limit",
    415: "The body's media type or encoding is not one of those listed",
    416: "The file ends before the range begins",
    422: "The request is well-formed, but its values are not acceptable",
    429: "The queue or Redis has no room, or the key has made too many requests; `Retry-After` says when to try again",
    500: "An error that was not foreseen",
    503: "The database or Redis is down; `Retry-After` says when to try again",
}


BODY: Final = (400, 413, 415)  # what a body may meet


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that can answer with these problems."""
    content = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _MEANINGS[status], "content": content} for status in statuses}
