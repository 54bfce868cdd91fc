"""What every verb shares: the two consoles, the exit codes, and how an error looks."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from enum import IntEnum
from http import HTTPStatus
from typing import Final, TextIO

from rich.console import Console
from rich.text import Text

from unembed.errors import UnembedError
from unembed.schemas import Job, JobState, Problem

STARTED: Final = time.monotonic()  # when this program began, nearly: what takes long is imported after it
_WIDE: Final = 10_000  # characters; a file or a pipe has no edge to fold at
_STDERR: Final = 2
_HEARD: Final = ("yellow", "red")  # the styles of what --quiet does not hush: warnings and failures


def _console(stream: TextIO, *, stderr: bool) -> Console:
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else _WIDE)


err: Final = _console(sys.stderr, stderr=True)
_always: Final = _console(sys.stderr, stderr=True)  # in place of `err` while that is hushed
out: Final = _console(sys.stdout, stderr=False)


class Exit(IntEnum):
    """What a verb ends with: `EXIT_MEANINGS`."""

    OK = 0
    FAILED = 1
    USAGE = 2
    PARTIAL = 3
    AUTH = 4
    UNREACHABLE = 5
    INTERRUPTED = 130


EXIT_MEANINGS: Final = {
    Exit.OK: "it worked; of a job: every row has a text",
    Exit.FAILED: "the command or the job failed, or the job was cancelled",
    Exit.USAGE: "wrong usage or bad input",
    Exit.PARTIAL: "the job has ended, and some rows have no text",
    Exit.AUTH: "the API key is missing or wrong, or may not do this",
    Exit.UNREACHABLE: "the server, or a part of it, does not answer or is full; or the `--timeout` of `wait` is over",
    Exit.INTERRUPTED: "interrupted; the message says how to go on, or how to come back to the job",
}


def job_exit_code(job: Job) -> Exit:
    """What a verb that waits for a job ends with."""
    if job.state is JobState.SUCCEEDED:
        return Exit.OK
    return Exit.PARTIAL if job.state is JobState.PARTIAL else Exit.FAILED


def show_job(job: Job) -> None:
    """As JSON on stdout, as the API has it."""
    print(job.model_dump_json(indent=2))


def hush(wanted: bool) -> None:
    """Whether `err` shows nothing from now on: no progress, no remarks, no summary. Warnings and errors are heard."""
    err.quiet = wanted


def say(message: str, style: str | None = None) -> None:
    """One line for a person, on stderr; `message` is text, never markup."""
    (_always if err.quiet and style in _HEARD else err).print(Text(message, style=style or ""), soft_wrap=True)


def say_at_once(message: str) -> None:
    """As `say`, for a signal handler. It may interrupt `say`, and Python refuses to enter stderr's buffer twice."""
    if not err.quiet:
        with suppress(OSError):  # stderr is closed
            os.write(_STDERR, f"{message}\n".encode())


def fail(error: UnembedError, *, as_json: bool = False) -> Exit:
    """Shows the error and returns the code to exit with. `as_json`: as the API's problem document, on one line."""
    if as_json:
        title = HTTPStatus(error.status).phrase
        problem = Problem(title=title, status=error.status, detail=error.message, code=error.code)
        print(problem.model_dump_json(exclude_none=True), file=sys.stderr)
    else:
        _always.print(Text.assemble(("error: ", "bold red"), error.message), soft_wrap=True)
    return Exit(error.exit_code)
