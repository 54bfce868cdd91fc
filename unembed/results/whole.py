"""Files that get their names when they are whole and on the disk, never before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import IO, Any, Final

TEMPORARY: Final = ".unembed-"  # how the name of a file begins that is not whole yet


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """To be written, and renamed once it is on the disk: whoever kept its contents until then may forget them.

    What a process that was killed has left beside it goes.
    """
    remove_dead(path.parent)
    half = path.with_name(f"{TEMPORARY}{os.getpid()}-{token_hex(4)}")  # short: the name may be as long as names can be
    try:
        with half.open("xb") as file:
            _lock(file)
            yield file
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def remove_dead(folder: Path) -> None:
    """Removes files that are not whole, and that no process holds any more."""
    for half in folder.glob(f"{TEMPORARY}*-*"):
        with suppress(OSError), half.open("r+b") as file:
            if file.seek(0, os.SEEK_END) and _lock(file):  # an empty one is not locked yet, perhaps
                half.unlink()


def _lock(file: IO[Any]) -> bool:
    """Whether nobody holds it; then this process does, as long as the file is open."""
    try:
        import fcntl
    except ImportError:  # on Windows, where nothing is removed then
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
