"""Bytes that come only once, or from afar, in a temporary file, from which they can be read as often as needed."""

from __future__ import annotations

import atexit
import errno
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, Final

from unembed.errors import CorpusError

Progress = Callable[
    [str, int, int | None], None
]  # what is fetched, its bytes so far, its bytes in all if that is known

_PIECE: Final = 1024 * 1024  # bytes
_PREFIX, _SUFFIX = "unembed-", ".spool"
_NEW: Final = 60.0  # seconds in which a folder of another process may not be locked yet
_LARGE: Final = Path("/var/tmp")  # noqa: S108 - on a disk, where /tmp is often memory


class Spool:
    """A temporary file, which goes when nothing uses it any more, and with the process at the latest."""

    def __init__(self) -> None:
        descriptor, name = tempfile.mkstemp(dir=_folder_of(os.getpid(), spool_folder()))
        os.close(descriptor)
        self.path = Path(name)
        self.remove = weakref.finalize(self, _unlink, name)


@cache
def _folder_of(_process: int, base: Path) -> Path:
    """The process's own folder. What processes that were killed have left beside it is removed."""
    for folder in base.glob(f"{_PREFIX}*{_SUFFIX}"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _NEW and _lock(folder):
                shutil.rmtree(folder, ignore_errors=True)
    own = Path(tempfile.mkdtemp(_SUFFIX, _PREFIX, base))
    _lock(own)
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return own


def _lock(folder: Path) -> bool:
    """Whether nobody holds it; then this process does, until it ends in whatever way."""
    try:
        import fcntl
    except ImportError:  # on Windows, where nothing is removed then
        return False
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return False
    return True


def spooled(what: str, source: IO[bytes] | Any, progress: Progress, total: int | None = None) -> Spool:
    """Everything that `source` has. Raises CorpusError when the disk is full, and what reading raises."""
    spool, size = Spool(), 0
    try:
        with spool.path.open("wb", buffering=0) as file:
            while piece := source.read(_PIECE):
                _write(file, piece, what)
                size += len(piece)
                progress(what, size, total)
    except BaseException:
        spool.remove()
        raise
    return spool


def spool_folder() -> Path:
    """TMPDIR where it is set; else /var/tmp, which is made for large files; else what the platform has."""
    if not os.environ.get("TMPDIR") and _LARGE.is_dir() and os.access(_LARGE, os.W_OK):
        return _LARGE
    return Path(tempfile.gettempdir())


def held(holder: object, call: Callable[..., Any]) -> Callable[..., Any]:
    """The call, which keeps the holder alive for as long as it may be called."""

    def again(*given: Any) -> Any:
        found = call(*given)
        return _held(holder, found) if isinstance(found, Iterator) else found

    return again


def _held(_holder: object, found: Iterator[Any]) -> Iterator[Any]:
    yield from found


def _write(file: IO[bytes], piece: bytes, what: str) -> None:
    left = memoryview(piece)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise CorpusError(
            f"{what} is kept in a temporary file, and {spool_folder()} is full: set TMPDIR to a folder with more room"
        ) from error


def _unlink(name: str) -> None:
    with suppress(OSError):
        os.unlink(name)  # noqa: PTH108 - pathlib may be gone when the process ends
