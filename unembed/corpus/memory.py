"""Vectors in memory as a corpus: arrays, tensors, frames, series, Arrow's tables and columns, lists, batches.

No library is imported for it: pandas, Polars and others hand their columns over by Arrow's own protocol, and what is
particular to one of them is done only to its own objects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final, cast

import numpy as np
import pyarrow as pa

from unembed.corpus.arrays import as_floats, matrix_shape, plain
from unembed.corpus.base import Chunk, Corpus, understood
from unembed.corpus.cells import BadRows, Ragged, fitted
from unembed.corpus.digests import of_array
from unembed.corpus.frames import ID, gathered, table_of
from unembed.corpus.ids import Ids
from unembed.corpus.one_cell import CellError, Coding, vector_of
from unembed.corpus.slices import Vectors, as_ids
from unembed.corpus.table import Table, corpus_of, cost_of, majority
from unembed.errors import CorpusError

_WHAT: Final = "the array"
_TOGETHER: Final = 2048  # rows


def corpus_from_array(
    embeddings: object,
    ids: Sequence[object] | None = None,
    *,
    column: str | None = None,
    id_column: str | None = None,
    cells: Coding | None = None,
) -> Corpus:
    """The corpus of (N, D) numbers in memory: one vector is a row, and an axis of one element falls away.

    An array or tensor; a series or a frame of pandas or Polars, an Arrow table, batch or column; a list of rows, or of
    dicts; an iterable of rows, of batches, or of pairs of a batch and its ids, which is read whole. `column` and
    `id_column` are for what has columns. Raises CorpusError.
    """
    with understood(embeddings):
        return _corpus_of(gathered(embeddings), ids, column, id_column, cells)


def _corpus_of(
    embeddings: Any,
    ids: Sequence[object] | None,
    column: str | None,
    id_column: str | None,
    cells: Coding | None,
) -> Corpus:
    if (held := table_of(embeddings)) is not None:
        if ids is not None:
            held, id_column = _with_ids(held, ids)
        return corpus_of(_table(held), column, id_column, cells)
    if column or id_column:
        raise CorpusError(f"{_WHAT} has no columns, so none is called {column or id_column!r}")
    vectors, reasons, own = _read(embeddings, cells)
    rows, dim = vectors.shape
    names = own if ids is None else as_ids(ids, rows, _WHAT)
    bad = BadRows()

    def chunks() -> Iterator[Chunk]:
        bad.clear()
        for row, reason in reasons.items():
            bad.add(row, reason)
        bad.without_id += 0 if names is None else names.count(None)
        yield vectors, names

    notes = cost_of(cells)
    return Corpus(_WHAT, rows, dim, vectors.dtype, chunks, lambda: of_array(vectors, names), notes, bad)


def _with_ids(table: pa.Table, ids: Sequence[object]) -> tuple[pa.Table, str]:
    """The table with these ids for its own, and the name of their column."""
    column = pa.array(as_ids(ids, table.num_rows, _WHAT), pa.string())
    names = [name for name in table.column_names if name != ID]
    return table.select(names).append_column(ID, column), ID


def _table(found: pa.Table) -> Table:
    def batches(names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        yield from found.select(list(names)).to_batches(max_chunksize=_TOGETHER)

    what = "the table" if found.num_columns > 1 else _WHAT
    return Table(what, found.schema, found.num_rows, batches, lambda: _digest(found))


def _digest(table: pa.Table) -> str:
    digest = hashlib.sha256()
    sink = pa.PythonFile(cast(Any, _Hashing(digest)), mode="w")
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return digest.hexdigest()


class _Hashing:
    """A file that keeps nothing but the digest of what is written to it."""

    closed = False

    def __init__(self, digest: Any) -> None:
        self._digest = digest

    def write(self, data: Any) -> int:
        self._digest.update(data)
        return len(data)

    def flush(self) -> None: ...

    def close(self) -> None:
        self.closed = True


def _read(source: Any, cells: Coding | None) -> tuple[Vectors, dict[int, str], Ids | None]:
    """(N, D) vectors, why some of them are none, and the ids that came with them."""
    source = plain(source)
    if isinstance(source, np.ndarray):
        return (*_of_array(source, cells), None)
    if isinstance(source, (str, bytes, Mapping)) or not isinstance(source, Iterable):
        raise CorpusError(f"embeddings are an array or rows of floats, not {type(source).__name__}")
    items = list(source)
    tables = [table for item in items if (table := table_of(item)) is not None]
    if items and len(tables) == len(items):
        corpus = corpus_of(_table(pa.concat_tables(tables, promote_options="permissive")), cells=cells)
        whole = next(corpus.batches(corpus.rows))
        return whole.embeddings, {}, whole.ids
    return _of_items([plain(item) for item in items], cells)


def _of_items(items: list[Any], cells: Coding | None) -> tuple[Vectors, dict[int, str], Ids | None]:
    """Rows, or batches of rows, or pairs of a batch and its ids."""
    if not items:
        raise CorpusError(f"{_WHAT} is empty: it has 0 rows, but a corpus needs at least 1")
    if all(is_pair(item) for item in items):
        batches = [plain(batch) for batch, _ in items]
        ids = tuple(chain.from_iterable(as_ids(list(own), len(batch), _WHAT) for batch, own in items))
        return (*_of_batches(batches, cells), ids)
    if all(isinstance(item, np.ndarray) and item.ndim > 1 for item in items):
        return (*_of_batches(items, cells), None)
    if all(isinstance(item, (int, float, np.number)) and not isinstance(item, bool) for item in items):
        return (*_of_array(np.asarray(items), cells), None)
    return (*_of_rows(items, cells), None)


def is_pair(item: Any) -> bool:
    if not (isinstance(item, tuple) and len(item) == 2):
        return False
    vectors, ids = plain(item[0]), item[1]
    many = (isinstance(vectors, np.ndarray) and vectors.ndim > 1) or (
        isinstance(vectors, (list, tuple))
        and bool(vectors)
        and isinstance(plain(vectors[0]), (list, tuple, np.ndarray))
    )
    return many and not isinstance(ids, (str, bytes)) and hasattr(ids, "__len__") and len(ids) == len(vectors)


def _of_batches(batches: list[Any], cells: Coding | None) -> tuple[Vectors, dict[int, str]]:
    """Batches that need not agree: those of another dimension than most are bad rows."""
    read = [
        _of_array(batch, cells) if isinstance(batch, np.ndarray) else _of_rows(list(batch), cells) for batch in batches
    ]
    if len({(vectors.shape[1], vectors.dtype) for vectors, _ in read}) > 1:
        return _of_rows([row for vectors, _ in read for row in vectors], None)
    reasons, first = dict[int, str](), 0
    for vectors, why in read:
        reasons |= {first + row: reason for row, reason in why.items()}
        first += len(vectors)
    return np.concatenate([vectors for vectors, _ in read]), reasons


def _of_array(array: Any, cells: Coding | None) -> tuple[Vectors, dict[int, str]]:
    if array.dtype.hasobject or array.dtype.kind in "SUT":
        return _of_rows(list(array.reshape(matrix_shape(array.shape, _WHAT)) if array.ndim > 1 else array), cells)
    vectors = as_floats(array.reshape(matrix_shape(array.shape, _WHAT)), cells, _WHAT)
    return vectors, {}


def _of_rows(rows: list[Any], cells: Coding | None) -> tuple[Vectors, dict[int, str]]:
    """Rows one by one; what is no vector is a row of NaN."""
    if (whole := _rectangle(rows)) is not None:
        return _of_array(whole, cells)
    parts, lengths, reasons = list[Any](), list[int](), dict[int, str]()
    for index, row in enumerate(rows):
        try:
            parts.append(vector_of(row.tolist() if isinstance(row, np.ndarray) else row, cells))
            lengths.append(len(parts[-1]))
        except CellError as error:
            reasons[index] = str(error)
            lengths.append(0)
    values = np.concatenate([np.asarray(part, np.float32) for part in parts] or [np.zeros(0, np.float32)])
    ragged = Ragged(values, np.array(lengths, np.int64), reasons)
    return fitted(ragged, majority([ragged], _WHAT).dim, values.dtype)


def _rectangle(rows: list[Any]) -> Any:
    """Rows of numbers that are alike in type and length, as one array; None where they are not."""
    if not all(isinstance(row, (list, tuple, np.ndarray)) for row in rows):
        return None
    try:
        whole = np.asarray(rows)
    except ValueError:
        return None
    return whole if whole.ndim > 1 and whole.dtype.kind in "fiu" and whole.size else None
