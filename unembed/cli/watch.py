"""What a decode on a server of its own watches while it waits: whether anything can ever come of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from unembed.cli.home_space import require_writable
from unembed.schemas import Job

if TYPE_CHECKING:
    from unembed.worker.launch import Stack

_PROBES_EVERY: Final = 2.0  # seconds in which nothing has moved


class HomeWatch:
    """Called now and then. Raises CannotWorkError when no worker can work, or the disk is full."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._done = -1
        self._moved = time.monotonic()

    def __call__(self, job: Job | None = None) -> None:
        self._stack.check()
        now = time.monotonic()
        done = self._done if job is None else job.rows.done
        if done != self._done:
            self._done, self._moved = done, now
        elif now - self._moved >= _PROBES_EVERY:
            self._moved = now
            require_writable(self._stack.home)
