"""Progress on stderr: bars where there is a terminal, a line every five seconds where there is none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from unembed.cli.console import err, say
from unembed.progress import Display, Pace, bars
from unembed.schemas import Job
from unembed.words import duration

LINE_EVERY: Final = 5.0  # seconds


@contextmanager
def display() -> Iterator[Display]:
    """The display that suits stderr."""
    if not err.is_terminal:
        yield Lines()
        return
    with bars(err) as shown:
        yield shown


class Lines:
    """Says nothing of what takes less than five seconds."""

    def __init__(self) -> None:
        self._start = self._last = time.monotonic()
        self._pace = Pace()

    def show_sent(self, rows: int, total: int) -> None:
        self._line(f"sent {rows:,} of {total:,} rows")

    def show_job(self, job: Job) -> None:
        self._line(f"decoded {job.rows.done:,} of {job.rows.total:,} rows, {self._pace.of(job)}")

    def _line(self, text: str) -> None:
        now = time.monotonic()
        if now - self._last >= LINE_EVERY:
            self._last = now
            say(f"{duration(now - self._start)}: {text}")
