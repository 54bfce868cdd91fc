"""The API keys that were made by name, remembered for a moment: every request asks for one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from unembed.models.store import ApiKey
from unembed.models.store.keys import ApiKeys, digest_of

FRESH: Final = 2.0  # seconds in which a key that has just been made may be missed, and one that was revoked may open


class Keyring:
    """What the database said of late. It raises StoreUnavailableError when it has to be asked and cannot be."""

    def __init__(self, keys: ApiKeys, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._clock = clock
        self._found: dict[str, tuple[ApiKey, float]] = {}  # by digest, and until when it is believed
        self._are_any = (False, 0.0)

    def find(self, secret: str) -> ApiKey | None:
        digest = digest_of(secret)
        found, until = self._found.get(digest, (None, 0.0))
        if found is not None and self._clock() < until:
            return found
        key = self._keys.find(secret)
        if key is None:
            self._found.pop(digest, None)
        else:
            self._found[digest] = (key, self._clock() + FRESH)
        return key

    def are_any(self) -> bool:
        known, until = self._are_any
        if self._clock() >= until:
            known = self._keys.are_any()
            self._are_any = (known, self._clock() + FRESH)
        return known
