"""How often one client may ask: so many requests a minute, of which some may come at once."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from unembed.errors import BusyError


class Rates:
    """What each client has left, in this process. It grows evenly, up to a minute's worth."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._left: dict[str, tuple[float, float]] = {}  # by client: requests, and when they were counted

    def take(self, client: str, a_minute: int) -> None:
        """One request of `a_minute`; BusyError, with the seconds until there is one again, when none is left."""
        with self._lock:
            now = self._clock()
            left, then = self._left.get(client, (float(a_minute), now))
            left = min(float(a_minute), left + (now - then) * a_minute / 60)
            self._left[client] = (max(left - 1, 0.0) if left >= 1 else left, now)
        if left < 1:
            error = BusyError(f"this client has made {a_minute} requests within a minute, which is its limit")
            error.retry_after = math.ceil((1 - left) * 60 / a_minute)
            raise error
