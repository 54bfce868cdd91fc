"""How one server is asked: what may be tried again is, and its problems become the errors that it raised.

Every request of this API may be repeated: a job has its idempotency key, a batch its place, and the rest sets a state.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httpx2
from pydantic import ValidationError

from unembed import tracing
from unembed.calls.arguments import count, function, seconds
from unembed.calls.steps import Call, Flow, Pause, Sending, T
from unembed.errors import (
    AuthError,
    BusyError,
    InputError,
    NotFoundError,
    UnavailableError,
    UnembedError,
    by_code,
    first_line,
)
from unembed.http_manners import LOOPBACK, pause
from unembed.schemas import PROBLEM_JSON, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST_DELAY: Final = 0.2  # seconds; doubles with each retry
LONGEST_DELAY: Final = 30.0  # seconds; also of what a server may ask for
BUSY_TIMEOUT: Final = 3600.0  # seconds; a full queue empties as fast as workers decode

_BUSY: Final = 429
_AGAIN: Final = frozenset({502, 503, 504})
_NEVER: Final = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.InvalidURL, UnicodeError)
_PLAIN: Final[dict[int, type[UnembedError]]] = {401: AuthError, 404: NotFoundError, 429: BusyError}

Busy = Callable[[str, float], object]  # why the server has no room, and the seconds until it is asked again


class RemoteServer:
    """One server, as far as every client asks it in the same way. Raises InputError for settings that are none."""

    def __init__(
        self, url: str, api_key: str | None, *, timeout: float, retries: int, busy_timeout: float, busy: Busy
    ) -> None:
        host = _host_of(url)
        if host is None:
            raise InputError(f"the server's URL is {url!r}, but it must look like http://127.0.0.1:8765")
        self.url = url.rstrip("/")
        self.is_here = host in LOOPBACK
        self.timeout = seconds("timeout", timeout)
        self._retries = count("retries", retries)
        self._busy_timeout = seconds("busy_timeout", busy_timeout)
        self._busy = function("busy", busy)
        if api_key and not (isinstance(api_key, str) and api_key.isascii() and api_key.isprintable()):
            raise InputError("the API key has characters that cannot be sent; expected printable ASCII only")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    def headers(self) -> Mapping[str, str]:
        """Of each attempt, besides those of its call."""
        trace = tracing.traceparent()
        return self._headers if trace is None else {**self._headers, "traceparent": trace}

    def ask(self, call: Call[T]) -> Flow[T]:
        """What the call reads in the answer; raises the server's error, or UnavailableError when none can be had.

        A server that is busy is asked again, as often as it takes, for `busy_timeout` seconds. Whoever ends a pause
        gets the error that led to it.
        """
        response = yield from self._answer(call)
        try:
            return call.read(response)
        except ValidationError as error:  # of pydantic, whose words name none of the values
            raise self._unreadable(call, f"{error.error_count()} of its values are not as expected") from error
        except ValueError as error:
            raise self._unreadable(call, first_line(error)) from error

    def _answer(self, call: Call[T]) -> Flow[httpx2.Response]:
        tries = _Tries(self._retries, self._busy_timeout)
        while True:
            try:
                response: httpx2.Response = yield Sending(call)
            except _NEVER as error:
                raise InputError(f"no request can be made to {self.url}: {error}") from error
            except httpx2.TransportError as error:
                wait = tries.after_failure(None)
                if wait is None or (yield Pause(wait)):
                    raise self._silent(error) from error
                continue
            except httpx2.HTTPError as error:  # an answer in an encoding that it is not in
                raise self._unreadable(call, first_line(error)) from error
            if response.is_success or response.status_code in call.fine:
                return response
            wait = tries.after(response)
            if wait is None:
                raise self.error(response)
            if response.status_code == _BUSY:
                self._busy(self.error(response).message, wait)
            if (yield Pause(wait)):
                raise self.error(response)

    def _silent(self, error: Exception) -> UnavailableError:
        return UnavailableError(f"no server answers at {self.url}: {first_line(error)}")

    def _unreadable(self, call: Call[T], why: str) -> UnembedError:
        return UnembedError(
            f"{self.url} answered {call.method} {call.path} with what this client cannot read; is it of another "
            f"version? {why}"
        )

    def error(self, response: httpx2.Response) -> UnembedError:
        """What the server says of a request that it refuses, as the error that it raised."""
        if response.headers.get("Content-Type", "").startswith(PROBLEM_JSON):
            try:
                problem = Problem.model_validate_json(response.content)
            except ValidationError:
                pass
            else:
                return by_code().get(problem.code, UnembedError)(problem.detail)
        status = response.status_code
        kind = UnavailableError if status in _AGAIN else _PLAIN.get(status, UnembedError)
        answer = f"{status} {response.reason_phrase}".strip()
        return kind(f"{self.url} answered {answer}, and not as an Unembed server does: {response.text[:200]!r}")


class _Tries:
    """How long one call waits before it is tried again; None: no more."""

    def __init__(self, retries: int, busy_timeout: float) -> None:
        self._left = retries
        self._busy_until = time.monotonic() + busy_timeout
        self._tried = 0

    def after(self, response: httpx2.Response) -> float | None:
        """After an answer that is no success."""
        if response.status_code == _BUSY:
            # Not a failure: the server does well to refuse, and counts on being asked again.
            wait = self._pause(response.headers)
            return wait if time.monotonic() + wait <= self._busy_until else None
        return self.after_failure(response.headers) if response.status_code in _AGAIN else None

    def after_failure(self, headers: Mapping[str, str] | None) -> float | None:
        if self._left == 0:
            return None
        self._left -= 1
        return self._pause(headers)

    def _pause(self, headers: Mapping[str, str] | None) -> float:
        tried, self._tried = self._tried, self._tried + 1
        return pause(tried, headers, first=FIRST_DELAY, longest=LONGEST_DELAY)


def _host_of(url: object) -> str | None:
    """The host of a URL that a request can go to."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        return parts.hostname if parts and parts.scheme in ("http", "https") and parts.port != 0 else None
    except ValueError:
        return None
