"""HTTP to a server of Unembed: what may be tried again is, and its problems become the errors that it raised.

Every request of this API may be repeated: a job has its idempotency key, a batch its place, and the rest sets a state.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpx2
from pydantic import TypeAdapter, ValidationError

from unembed.errors import (
    AuthError,
    BusyError,
    InputError,
    MissingExtraError,
    NotFoundError,
    UnavailableError,
    UnembedError,
    by_code,
    first_line,
)
from unembed.generations import from_arrow_stream, from_json_lines
from unembed.schemas import ARROW_STREAM, JSON_LINES, PROBLEM_JSON, Problem

if TYPE_CHECKING:
    import pyarrow as pa

FIRST_DELAY: Final = 0.2  # seconds; doubles with each retry
LONGEST_DELAY: Final = 30.0  # seconds; also of what a server may ask for

BUSY_TIMEOUT: Final = 3600.0  # seconds; a full queue empties as fast as workers decode

_ROWS: Final = f"{ARROW_STREAM}, {JSON_LINES};q=0.5"
_BUSY: Final = 429
_AGAIN: Final = frozenset({502, 503, 504})
_NEVER: Final = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.InvalidURL)
_PLAIN: Final[dict[int, type[UnembedError]]] = {401: AuthError, 404: NotFoundError, 429: BusyError}
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


Stop = threading.Event
Busy = Callable[[str, float], object]  # why the server has no room, and the seconds until it is asked again


class Transport:
    """Sends requests to one server; safe to share between threads."""

    def __init__(
        self,
        url: str,
        api_key: str | None,
        *,
        timeout: float,
        retries: int,
        busy_timeout: float = BUSY_TIMEOUT,
        busy: Busy = lambda _why, _pause: None,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"the server's URL is {url!r}, but it must look like http://127.0.0.1:8765")
        self.url = url.rstrip("/")
        self._retries = retries
        self._busy_timeout = busy_timeout
        self._busy = busy
        self._sleep = sleep
        if api_key and not (api_key.isascii() and api_key.isprintable()):
            raise InputError("the API key has characters that cannot be sent; expected printable ASCII only")
        try:
            self._http = httpx2.Client(
                base_url=self.url,
                headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
                timeout=timeout,
                transport=transport,
                trust_env=parts.hostname not in LOOPBACK,  # a proxy has no way to this machine's own loopback
            )
        except ImportError as error:  # of a SOCKS proxy
            raise MissingExtraError(
                "the environment names a SOCKS proxy (ALL_PROXY, HTTP_PROXY or HTTPS_PROXY), for which the package "
                "socksio is needed: pip install socksio, or unset the variable"
            ) from error
        except httpx2.InvalidURL as error:
            raise InputError(f"{self.url}, or the proxy that the environment names, cannot be used: {error}") from error

    def close(self) -> None:
        self._http.close()

    def send(self, method: str, path: str, *, stop: Stop | None = None, **request: Any) -> httpx2.Response:
        """The response, which is a success; raises the server's error, or UnavailableError when none can be had.

        A server that is busy is asked again, as often as it takes, for `busy_timeout` seconds. `stop` ends every wait,
        with the error that led to it.
        """
        waits = Waits(self._retries, self._busy_timeout)
        while True:
            try:
                response = self._http.request(method, path, **request)
            except _NEVER as error:
                raise InputError(f"no request can be made to {self.url}: {error}") from error
            except httpx2.TransportError as error:
                pause = waits.after_failure(None)
                if pause is None or self._is_stopped(pause, stop):
                    raise UnavailableError(f"no server answers at {self.url}: {_reason(error)}") from error
                continue
            if response.is_success:
                return response
            pause = waits.after(response)
            if pause is None:
                raise self._error(response)
            if response.status_code == _BUSY:
                self._busy(self._error(response).message, pause)
            if self._is_stopped(pause, stop):
                raise self._error(response)

    def _is_stopped(self, pause: float, stop: Stop | None) -> bool:
        """After a pause, or at once."""
        if stop is not None:
            return stop.wait(pause)
        self._sleep(pause)
        return False

    def fetch(self, kind: Any, method: str, path: str, **request: Any) -> Any:
        """The response's JSON as a value of `kind`, a type that pydantic knows."""
        response = self.send(method, path, **request)
        try:
            return TypeAdapter(kind).validate_json(response.content)
        except ValidationError as error:
            why = f"{error.error_count()} of its values are not as expected"
            raise self._unreadable(method, path, why) from error

    def fetch_rows(self, path: str, params: dict[str, Any]) -> tuple[pa.RecordBatch, httpx2.Headers]:
        """A page of rows, and the response's headers. A server that knows no Arrow answers with JSON lines."""
        response = self.send("GET", path, params=params, headers={"Accept": _ROWS})
        arrow = response.headers.get("Content-Type", "").startswith(ARROW_STREAM)
        try:
            return (from_arrow_stream if arrow else from_json_lines)(response.content), response.headers
        except ValueError as error:
            raise self._unreadable("GET", path, first_line(error)) from error

    def _unreadable(self, method: str, path: str, why: str) -> UnembedError:
        return UnembedError(
            f"{self.url} answered {method} {path} with what this client cannot read; is it of another version? {why}"
        )

    def _error(self, response: httpx2.Response) -> UnembedError:
        if response.headers.get("Content-Type", "").startswith(PROBLEM_JSON):
            try:
                problem = Problem.model_validate_json(response.content)
            except ValidationError:
                pass
            else:
                return by_code().get(problem.code, UnembedError)(problem.detail)
        status = response.status_code
        kind = UnavailableError if status in (502, 503, 504) else _PLAIN.get(status, UnembedError)
        answer = f"{status} {response.reason_phrase}".strip()
        return kind(f"{self.url} answered {answer}, and not as an Unembed server does: {response.text[:200]!r}")


class Waits:
    """How long one request waits before it is tried again; None: no more."""

    def __init__(self, retries: int, busy_timeout: float) -> None:
        self._left = retries
        self._busy_until = time.monotonic() + busy_timeout
        self._tried = 0

    def after(self, response: httpx2.Response) -> float | None:
        """After an answer that is no success."""
        asked = response.headers.get("Retry-After")
        if response.status_code == _BUSY:
            # Not a failure: the server does well to refuse, and counts on being asked again.
            pause = self._pause(asked)
            return pause if time.monotonic() + pause <= self._busy_until else None
        return self.after_failure(asked) if response.status_code in _AGAIN else None

    def after_failure(self, asked: str | None) -> float | None:
        if self._left == 0:
            return None
        self._left -= 1
        return self._pause(asked)

    def _pause(self, asked: str | None) -> float:
        """Seconds: what the server asks for, or the back-off, at random between half of it and all of it."""
        tried, self._tried = self._tried, self._tried + 1
        if asked is not None and asked.strip().isdigit():
            return min(float(asked), LONGEST_DELAY)
        return min(FIRST_DELAY * 2.0 ** min(tried, 16), LONGEST_DELAY) * random.uniform(0.5, 1.0)  # noqa: S311


def _reason(error: httpx2.TransportError) -> str:
    return str(error) or type(error).__name__
