"""Whatever is named, as a plain file on this machine that can be read as often as needed."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from unembed.corpus.base import reading
from unembed.corpus.files import files_of, is_url
from unembed.corpus.formats import compression_of, without_compression
from unembed.corpus.names import STDIN, shown
from unembed.corpus.packed import unpacked
from unembed.corpus.remote_files import fetched, masked, urls_of
from unembed.corpus.spool import Progress, Spool, spooled
from unembed.errors import CorpusError

_HERE: Final = "file://"


@dataclass(frozen=True)
class LocalFile:
    """A file, called by what a person named."""

    path: Path
    name: str  # with the suffix that says its format
    what: str  # for messages
    spool: Spool | None  # what keeps it there


def local_files(sources: Sequence[str], progress: Progress, passed_over: list[str]) -> list[LocalFile]:
    """Adds the names that it passes over in folders. Raises CorpusError, MissingExtraError, StorageUnavailableError."""
    named = [each for source in files_of(sources, passed_over) for each in _each(source, progress, passed_over)]
    return [_unpacked(_local(each, progress), progress) for each in named]


def _each(source: str, progress: Progress, passed_over: list[str]) -> list[str]:
    if not is_url(source):
        return [source]
    if source.startswith(_HERE):  # a path, which need not be fetched
        return files_of([source.removeprefix(_HERE)], passed_over)
    progress(masked(source), 0, None)  # it may be a while until it answers
    return urls_of(source, passed_over)


def _local(source: str, progress: Progress) -> LocalFile:
    if source == STDIN:
        return _stdin(progress)
    if is_url(source):
        spool = fetched(source, progress)
        return LocalFile(spool.path, source.partition("?")[0], masked(source), spool)
    path, what = Path(source), shown(source)
    with reading(what):
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            os.close(os.open(path, os.O_RDONLY))  # whether it may be read
            return LocalFile(path, source, what, None)
        if not stat.S_ISFIFO(mode):
            raise CorpusError(f"{what} is no file, folder or pipe")
        progress(what, 0, None)  # it may be a while until somebody writes
        with path.open("rb", buffering=0) as pipe:
            spool = spooled(what, pipe, progress)
        return LocalFile(spool.path, source, what, spool)


def _stdin(progress: Progress) -> LocalFile:
    if sys.stdin is None or sys.stdin.isatty():
        raise CorpusError("'-' is stdin, but nothing is piped into it: cat corpus.jsonl | unembed decode - ...")
    with reading("stdin"):
        spool = spooled("stdin", sys.stdin.buffer, progress)
    return LocalFile(spool.path, STDIN, "stdin", spool)


def _unpacked(file: LocalFile, progress: Progress) -> LocalFile:
    with reading(file.what):
        compression = compression_of(file.path, file.name)
        if compression is None:
            return file
        with unpacked(file.path, compression, file.what) as source:
            spool = spooled(file.what, source, progress)
    return LocalFile(spool.path, without_compression(file.name), file.what, spool)
