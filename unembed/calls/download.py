"""All rows of an ended job as one file here, in pieces: one that breaks off is asked for again, and no other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Final, cast, get_args

from unembed.boundary import reason_of
from unembed.calls import requests
from unembed.calls.arguments import choice, place
from unembed.calls.steps import Flow, ask, work
from unembed.errors import InputError, OutputError, UnavailableError
from unembed.results.whole import whole_file
from unembed.schemas import ResultsFormat

PIECE_BYTES: Final = 16 * 1024**2
_FORMATS: Final = get_args(ResultsFormat)
_TIMES: Final = 3  # that a file may change while it is fetched


def download(
    job_id: str,
    path: str | os.PathLike[str],
    format: ResultsFormat | None,
    progress: Callable[[int, int], object] = lambda _done, _total: None,
) -> Flow[Path]:
    """The path, where the file appears when it is whole. `progress` is told of bytes."""
    to = Path(place("path", path))
    wanted = to.suffix.removeprefix(".").lower() if format is None else choice("format", format, _FORMATS)
    if wanted not in _FORMATS:
        raise InputError(f"{str(to)!r} says no format by its suffix; expected one of {', '.join(_FORMATS)}")
    with _writing(to), whole_file(to) as file:
        for _ in range(_TIMES):
            file.seek(0)
            file.truncate()
            if (yield from _fetched(job_id, cast(ResultsFormat, wanted), file, progress)):
                return to
    raise UnavailableError(f"the file of job {job_id} has changed {_TIMES} times while it was fetched")


def _fetched(job_id: str, format: ResultsFormat, file: IO[bytes], progress: Callable[[int, int], object]) -> Flow[bool]:
    """Whether all pieces were of the same file."""
    done, total, tag = 0, 1, None
    while done < total:
        piece = yield from ask(requests.piece(job_id, format, done, done + PIECE_BYTES))
        if not piece.content or (done and (piece.tag != tag or not piece.is_part)):
            return False
        yield from work(partial(file.write, piece.content))
        done, total, tag = done + len(piece.content), piece.total, piece.tag
        progress(done, total)
    return True


@contextmanager
def _writing(to: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError.of(f"{to} cannot be written: {reason_of(error)}", error.errno) from error
