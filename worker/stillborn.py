"""Whether the process that decodes ever comes to be: one that dies while it starts is started again, for ever.

started ──▶ ready ──▶ claims a batch                           all is well, whatever happens to it later
   │
   └──▶ dead ──▶ started ──▶ dead ──▶ ...                      after a few of these, the worker cannot work
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

MOST: Final = 3  # deaths


class Stillborn:
    """Counts the processes that died before any of them claimed a batch. `has_claimed` asks the database."""

    def __init__(self, has_claimed: Callable[[], bool]) -> None:
        self._has_claimed = has_claimed
        self._seen: set[int] = set()
        self._is_well = False

    def are_too_many(self, running: Collection[int]) -> bool:
        """`running`: the pids of now. Raises StoreUnavailableError."""
        self._seen |= set(running)
        if self._is_well or len(self._seen.difference(running)) < MOST:
            return False
        self._is_well = self._has_claimed()
        return not self._is_well
