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

from unembed.corpus.arrays import as_floats, matrix_shape
from unembed.corpus.base import Chunk, Corpus
from unembed.corpus.cells import BadRows, Ragged, fitted, is_number
from unembed.corpus.columns import CANDIDATES, IDS
from unembed.corpus.digests import of_array
from unembed.corpus.ids import Ids
from unembed.corpus.json_text import array_of
from unembed.corpus.one_cell import CellError, Coding, vector_of
from unembed.corpus.paths import bare_type
from unembed.corpus.slices import Vectors, as_ids
from unembed.corpus.table import Table, corpus_of, cost_of, majority
from unembed.errors import CorpusError

_WHAT: Final = "the array"
_COLUMN, _IDS, _INDEX = "embedding", "id", "__index_level_0__"


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
    if (held := _arrow(embeddings)) is not None:
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
    names = [name for name in table.column_names if name != _IDS]
    return table.select(names).append_column(_IDS, column), _IDS


def _arrow(source: Any) -> pa.Table | None:
    """The columns of what has some, or is one; None for everything else."""
    if isinstance(source, (pa.RecordBatch, pa.Table)):
        return pa.table(source)
    if isinstance(source, (pa.Array, pa.ChunkedArray)):
        return None if is_number(bare_type(source.type)) else pa.table({_COLUMN: source})
    if _made_by(source, "pandas"):
        return _of_pandas(source)
    if hasattr(source, "__arrow_c_stream__"):
        columns = pa.chunked_array(source)
        is_frame = pa.types.is_struct(columns.type)
        return pa.Table.from_struct_array(columns) if is_frame else pa.table({_COLUMN: columns})
    if isinstance(source, Mapping):
        return _of_columns(source)
    if isinstance(source, Sequence) and source and all(isinstance(row, Mapping) for row in source):
        names = dict.fromkeys(name for row in source for name in row)
        return pa.table({str(name): array_of([_values(row.get(name)) for row in source]) for name in names})
    return None


def _table(found: pa.Table) -> Table:
    def batches(names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        yield from found.select(list(names)).to_batches(max_chunksize=_TOGETHER)

    what = "the table" if found.num_columns > 1 else _WHAT
    return Table(what, found.schema, found.num_rows, batches, lambda: _digest(found))


_TOGETHER: Final = 2048


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


def _of_pandas(source: Any) -> pa.Table:
    """A frame or a series; an index that says more than the numbers of the rows goes along."""
    is_frame = hasattr(source, "columns")
    columns = {str(name): source[name] for name in source.columns} if is_frame else {_COLUMN: source}
    arrays = {name: _of_series(series) for name, series in columns.items()}
    index = source.index
    is_plain = type(index).__name__ == "RangeIndex" and (index.start, index.step) == (0, 1)
    if not is_plain and type(index).__name__ != "MultiIndex":
        arrays.setdefault(str(index.name or _INDEX), _of_series(index))
    return pa.table(arrays)


def _of_series(series: Any) -> Any:
    try:
        return pa.array(series, from_pandas=True)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return array_of([value.tolist() if hasattr(value, "tolist") else value for value in series])


def _of_columns(columns: Mapping[Any, Any]) -> pa.Table:
    """Columns by their names; the vectors of ids, where the keys are ids."""
    arrays = {str(name): _listed(values) for name, values in columns.items()}
    lengths = {len(values) for values in arrays.values() if values is not None}
    numbers = all(values and isinstance(values[0], (int, float)) for values in arrays.values())
    if numbers and len(lengths) == 1 and not any(name.lower() in (*CANDIDATES, *IDS) for name in arrays):
        return pa.table({_IDS: list(arrays), _COLUMN: array_of(list(arrays.values()))})
    usual = len(next((values for values in arrays.values() if values is not None), ()))
    return pa.table({name: array_of(values) for name, values in arrays.items() if values and len(values) == usual})


def _listed(values: Any) -> list[Any] | None:
    if hasattr(values, "tolist"):
        return list(_plain(values).tolist())
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        return None
    return [_values(value) for value in values]


def _values(value: Any) -> Any:
    return _plain(value).tolist() if hasattr(value, "tolist") else value


def _read(source: Any, cells: Coding | None) -> tuple[Vectors, dict[int, str], Ids | None]:
    """(N, D) vectors, why some of them are none, and the ids that came with them."""
    source = _plain(source)
    if isinstance(source, np.ndarray):
        return (*_of_array(source, cells), None)
    if isinstance(source, (str, bytes, Mapping)) or not isinstance(source, Iterable):
        raise CorpusError(f"embeddings are an array or rows of floats, not {type(source).__name__}")
    items = list(source)
    tables = [table for item in items if (table := _arrow(item)) is not None]
    if items and len(tables) == len(items):
        corpus = corpus_of(_table(pa.concat_tables(tables, promote_options="permissive")), cells=cells)
        whole = next(corpus.batches(corpus.rows))
        return whole.embeddings, {}, whole.ids
    return _of_items([_plain(item) for item in items], cells)


def _of_items(items: list[Any], cells: Coding | None) -> tuple[Vectors, dict[int, str], Ids | None]:
    """Rows, or batches of rows, or pairs of a batch and its ids."""
    if not items:
        raise CorpusError(f"{_WHAT} is empty: it has 0 rows, but a corpus needs at least 1")
    if all(_is_pair(item) for item in items):
        batches = [_plain(batch) for batch, _ in items]
        ids = tuple(chain.from_iterable(as_ids(list(own), len(batch), _WHAT) for batch, own in items))
        return (*_of_batches(batches, cells), ids)
    if all(isinstance(item, np.ndarray) and item.ndim > 1 for item in items):
        return (*_of_batches(items, cells), None)
    if all(isinstance(item, (int, float, np.number)) and not isinstance(item, bool) for item in items):
        return (*_of_array(np.asarray(items), cells), None)
    return (*_of_rows(items, cells), None)


def _is_pair(item: Any) -> bool:
    if not (isinstance(item, tuple) and len(item) == 2):
        return False
    vectors, ids = _plain(item[0]), item[1]
    many = (isinstance(vectors, np.ndarray) and vectors.ndim > 1) or (
        isinstance(vectors, (list, tuple))
        and bool(vectors)
        and isinstance(_plain(vectors[0]), (list, tuple, np.ndarray))
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


def _plain(source: Any) -> Any:
    """Tensors and everything that can be an array, as one; other things as they are."""
    if _made_by(source, "torch") and hasattr(source, "detach"):
        source = source.detach().cpu()
        return (source.float() if str(source.dtype) == "torch.bfloat16" else source).numpy()
    if isinstance(source, np.ma.MaskedArray):
        return np.ma.filled(source.astype(np.promote_types(source.dtype, np.float32)), np.nan)
    if hasattr(source, "toarray"):  # SciPy's sparse matrices
        return source.toarray()
    if hasattr(source, "__cuda_array_interface__") and hasattr(source, "get"):
        return source.get()
    if isinstance(source, np.generic) or not hasattr(source, "__array__"):
        return source
    try:
        return np.asarray(source)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CorpusError(f"a {type(source).__name__} does not become an array: {error}") from error


def _made_by(source: object, library: str) -> bool:
    return type(source).__module__.partition(".")[0] == library
