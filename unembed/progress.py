"""Progress for whoever looks: a bar on stderr in a terminal, one in the page in a notebook, and none anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from unembed.errors import InputError
from unembed.schemas import Job
from unembed.words import duration, why_it_waits

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

Shown: TypeAlias = bool | None  # True: a bar; False: none; None: one where somebody may look


@dataclass(frozen=True)
class Listener:
    """Who is told how far it is."""

    sent: Callable[[int, int], object]  # rows sent, rows in all
    job: Callable[[Job], object] | None  # None: nobody listens


class Display(Protocol):
    """Shows a person how far it is: `show_sent` while a corpus is sent, `show_job` while a job is waited for."""

    def show_sent(self, rows: int, total: int) -> None: ...

    def show_job(self, job: Job) -> None: ...


@contextmanager
def listening(progress: Callable[..., object] | bool | None, usually: Shown) -> Iterator[Listener]:
    """Who listens to one submit or wait: a function of the caller, or a bar. `usually` stands in for None."""
    if progress is not None and not isinstance(progress, bool):
        if not callable(progress):
            raise InputError(f"progress is of the type {type(progress).__name__}; expected a function, True or False")
        yield Listener(progress, progress)
        return
    with _bar(usually if progress is None else progress) as display:
        yield Listener(display.show_sent, display.show_job) if display else Listener(lambda _rows, _total: None, None)


@contextmanager
def _bar(shown: Shown) -> Iterator[Display | None]:
    if shown is False:
        yield None
    elif _is_notebook():
        yield NotebookBar()
    elif shown or sys.stderr.isatty():
        from rich.console import Console

        with bars(Console(stderr=True, highlight=False)) as display:
            yield display
    else:
        yield None


def _is_notebook() -> bool:
    """Whether this runs in a kernel of Jupyter. IPython is there already, if it does."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


@contextmanager
def bars(console: Console) -> Iterator[Bars]:
    """Bars in a terminal, which go when it is over."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    with Progress(
        TextColumn("{task.description:<8}", style="dim"),
        BarColumn(bar_width=32),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]}"),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
        console=console,
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

    def of(self, job: Job) -> str:
        """The same of a job, or why it does not move."""
        running = f"{job.state}, batches running: {job.batches.running}"
        return why_it_waits(job) or self.note(job.rows.done, job.rows.total) or running


class Bars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}
        self._pace = Pace()

    def show_sent(self, rows: int, total: int) -> None:
        self._show("sent", rows, total, "")

    def show_job(self, job: Job) -> None:
        self._show("decoded", job.rows.done, job.rows.total, self._pace.of(job))

    def _show(self, name: str, done: int, total: int, note: str) -> None:
        rows = f"{done:,}/{total:,}"
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total, rows=rows, note=note)
        self._progress.update(self._tasks[name], completed=done, total=total, rows=rows, note=note)


class NotebookBar:
    """A bar in the output of a notebook's cell, which stays as it was at the end."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._handle: Any = None

    def show_sent(self, rows: int, total: int) -> None:
        self._show("sent", rows, total, "")

    def show_job(self, job: Job) -> None:
        self._show(
            "decoded", job.rows.done, job.rows.total, str(job.state) if job.state.is_ended else self._pace.of(job)
        )

    def _show(self, name: str, done: int, total: int, note: str) -> None:
        from IPython.display import HTML, display

        shown = HTML(bar_html(name, done, total, note))
        if self._handle is None:
            self._handle = display(shown, display_id=True)
        else:
            self._handle.update(shown)


def bar_html(name: str, done: int, total: int, note: str) -> str:
    said = f"{name} {done:,}/{total:,}" + (f", {note}" if note else "")
    return f'<progress max="{max(total, 1)}" value="{done}"></progress> {escape(said)}'
