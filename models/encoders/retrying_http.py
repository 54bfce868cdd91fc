"""JSON to a server that may be busy: what may be tried again is, after as long as the server asks for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import httpx2

from unembed.errors import AuthError, UnavailableError
from unembed.http_manners import LOOPBACK, pause

TRIES: Final = 8
LONGEST_PAUSE: Final = 120.0  # seconds; also of what a server may ask for
_FIRST_PAUSE: Final = 0.5  # seconds; doubles with each try
_TIMEOUT: Final = httpx2.Timeout(120.0, connect=15.0)
_AGAIN: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


class RetryingHttp:
    """Posts JSON to one server. `sleep` is given seconds."""

    def __init__(self, url: str, key: str | None, sleep: Callable[[float], object] = time.sleep) -> None:
        self._url, self._sleep = url, sleep
        if key and not (key.isascii() and key.isprintable()):
            raise AuthError(f"the key for {url} has characters that cannot be sent; expected printable ASCII only")
        self._http = httpx2.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=_TIMEOUT,
            trust_env=httpx2.URL(url).host not in LOOPBACK,
        )

    def post(self, path: str, body: dict[str, Any], is_final: Callable[[httpx2.Response], bool]) -> httpx2.Response:
        """The answer, which may be a refusal; `is_final` says of one that to ask again would not help.

        Raises UnavailableError when there is no answer, or only such as ask to come back later.
        """
        why = ""
        for tried in range(TRIES):
            headers = None
            try:
                answer = self._http.post(self._url + path, json=body)
            except httpx2.TransportError as error:
                why = str(error) or type(error).__name__
            else:
                if answer.status_code not in _AGAIN or is_final(answer):
                    return answer
                why = f"{answer.status_code} {answer.reason_phrase}".strip()
                headers = answer.headers
            if tried < TRIES - 1:
                self._sleep(pause(tried, headers, first=_FIRST_PAUSE, longest=LONGEST_PAUSE))
        raise UnavailableError(f"no embeddings from {self._url} after {TRIES} tries: {why}")
