"""Qdrant: the points of a collection, with one vector of each, and their payload as JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from unembed.corpus.stores.asked import ROWS, StoreRequest, json_of, listed
from unembed.corpus.stores.kept import kept
from unembed.corpus.table import Table
from unembed.errors import CorpusError

_UNNAMED: Final = ""  # Qdrant's own name of the vector that has none


class Point(NamedTuple):
    id: int | str
    vector: Any  # a list of floats, or several vectors by their names; None where it has none
    payload: Mapping[str, Any] | None


@dataclass(frozen=True)
class Vectors:
    """The vectors that a collection has, by the kind of their values; the one without a name is called ''."""

    dense: Sequence[str]
    others: Sequence[str]  # sparse, or several to a point

    def chosen(self, column: str | None, what: str) -> str:
        """The vector that is meant: its name, or a path, `vector.NAME`. Raises CorpusError."""
        if column not in (*self.dense, *self.others) and column is not None:
            column = re.sub(r"^vectors?\.", "", column)
        if column in self.others:
            raise CorpusError(f"the vector {column!r} of {what} is sparse, or several to a point; expected a dense one")
        if column in self.dense:
            return str(column)
        if len(self.dense) == 1 and (column in (None, "vector") or self.dense[0] == _UNNAMED):
            return self.dense[0]
        if column is not None:
            raise CorpusError(f"{what} has no vector {column!r}; its vectors are {listed(self.dense)}")
        if not self.dense:
            raise CorpusError(f"{what} has no dense vectors; it has {listed(self.others)}")
        raise CorpusError(f"{what} has {len(self.dense)} vectors, {listed(self.dense)}: name one with --column")


def read(asked: StoreRequest) -> Table:
    """A server, or the folder of a local client."""
    if asked.is_server:
        from unembed.corpus.stores.qdrant_server import read_server as read_from
    else:
        from unembed.corpus.stores.qdrant_folder import read_folder as read_from
    return read_from(asked)


def points_table(points: Iterable[Point], vector: str, asked: StoreRequest, what: str) -> Table:
    """The points as rows: id, the vector under the name it was asked by, payload."""
    column = asked.column or "vector"
    schema = pa.schema([("id", pa.string()), (column, pa.list_(pa.float32())), ("payload", pa.string())])
    return kept(what, schema, _batches(points, vector, schema), asked.progress)


def _batches(points: Iterable[Point], vector: str, schema: Any) -> Iterator[pa.RecordBatch]:
    left = iter(points)
    while some := list(islice(left, ROWS)):
        vectors = [_vector(point.vector, vector) for point in some]
        payloads = [None if point.payload is None else json_of(point.payload) for point in some]
        ids = [str(point.id) for point in some]
        yield pa.RecordBatch.from_arrays(
            [pa.array(ids), pa.array(vectors, pa.list_(pa.float32())), pa.array(payloads, pa.string())], schema=schema
        )


def _vector(vectors: Any, name: str) -> Any:
    found = vectors.get(name) if isinstance(vectors, Mapping) else vectors if name == _UNNAMED else None
    return None if found is None else np.asarray(found, np.float32)
