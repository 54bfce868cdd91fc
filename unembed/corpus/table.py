"""Rows as they lie in their source, before anyone knows which column is what; and the corpus that is made of them.

A source (a file of some format, a query, a store) becomes a `Table`; which of its columns are vectors and ids, and how
their cells are read, is decided here, for all of them alike.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from unembed.corpus.arrays import float_dtype
from unembed.corpus.base import Chunk, Corpus
from unembed.corpus.cells import BadRows, Ragged, dtype_of, fitted, fixed_dim, read_cells, value_type
from unembed.corpus.columns import Columns, choose_columns
from unembed.corpus.embedder import embedder_of
from unembed.corpus.ids import read_ids
from unembed.corpus.one_cell import Coding
from unembed.corpus.opened import opened_up
from unembed.corpus.paths import Field, passed_over
from unembed.corpus.slices import require_shape
from unembed.errors import CorpusError

_ROWS: Final = 2048  # taken together
_SAMPLE: Final = 1000  # rows with vectors, of which most say the dimension


@dataclass(frozen=True)
class Table:
    """Rows that can be read from the start as often as needed, a few thousand at a time."""

    what: str  # for messages: the file's name, the query
    schema: pa.Schema  # of the rows as they lie there
    rows: int | None  # None: not known before they are read once
    batches: Callable[[Sequence[str]], Iterator[pa.RecordBatch]]  # of these top-level columns; raises CorpusError
    digest: Callable[[], str]  # a sha256 that changes when the contents do
    dtype: np.dtype[Any] | None = None  # of vectors, where the types of the source do not say it (JSON, CSV)


def corpus_of(
    table: Table, column: str | None = None, id_column: str | None = None, cells: Coding | None = None
) -> Corpus:
    """The corpus in a table; `column` is the path of its vectors and `id_column` that of its ids, as in `open_corpus`.

    Reads as much as is needed to know the dimension. Raises CorpusError.
    """
    table = opened_up(table, column, id_column)
    columns = choose_columns(table.schema, column, id_column, table.what, lambda names: _first(table, names))
    what = f"the column {str(columns.vectors)!r} of {table.what}"
    kind = columns.type_in(table.schema)
    if value_type(kind) == pa.uint8():
        float_dtype(np.dtype(np.uint8), cells, what)  # their meaning has to be said
    rows = table.rows if table.rows is not None else sum(batch.num_rows for batch in table.batches(columns.names))
    require_shape((rows, 1), table.what)
    if cells is None and (fixed := fixed_dim(kind)):
        dim, others = fixed, ""
    else:
        dim, others = dimension_of(_pieces(table.batches(columns.of_vectors)), columns, cells, what)
    dtype, bad = table.dtype or dtype_of(kind), BadRows()

    def chunks() -> Iterator[Chunk]:
        first = 0
        bad.clear()
        for piece in _pieces(table.batches(columns.names)):
            yield read_piece(piece, columns, dim, dtype, cells, bad, first)
            first += piece.num_rows

    def digest() -> str:
        meant = (table.digest(), str(columns.vectors), str(columns.ids or ""), cells or "")
        return hashlib.sha256("\0".join(meant).encode()).hexdigest()

    notes = (*columns.notes, *([others] if others else []), *cost_of(cells, kind))
    embedder = embedder_of(table, columns.vectors)
    return Corpus(table.what, rows, dim, dtype, chunks, digest, notes, bad, table, columns.ids, embedder)


def read_piece(
    piece: Any, columns: Columns, dim: int, dtype: np.dtype[Any], cells: Coding | None, bad: BadRows, first: int
) -> Chunk:
    """The vectors and ids of some rows; those that hold none are counted in `bad`, by their number from `first`."""
    vectors, reasons = fitted(read_cells(columns.vectors.of(piece), cells, dim), dim, dtype)
    for row, reason in reasons.items():
        bad.add(first + row, reason)
    ids = None if columns.ids is None else read_ids(columns.ids.of(piece))
    if isinstance(columns.vectors, Field) and columns.vectors.steps:
        bad.with_more += passed_over(piece.column(columns.vectors.column), columns.vectors.steps)
    bad.without_id += 0 if ids is None else ids.count(None)
    return vectors, ids


class Dimension(NamedTuple):
    dim: int
    note: str  # where not all rows have it


def dimension_of(pieces: Iterator[Any], columns: Columns, cells: Coding | None, what: str) -> Dimension:
    """What most of the first rows with vectors have. Raises CorpusError when no row has one."""
    return majority((read_cells(columns.vectors.of(piece), cells) for piece in pieces), what)


def majority(parts: Iterable[Ragged], what: str) -> Dimension:
    """The length of most of the first vectors. Raises CorpusError when there is none."""
    seen: Counter[int] = Counter()
    bad, first = BadRows(), 0
    for part in parts:
        seen.update(part.lengths[part.lengths > 0].tolist())
        for row, reason in () if seen else part.why().items():
            bad.add(first + row, reason)
        first += len(part.lengths)
        if seen.total() >= _SAMPLE:
            break
    if not seen:
        raise CorpusError(f"{what} holds no vector, only rows without one: {bad}")
    dim, count = seen.most_common(1)[0]
    note = f"{dim} dimensions, as {count:,} of the first {seen.total():,} vectors have; the others become error rows"
    return Dimension(dim, "" if len(seen) == 1 else note)


def cost_of(cells: Coding | None, kind: Any = None) -> tuple[str, ...]:
    """What the owner of quantised vectors should know of them."""
    meant = Coding.INT8 if kind is not None and cells is None and value_type(kind) == pa.int8() else cells
    return (_COST[meant],) if meant in _COST else ()


_COST: Final = {  # measured in docs/inputs.md
    Coding.INT8: "int8 vectors decode about as well as floats, if one scale served for all their dimensions",
    Coding.UINT8: "uint8 vectors decode about as well as floats, if one scale served for all their dimensions",
    Coding.BINARY: "binary vectors keep only the sign of each value: expect half of the words that floats give",
}


def _first(table: Table, names: Sequence[str]) -> pa.RecordBatch | None:
    return next(_pieces(table.batches(names)), None)


def _pieces(batches: Iterator[pa.RecordBatch]) -> Iterator[Any]:
    """Views of a few thousand rows: a source may be one record batch, and ids become Python's."""
    for batch in batches:
        batch.validate(full=True)
        for start in range(0, batch.num_rows, _ROWS):
            yield batch.slice(start, _ROWS)
