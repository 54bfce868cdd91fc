"""Vectors that were paid for, by the text that they are of: one SQLite file an encoder, under the home folder."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from unembed.home import home_folder

Vector = npt.NDArray[np.float32]
_AT_ONCE: Final = 500  # keys in a query
_WAIT: Final = 60.0  # seconds, for another process that writes


def kept_file(encoder: str) -> Path:
    """Of the encoder with this canonical SPEC."""
    digest = hashlib.sha256(encoder.encode()).hexdigest()[:16]
    return home_folder() / "embedded" / f"{digest}.sqlite"


class KeptVectors:
    """Safe for several processes at once: each call is a transaction."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with closing(self._open()) as db, db:
            db.execute("create table if not exists vectors (text blob primary key, vector blob not null)")

    def find(self, texts: Iterable[str]) -> dict[str, Vector]:
        """Those that are kept, by text."""
        by_key = {_key(text): text for text in texts}
        keys, found = iter(by_key), dict[str, Vector]()
        with closing(self._open()) as db:
            while some := list(islice(keys, _AT_ONCE)):
                marks = ",".join("?" * len(some))
                query = f"select text, vector from vectors where text in ({marks})"  # noqa: S608 (marks alone)
                for key, vector in db.execute(query, some):
                    found[by_key[key]] = np.frombuffer(vector, np.dtype("<f4"))
        return found

    def keep(self, vectors: Mapping[str, Vector]) -> None:
        rows = [(_key(text), np.asarray(vector, "<f4").tobytes()) for text, vector in vectors.items()]
        with closing(self._open()) as db, db:
            db.executemany("insert or replace into vectors values (?, ?)", rows)

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=_WAIT)


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
