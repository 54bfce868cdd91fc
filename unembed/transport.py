"""HTTP to a server of Unembed: what may be tried again is, and its problems become the errors that it raised.

Every request of this API may be repeated: a job has its idempotency key, a batch its place, and the rest sets a state.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
from pydantic import TypeAdapter, ValidationError

from unembed.errors import AuthError, BusyError, InputError, NotFoundError, UnavailableError, UnembedError, by_code
from unembed.schemas import PROBLEM_JSON, Problem

FIRST_DELAY: Final = 0.2  # seconds; doubles with each retry
LONGEST_DELAY: Final = 30.0  # seconds; also of what a server may ask for

_AGAIN: Final = frozenset({429, 502, 503, 504})
_NEVER: Final = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)
_PLAIN: Final[dict[int, type[UnembedError]]] = {401: AuthError, 404: NotFoundError, 429: BusyError}
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class Transport:
    """Sends requests to one server; safe to share between threads."""

    def __init__(
        self,
        url: str,
        api_key: str | None,
        *,
        timeout: float,
        retries: int,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"the server's URL is {url!r}, but it must look like http://127.0.0.1:8765")
        self.url = url.rstrip("/")
        self._retries = retries
        self._sleep = sleep
        self._http = httpx2.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=timeout,
            transport=transport,
            trust_env=parts.hostname not in _LOOPBACK,  # a proxy has no way to this machine's own loopback
        )

    def close(self) -> None:
        self._http.close()

    def send(self, method: str, path: str, **request: Any) -> httpx2.Response:
        """The response, which is a success; raises the server's error, or UnavailableError when none can be had."""
        for retry in range(self._retries + 1):
            try:
                response = self._http.request(method, path, **request)
            except _NEVER as error:
                raise InputError(f"no request can be made to {self.url}: {error}") from error
            except httpx2.TransportError as error:
                if retry == self._retries:
                    raise UnavailableError(f"no server answers at {self.url}: {_reason(error)}") from error
                self._sleep(_delay(retry, None))
                continue
            if response.status_code not in _AGAIN or retry == self._retries:
                break
            self._sleep(_delay(retry, response.headers.get("Retry-After")))
        if not response.is_success:
            raise self._error(response)
        return response

    def fetch(self, kind: Any, method: str, path: str, **request: Any) -> Any:
        """The response's JSON as a value of `kind`, a type that pydantic knows."""
        response = self.send(method, path, **request)
        try:
            return TypeAdapter(kind).validate_json(response.content)
        except ValidationError as error:
            raise UnembedError(
                f"{self.url} answered {method} {path} with what this client cannot read; is it of another version? "
                f"{error.error_count()} of its values are not as expected"
            ) from error

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


def _delay(retry: int, asked: str | None) -> float:
    """Seconds to wait: what the server asks for, or the back-off, at random between half of it and all of it."""
    if asked is not None and asked.strip().isdigit():
        return min(float(asked), LONGEST_DELAY)
    return min(FIRST_DELAY * 2.0**retry, LONGEST_DELAY) * random.uniform(0.5, 1.0)  # noqa: S311


def _reason(error: httpx2.TransportError) -> str:
    return str(error) or type(error).__name__
