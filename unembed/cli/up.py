"""`unembed up`: everything on this machine, in the foreground."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.table import Table

from unembed.cli.console import err, say
from unembed.cli.extras import needs
from unembed.cli.options import Home, LogFormat
from unembed.cli.server_logs import logged
from unembed.home import home_folder
from unembed.models import logs
from unembed.quick_imports import quick_imports

if TYPE_CHECKING:
    from unembed.worker.launch import Stack


log = logging.getLogger(__name__)

_LOOKS_EVERY: Final = 1.0  # seconds, for whether any worker can work


def up(
    home: Home = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port of the API; 0: any free one.")] = 8765,
    flower_port: Annotated[int, typer.Option(min=0, max=65_535, help="The port of Flower; 0: any free one.")] = 5555,
    flower: Annotated[bool, typer.Option(help="Whether to run Flower. Without it, batches cost less.")] = True,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Worker processes. Default: one for each GPU, or one on the CPU.", show_default=False),
    ] = None,
    database_url: Annotated[
        str | None, typer.Option(help="The database. Default: SQLite in the home folder.", show_default=False)
    ] = None,
    log_format: LogFormat = None,
) -> None:
    """Run everything on this machine until Ctrl-C: API, workers, Redis, database and Flower, all on loopback.

    Unfinished jobs continue the next time it starts from the same folder.
    """
    with needs("local"), quick_imports():
        from unembed.worker.launch import Stack
    with logged(log_format):
        if logs.chosen() == "json":
            logs.set_up("supervisor")
        folder = home_folder(home)
        _say(f"starting in {folder}")
        _run(
            Stack(
                folder,
                port=port,
                flower_port=flower_port if flower else None,
                workers=workers,
                database_url=database_url,
                say=_say_of_a_part,
            )
        )


def _run(stack: Stack) -> None:
    ended = _until_told_to_end(stack)
    try:
        with stack:
            _show(stack)
            while not ended.wait(_LOOKS_EVERY):
                stack.check()
            _say("stopping: workers return their batches to the queue; press Ctrl-C again to stop at once")
    except KeyboardInterrupt:
        _say("stopped before everything had started", "yellow")
        raise typer.Exit(130) from None
    _say("stopped")


def _until_told_to_end(stack: Stack) -> threading.Event:
    """The first INT, TERM or HUP ends the stack in order, and interrupts it while it starts; a second one kills it."""
    ended = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if ended.is_set():
            stack.kill()
            return
        ended.set()
        if not stack.is_up:
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    return ended


def _show(stack: Stack) -> None:
    if logs.chosen() == "json":
        log.info("ready: API %s, Flower %s, workers %s", stack.url, stack.flower_url, ", ".join(stack.workers))
        return
    table = Table.grid(padding=(0, 2))
    table.add_row("pages", stack.url, "open it in a browser: jobs as they run, and their texts")
    table.add_row("API", f"{stack.url}/docs")
    table.add_row("numbers", f"{stack.url}/metrics", "the queue's length and age, rows, workers")
    if stack.flower_url:
        table.add_row("Flower", stack.flower_url, "workers, and every attempt at a batch")
    table.add_row("workers", ", ".join(stack.workers))
    table.add_row("home", str(stack.home))
    table.add_row("logs", str(stack.home / "logs"))
    err.print(table)
    say("ready; press Ctrl-C to stop", "green")


def _say(line: str, style: str | None = None) -> None:
    if logs.chosen() == "json":
        log.info("%s", line)
    else:
        say(line, style)


def _say_of_a_part(line: str) -> None:
    if logs.chosen() == "json":
        log.warning("%s", line)
    else:
        say(line, "yellow")
