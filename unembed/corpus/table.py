"""Rows as they lie in their source, before anyone knows which column is what; and the corpus that is made of them.

A source (a file of some format, a query, a store) becomes a `Table`; which of its columns are vectors and ids, and how
their cells are read, is decided here, for all of them alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from unembed.corpus.base import Chunk, Corpus
from unembed.corpus.columns import choose_columns, first_length, ids_of
from unembed.corpus.slices import require_shape
from unembed.corpus.vectors import fixed_dim, value_dtype, vectors_of

_ROWS: Final = 2048  # taken together


@dataclass(frozen=True)
class Table:
    """Rows that can be read from the start as often as needed, a few thousand at a time."""

    what: str  # for messages: the file's name, the query
    schema: pa.Schema  # of the rows as they lie there
    rows: int | None  # None: not known before they are read once
    batches: Callable[[Sequence[str]], Iterator[pa.RecordBatch]]  # of these top-level columns; raises CorpusError
    digest: Callable[[], str]  # a sha256 that changes when the contents do


def corpus_of(table: Table, column: str | None = None, id_column: str | None = None) -> Corpus:
    """The corpus in a table; `column` names its vectors and `id_column` its ids, as in `open_corpus`.

    Reads as much as is needed to know the dimension. Raises CorpusError.
    """
    columns = choose_columns(table.schema, column, id_column, table.what)
    what = f"the column {columns.vectors!r} of {table.what}"
    kind = table.schema.field(columns.vectors).type
    dtype = value_dtype(kind, what)
    rows = table.rows if table.rows is not None else sum(batch.num_rows for batch in table.batches(columns.names))
    require_shape((rows, 1), table.what)
    dim = fixed_dim(kind) or first_length(table.batches([columns.vectors]), columns.vectors)
    require_shape((rows, dim), what)

    def chunks() -> Iterator[Chunk]:
        first = 0
        for piece in _pieces(table.batches(columns.names)):
            vectors = vectors_of(piece.column(columns.vectors), what, dim=dim, first_row=first)
            yield vectors, ids_of(piece, columns.ids, table.what, first)
            first += piece.num_rows

    def digest() -> str:
        meant = "\0".join((table.digest(), columns.vectors, columns.ids or ""))
        return hashlib.sha256(meant.encode()).hexdigest()

    return Corpus(table.what, rows, dim, dtype, chunks, digest)


def _pieces(batches: Iterator[pa.RecordBatch]) -> Iterator[Any]:
    """Views of a few thousand rows: a source may be one record batch, and ids become Python's."""
    for batch in batches:
        batch.validate(full=True)
        for start in range(0, batch.num_rows, _ROWS):
            yield batch.slice(start, _ROWS)
