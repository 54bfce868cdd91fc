"""What every verb shares: the two consoles, the exit codes, and how an error looks."""

from __future__ import annotations

import sys
import time
from enum import IntEnum
from typing import Final, TextIO

from rich.console import Console
from rich.text import Text

from unembed.errors import UnembedError
from unembed.schemas import Job, JobState

STARTED: Final = time.monotonic()  # when this program began, nearly: what takes long is imported after it
_WIDE: Final = 10_000  # characters; a file or a pipe has no edge to fold at


def _console(stream: TextIO, *, stderr: bool) -> Console:
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else _WIDE)


err: Final = _console(sys.stderr, stderr=True)
out: Final = _console(sys.stdout, stderr=False)


class Exit(IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2  # bad input too
    PARTIAL = 3  # the job ended, and some rows have no text
    AUTH = 4
    UNREACHABLE = 5
    INTERRUPTED = 130


def job_exit_code(job: Job) -> Exit:
    """What a verb that waits for a job ends with."""
    if job.state is JobState.SUCCEEDED:
        return Exit.OK
    return Exit.PARTIAL if job.state is JobState.PARTIAL else Exit.FAILED


def say(message: str, style: str | None = None) -> None:
    """One line for a person, on stderr; `message` is text, never markup."""
    err.print(Text(message, style=style or ""), soft_wrap=True)


def fail(error: UnembedError) -> Exit:
    """Shows the error and returns the code to exit with."""
    err.print(Text.assemble(("error: ", "bold red"), error.message), soft_wrap=True)
    return Exit(error.exit_code)
