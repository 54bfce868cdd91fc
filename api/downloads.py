"""All rows of a job as one file, kept for a while, so that a download that broke off goes on where it was.

The file is in the corpus's order and is made when it is first asked for. Its tag is a hash of its bytes: a part that
comes from another process, or from a file that was made anew, is only added to bytes that are the same.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa

from unembed.api.every_page import PAGE_ROWS, every_page
from unembed.errors import OutputError
from unembed.models.store import Store

MOST_ROWS: Final = 20_000_000  # of a file: 2 GB as parquet, 8 GB as JSON lines
_KEPT_BYTES: Final = 4 * 1024**3  # of all files together
_KEPT_SECONDS: Final = 60.0  # none goes sooner after it was asked for: somebody is about to open it


@dataclass
class KeptFile:
    """A file that is made, or being made by whoever has the lock."""

    path: Path
    lock: threading.Lock = field(default_factory=threading.Lock)
    tag: str = ""  # of the bytes; empty: it is not whole
    nbytes: int = 0
    asked: float = 0.0  # monotonic


class Downloads:
    """The files of this process, in a temporary folder of its own."""

    def __init__(self, kept_bytes: int = _KEPT_BYTES, clock: Callable[[], float] = time.monotonic) -> None:
        self._kept_bytes = kept_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._files: dict[object, KeptFile] = {}  # by what is in it
        self._folder: Path | None = None

    def get(self, key: object, ending: str, write: Callable[[Path], object]) -> KeptFile:
        """The whole file of this key; whoever asks for it while it is being made waits. Raises OutputError."""
        with self._lock:
            if key not in self._files:
                self._files[key] = KeptFile(self._new_path(ending))
            found = self._files[key]
            found.asked = self._clock()
        with found.lock:
            if not found.tag:
                write(found.path)
                with found.path.open("rb") as file:
                    found.tag = f'"{hashlib.file_digest(file, "sha256").hexdigest()[:32]}"'
                found.nbytes = found.path.stat().st_size
        with self._lock:
            found.asked = self._clock()
            self._forget_oldest()
        return found

    def _new_path(self, ending: str) -> Path:
        try:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="unembed-results-"))
        except OSError as error:
            raise OutputError.of(f"no folder can be made for downloads: {error.strerror}", error.errno) from error
        return self._folder / f"{len(self._files)}-{time.monotonic_ns()}.{ending}"

    def _forget_oldest(self) -> None:
        """Those that were asked for least lately, as far as there is too much."""
        whole = sorted(((kept.asked, key) for key, kept in self._files.items() if kept.tag), key=lambda each: each[0])
        held = sum(kept.nbytes for kept in self._files.values())
        for asked, key in whole:
            if held <= self._kept_bytes or asked + _KEPT_SECONDS > self._clock():
                return
            gone = self._files.pop(key)
            gone.path.unlink(missing_ok=True)
            held -= gone.nbytes

    def close(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def rows_of(store: Store, job_id: str) -> Iterator[pa.RecordBatch]:
    """All rows of an ended job by their index, a page at a time, with what the job carries."""
    pages = every_page(lambda cursor: store.results.page(job_id, cursor=cursor, limit=PAGE_ROWS, order="index"))
    return (store.carried.beside(job_id, rows) for rows in pages)
