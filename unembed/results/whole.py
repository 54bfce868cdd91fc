"""Files that get their names when they are whole and on the disk, never before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import IO, Final

TEMPORARY: Final = ".unembed-"  # how the name of a file begins that is not whole yet


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """To be written, and renamed once it is on the disk: whoever kept its contents until then may forget them."""
    half = path.with_name(f"{TEMPORARY}{os.getpid()}-{token_hex(4)}")  # short: the name may be as long as names can be
    try:
        with half.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)
