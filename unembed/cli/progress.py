"""Progress on stderr: bars where there is a terminal, a line every five seconds where there is none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from unembed.cli.console import err, say
from unembed.cli.tables import duration, why_it_waits
from unembed.schemas import Job

LINE_EVERY: Final = 5.0  # seconds


class Display(Protocol):
    """Shows a person how far it is: `show_sent` while a corpus is sent, `show_job` while a job is waited for."""

    def show_sent(self, rows: int, total: int) -> None: ...

    def show_job(self, job: Job) -> None: ...


@contextmanager
def display() -> Iterator[Display]:
    """The display that suits stderr."""
    if not err.is_terminal:
        yield Lines()
        return
    with Progress(
        TextColumn("{task.description:<8}", style="dim"),
        BarColumn(bar_width=32),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]}"),
        TextColumn("{task.fields[note]}", style="dim"),
        console=err,
        transient=True,
    ) as progress:
        yield Bars(progress)


class Pace:
    """Rows a second since the first look, and what is left at that pace."""

    def __init__(self) -> None:
        self._start: tuple[float, int] | None = None

    def note(self, done: int, total: int) -> str:
        now = time.monotonic()
        if self._start is None:
            self._start = now, done
        seconds, rows = now - self._start[0], done - self._start[1]
        if seconds <= 0 or rows <= 0:
            return ""
        pace = rows / seconds
        left = f", {duration((total - done) / pace)} left" if done < total else ""
        return f"{pace:,.0f} rows/s{left}"


class Bars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}
        self._pace = Pace()

    def show_sent(self, rows: int, total: int) -> None:
        self._show("sent", rows, total, "")

    def show_job(self, job: Job) -> None:
        note = why_it_waits(job) or self._pace.note(job.rows.done, job.rows.total) or _running(job)
        self._show("decoded", job.rows.done, job.rows.total, note)

    def _show(self, name: str, done: int, total: int, note: str) -> None:
        rows = f"{done:,}/{total:,}"
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total, rows=rows, note=note)
        self._progress.update(self._tasks[name], completed=done, total=total, rows=rows, note=note)


class Lines:
    """Says nothing of what takes less than five seconds."""

    def __init__(self) -> None:
        self._start = self._last = time.monotonic()
        self._pace = Pace()

    def show_sent(self, rows: int, total: int) -> None:
        self._line(f"sent {rows:,} of {total:,} rows")

    def show_job(self, job: Job) -> None:
        rows = job.rows
        note = why_it_waits(job) or self._pace.note(rows.done, rows.total) or _running(job)
        self._line(f"decoded {rows.done:,} of {rows.total:,} rows, {note}")

    def _line(self, text: str) -> None:
        now = time.monotonic()
        if now - self._last >= LINE_EVERY:
            self._last = now
            say(f"{duration(now - self._start)}: {text}")


def _running(job: Job) -> str:
    return f"{job.state}, batches running: {job.batches.running}"
