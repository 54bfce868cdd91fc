"""The heart of one attempt: from a thread it renews the lease, says how far it is, and learns if the batch is not ours.

    decoding      micro-batch ─ check ─ micro-batch ─ check ─ ...      check raises when the attempt has to stop
    the thread    beat ──────── beat ──────── beat ─ ...               a micro-batch may outlast the lease

The two share nothing but the last answer and the number of rows. A database that is away for a moment is not the end:
the lease tells.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final

from unembed.errors import UnavailableError
from unembed.models.store import Beat

log = logging.getLogger(__name__)

STALL: Final = 600.0  # seconds without a check after which the decoder counts as hung
PROMPT: Final = 1.0  # seconds; checks ask the database themselves this often, so that a cancel is seen soon


class CancelledError(Exception):
    """The job was cancelled: stop, and say so."""


class FencedError(Exception):
    """The batch belongs to another attempt, or has ended: stop, and write nothing."""


class HandBackError(Exception):
    """This worker shuts down: stop, and give the batch back."""


class Heart:
    """A context manager; `beat` renews the lease and says how many rows are decoded, `stopping` is set when this worker
    shuts down.

    `hung` is called, from the heart's thread, when the decoder does not come back; the lease is renewed no more.
    """

    def __init__(
        self,
        beat: Callable[[int], Beat],
        interval: float,
        stopping: threading.Event,
        hung: Callable[[], object] = lambda: None,
    ) -> None:
        self._beat = beat
        self._hung = hung
        self._interval = interval
        self._stopping = stopping
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._last = Beat.ALIVE
        self._rows = 0
        self._asked = self._progress = time.monotonic()
        within = contextvars.copy_context()  # so that its lines in the log name the batch, too
        self._thread = threading.Thread(target=within.run, args=(self._run,), name="heart", daemon=True)

    def __enter__(self) -> Heart:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def check(self, rows: int = 0) -> None:
        """Between two micro-batches, when so many rows are decoded: raises CancelledError, FencedError or HandBackError
        when the attempt must stop."""
        self._rows = max(self._rows, rows)
        self._progress = time.monotonic()
        if self._progress - self._asked >= min(self._interval, PROMPT):
            self._ask()
        if self._last is Beat.CANCELLED:
            raise CancelledError
        if self._last is Beat.FENCED:
            raise FencedError
        if self._stopping.is_set():
            raise HandBackError

    def _run(self) -> None:
        while not self._ended.wait(self._interval):
            if time.monotonic() - self._progress > STALL:
                log.error("no micro-batch has finished for %.0f s: the decoder hangs", STALL)
                self._hung()
                return
            self._ask()

    def _ask(self) -> None:
        with self._lock:
            self._asked = time.monotonic()  # not when the answer comes: it tells how things stood when it was asked for
            try:
                answer = self._beat(self._rows)
            except UnavailableError as error:
                log.warning("the lease could not be extended: %s", error)
            else:
                self._last = answer if self._last is Beat.ALIVE else self._last
