"""The folder of a local Qdrant client: an SQLite file for each collection.

The client itself would load every vector at once, and its points are pickles. Here they are read one by one, as data.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from unembed.corpus.stores.asked import StoreRequest, line
from unembed.corpus.stores.pickled_values import values_in
from unembed.corpus.stores.qdrant import Point, Vectors, points_table
from unembed.corpus.table import Table
from unembed.errors import CorpusError

_KIND: Final = "the folder of a local Qdrant client, or the URL of a server: qdrant:http://localhost:6333"
_TO_SERVER: Final = "start Qdrant with it, and name the server: qdrant:http://localhost:6333"


def read_folder(asked: StoreRequest) -> Table:
    """One transaction on a file that is opened for reading only; the client may have the folder open meanwhile."""
    folder = asked.path(_KIND)
    try:
        meta = json.loads(_required(folder / "meta.json", asked).read_text(encoding="utf-8"))
        aliases, collections = dict(meta.get("aliases") or {}), dict(meta["collections"])
        name = aliases.get(asked.collection) or asked.required_collection(list(collections))
        vectors, what = _vectors(collections[name]), asked.of(name)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise CorpusError(f"{asked.what} cannot be read as {_KIND}: {line(error)}") from error
    path = _required(folder / "collection" / name / "storage.sqlite", asked)
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as connection:
            rows = connection.execute("select point from points order by rowid")
            return points_table(_points(rows, what), vectors.chosen(asked.column, what), asked, what)
    except sqlite3.Error as error:
        raise CorpusError(f"{what} cannot be read: {line(error)}") from error


def _required(path: Path, asked: StoreRequest) -> Path:
    """Raises CorpusError for what Qdrant's server wrote: only a server reads that."""
    if path.is_file():
        return path
    folder = Path(asked.place)
    if folder.is_file():
        raise CorpusError(f"{asked.what} is a file; if it is a snapshot, only a server reads it: {_TO_SERVER}")
    if (folder / "raft_state.json").exists() or (folder / "collections").is_dir():
        raise CorpusError(f"{asked.what} is the storage of a Qdrant server: {_TO_SERVER}")
    raise CorpusError(f"{asked.what} has no {path.name}; expected {_KIND}")


def _vectors(config: dict[str, Any]) -> Vectors:
    found = config.get("vectors") or {}
    named = {"": found} if "size" in found and not isinstance(found["size"], dict) else found
    dense = [name for name, each in named.items() if not each.get("multivector_config")]
    return Vectors(dense, [name for name in named if name not in dense] + list(config.get("sparse_vectors") or {}))


def _points(rows: Iterator[Any], what: str) -> Iterator[Point]:
    for row, (data,) in enumerate(rows):
        try:
            point = values_in(data).state
            fields = point.get("__dict__", point)
            yield Point(fields["id"], fields["vector"], fields["payload"])
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            raise CorpusError(f"point {row} of {what} cannot be read: {line(error)}") from error
