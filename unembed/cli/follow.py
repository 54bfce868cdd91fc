"""Waiting for a job in sight of a person, who may leave: the job goes on."""

from __future__ import annotations

import typer

from unembed.cli.console import Exit, say
from unembed.cli.progress import display
from unembed.errors import UnavailableError
from unembed.job import JobHandle


def wait_for(handle: JobHandle, timeout: float | None = None) -> None:
    """Returns when the job has ended; leaves the program, and says how to come back, at a Ctrl-C.

    Raises UnavailableError at the timeout.
    """
    try:
        with display() as progress:
            handle.wait(timeout, progress=progress.show_job, check=False)
    except TimeoutError as error:
        raise UnavailableError(f"{error}; it continues: unembed wait {handle.id}") from error
    except KeyboardInterrupt as error:
        say(f"interrupted; the job continues: unembed wait {handle.id}", "yellow")
        raise typer.Exit(Exit.INTERRUPTED) from error
