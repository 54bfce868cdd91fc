"""Where results go, and in which format; what cannot work is found here, before the work."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from unembed.boundary import did_you_mean
from unembed.corpus.formats import COMPRESSIONS, SUFFIXES, kind_of_name
from unembed.corpus.names import shown
from unembed.errors import InputError
from unembed.results.parts import require_free
from unembed.results.whole import TEMPORARY

STDOUT: Final = "-"
FORMATS: Final = ("parquet", "arrow", "jsonl", "csv", "tsv")
_PACKED: Final = ("parquet", "arrow")  # compressed within, or mapped into memory
_ROW_BYTES: Final = {"parquet": 80, "arrow": 190, "jsonl": 400, "csv": 190, "tsv": 190}  # of short texts, about


class Sink(StrEnum):
    FILE = "file"
    FOLDER = "folder"  # of parts
    STREAM = "stream"  # stdout, a pipe, a device


@dataclass(frozen=True)
class Destination:
    """What a person named as the output."""

    name: str  # as it was given; '-' is stdout
    sink: Sink
    format: str  # one of FORMATS
    compression: str | None = None  # a value of COMPRESSIONS

    def __str__(self) -> str:
        return "stdout" if self.name == STDOUT else shown(self.name)

    @property
    def path(self) -> Path:
        """Of the file itself, where the name is a link to it."""
        path = Path(self.name)
        return Path(os.path.realpath(path)) if path.is_symlink() else path

    @property
    def suffix(self) -> str:
        """Of its parts: `.jsonl.gz`."""
        packed = next((suffix for suffix, name in COMPRESSIONS.items() if name == self.compression), "")
        return f"{SUFFIXES[self.format][0]}{packed}"

    @property
    def is_arrow_stream(self) -> bool:
        """Arrow that is read from its start: on a stream, and in the parts that `datasets.load_from_disk` opens."""
        return self.sink is not Sink.FILE or self.name.lower().endswith(".arrows")

    def lack_of_room(self, rows: int, row_bytes: int = 0) -> str:
        """A warning where so many rows, with `row_bytes` more each, would probably not fit; else nothing."""
        if self.sink is Sink.STREAM:
            return ""
        need = rows * (_ROW_BYTES[self.format] + row_bytes)
        free = shutil.disk_usage(_existing(self.path.absolute())).free
        if need <= free:
            return ""
        return f"{self} may not fit on its disk: {rows:,} rows take about {_size(need)}, and {_size(free)} are free"


def destination_of(name: str | os.PathLike[str], format: str | None = None) -> Destination:
    """The destination that a name stands for: a file, a folder (it exists, or the name ends with /), or - for stdout.

    `format` is one of FORMATS; without it the suffix says it, a folder has parquet and stdout JSON lines. Raises
    InputError for what cannot be written to; to be called before the work is done, not after.
    """
    try:
        found = _parsed(os.fspath(name), format)
        _check(found)
    except OSError as error:
        raise InputError(f"{_short(shown(name))} cannot be written: {error.strerror or error}") from error
    return found


def _parsed(name: str, format: str | None) -> Destination:
    if format is not None and format not in FORMATS:
        raise InputError(
            f"the format is {format!r}, but results are written as one of {', '.join(FORMATS)}"
            f"{did_you_mean(format, FORMATS)}"
        )
    kind = kind_of_name(name.rstrip("/"))
    by_name = kind.format if kind.format in FORMATS else None
    sink = _sink(name)
    if sink is Sink.FILE and (format or by_name) is None:
        suffix = Path(name).suffix
        known = ", ".join(each for one in FORMATS for each in SUFFIXES[one])
        raise InputError(
            f"{_short(shown(name))} has the suffix {suffix!r}, but results are written as one of {known}; a folder "
            "of parts ends with /, and --format names a format"
        )
    usual = "jsonl" if sink is Sink.STREAM else "parquet"
    return Destination(name, sink, format or by_name or usual, kind.compression)


def _sink(name: str) -> Sink:
    path = Path(name)
    if name == STDOUT:
        return Sink.STREAM
    if name.endswith(("/", os.sep)) or path.is_dir():
        return Sink.FOLDER
    return Sink.STREAM if path.exists() and not path.is_file() else Sink.FILE


def _check(destination: Destination) -> None:
    """Raises InputError, or the OSError that writing there would."""
    if destination.compression and destination.format in _PACKED:
        raise InputError(
            f"{destination}: a {destination.format} file is not compressed once more; leave out the second suffix"
        )
    path = destination.path
    if destination.sink is Sink.STREAM:
        if destination.name == STDOUT and destination.format in _PACKED and os.isatty(1):
            raise InputError(f"{destination.format} is not for a terminal: name a file, or send stdout to a program")
        return
    folder = path.absolute().parent
    if not folder.is_dir():
        raise InputError(f"the folder {shown(folder)} does not exist")
    _look_at(path)
    if destination.sink is Sink.FOLDER and path.exists():
        if not path.is_dir():
            raise InputError(f"{destination} is a file, but its name ends as that of a folder")
        require_free(path)
        folder = path
    try:
        probe, name = tempfile.mkstemp(prefix=TEMPORARY, dir=folder)
    except OSError as error:
        raise InputError(f"the folder {shown(folder)} cannot be written to: {error.strerror or error}") from error
    os.close(probe)
    Path(name).unlink()


def _look_at(path: Path) -> None:
    """Raises the OSError for which its name is refused: too long, or odd."""
    with suppress(FileNotFoundError):
        path.lstat()


def _existing(path: Path) -> Path:
    return path if path.is_dir() else _existing(path.parent)


def _short(name: str, longest: int = 80) -> str:
    return name if len(name) <= longest else f"{name[: longest - 20]}…{name[-19:]}"


def _size(nbytes: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if nbytes < 1000:
            return f"{nbytes:,.0f} {unit}"
        nbytes /= 1000
    return f"{nbytes:,.1f} TB"
