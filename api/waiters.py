"""Who waits for news of a job: so many at once, for each asks the database now and then."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

MOST: Final = 200


class Waiters:
    """How many there are in this process. Looked at, not reserved: a few that come at once may pass the limit."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._lock = threading.Lock()
        self._waiting = 0

    @property
    def are_some(self) -> bool:
        return self._waiting > 0

    @property
    def are_too_many(self) -> bool:
        return self._waiting >= self.most

    @contextmanager
    def one_more(self) -> Iterator[None]:
        with self._lock:
            self._waiting += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1
