"""What a corpus carries: columns of its source, read once more, beside the vectors of each batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import pyarrow as pa

from unembed.carried import require_small, schema_of
from unembed.corpus import Corpus
from unembed.corpus.carry import Carried, carried
from unembed.corpus.paths import bare, bare_type
from unembed.errors import InputError
from unembed.results.json_lines import json_cells
from unembed.schemas import CarriedKind


class Carrying:
    """Columns of a source as a job carries them."""

    def __init__(self, source: Carried) -> None:
        self._source = source
        self.carry = {field.name: _kind(field.type) for field in source.schema}

    @classmethod
    def of(cls, corpus: object, paths: Sequence[str]) -> Self | None:
        """None: nothing is carried. Raises InputError for what has no columns, CorpusError for one it lacks."""
        if not paths:
            return None
        if not isinstance(corpus, Corpus):
            raise InputError(
                f"columns are carried from files, frames and tables; {getattr(corpus, 'what', 'this')} is read "
                "elsewhere, or once alone: leave out carry"
            )
        return cls(carried(corpus, paths))

    def beside(self, sizes: Iterator[int]) -> Iterator[pa.RecordBatch]:
        """As many rows as each of `sizes`, one after the other. Raises InputError for a row that carries too much."""
        pieces, schema = self._pieces(), schema_of(self.carry)
        held, first = pa.Table.from_batches([], schema), 0
        for size in sizes:
            while held.num_rows < size and (piece := next(pieces, None)) is not None:
                held = pa.concat_tables([held, pa.Table.from_batches([piece])])
            columns = [column.combine_chunks() for column in held.slice(0, size).columns]
            rows = pa.RecordBatch.from_arrays(columns, schema=schema)
            if rows.num_rows < size:
                raise InputError(f"{self._source.what} has fewer rows than when its vectors were read: it has changed")
            require_small(rows, first)
            yield rows
            held, first = held.slice(size), first + size

    def _pieces(self) -> Iterator[pa.RecordBatch]:
        schema = schema_of(self.carry)
        for piece in self._source.batches():
            kinds = self.carry.values()
            columns = [_as(column, kind) for column, kind in zip(piece.rows.columns, kinds, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _kind(type_: Any) -> CarriedKind:
    """What is nested, a time or anything else is carried as text."""
    plain = bare_type(type_)
    if pa.types.is_boolean(plain):
        return CarriedKind.BOOLEAN
    if pa.types.is_integer(plain) and plain != pa.uint64():
        return CarriedKind.INTEGER
    return CarriedKind.NUMBER if pa.types.is_floating(plain) else CarriedKind.STRING


def _as(column: Any, kind: CarriedKind) -> Any:
    column = bare(column)
    if kind is not CarriedKind.STRING:
        return column.cast(schema_of({"": kind}).types[0])
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return column.cast(pa.string())
    values = json_cells(column)
    listed = [values] * len(column) if isinstance(values, str) else values.to_pylist()
    return pa.array([None if cell == "null" else _unquoted(cell) for cell in listed], pa.string())


def _unquoted(cell: str) -> str:
    """A time, or bytes: needs no quotes."""
    return cell[1:-1] if cell.startswith('"') and "\\" not in cell else cell
