"""Which columns a file of results has: those of the results, with those of the source beside them or before them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unembed.carried import written_names
from unembed.corpus.base import Corpus
from unembed.corpus.carry import Carried, CarriedRows, carried
from unembed.errors import InputError
from unembed.generations import SCHEMA

APPENDED: Final = ("text", "overall_quality")  # to a copy of the source


@dataclass(frozen=True)
class Layout:
    """Columns of the source and of the results, row by row together; the row's index is the key."""

    schema: pa.Schema
    source: Carried
    results: tuple[str, ...]  # names in SCHEMA
    source_first: bool
    note: str  # which columns of the source have got another name, as the results have that one

    @classmethod
    def beside(cls, corpus: Corpus, paths: Sequence[str]) -> Self:
        """All columns of the results, and these of the source after them. Raises CorpusError for one it lacks."""
        return cls._of(carried(corpus, paths), tuple(SCHEMA.names), source_first=False)

    @classmethod
    def appended(cls, corpus: Corpus) -> Self:
        """A copy of the source with the text and its quality. Raises CorpusError."""
        return cls._of(carried(corpus), APPENDED, source_first=True)

    @classmethod
    def _of(cls, source: Carried, results: tuple[str, ...], *, source_first: bool) -> Self:
        names = written_names(source.schema.names, results)
        fields: list[Any] = [field.with_name(name) for field, name in zip(source.schema, names, strict=True)]
        renamed = [
            f"{given!r} is written as {name!r}"
            for given, name in zip(source.schema.names, names, strict=True)
            if name != given
        ]
        ours = [SCHEMA.field(name) for name in results]
        schema = pa.schema([*fields, *ours] if source_first else [*ours, *fields])
        return cls(schema, source, results, source_first, f"of {source.what}, {', '.join(renamed)}" if renamed else "")

    def of(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The columns of each batch of results and of its rows in the source. Raises InputError where one lacks them.

        Batches come in the order of the corpus. Rows that have no result are passed over.
        """
        source = _Source(self.source)
        for batch in batches:
            indices = batch.column("index").to_numpy()
            done = 0
            while done < len(indices):
                some = source.at(indices[done:])
                rows = batch.slice(done, some.rows.num_rows)
                self._require_the_same(some, rows)
                yield self._together(some.rows, rows)
                done += rows.num_rows

    def _require_the_same(self, source: CarriedRows, rows: pa.RecordBatch) -> None:
        """Raises InputError for a row with another id than it has in the source; one that was lost has none."""
        if source.ids is None:
            return
        differs: Any = pc.not_equal(source.ids, rows.column("id")).fill_null(False)
        place = pc.index(differs, True).as_py()
        if place < 0:
            return
        index, theirs, ours = (
            column[place].as_py() for column in (rows.column("index"), source.ids, rows.column("id"))
        )
        raise InputError(
            f"row {index} of {self.source.what} has the id {theirs!r}, but that of the results has {ours!r}: it is not "
            "the corpus that they were decoded from, or its rows come in another order"
        )

    def _together(self, source: pa.RecordBatch, rows: pa.RecordBatch) -> pa.RecordBatch:
        ours = [rows.column(name) for name in self.results]
        theirs = list(source.columns)
        arrays: list[Any] = [*theirs, *ours] if self.source_first else [*ours, *theirs]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


class _Source:
    """Rows of the source, by their index, which only rises."""

    def __init__(self, source: Carried) -> None:
        self._what = source.what
        self._pieces = source.batches()
        self._piece: CarriedRows | None = None
        self._first = self._next = 0  # the indices of the piece's first row, and of the one after it

    def at(self, indices: Any) -> CarriedRows:
        """Those of the first of these (N,) indices that lie in one piece: at least one."""
        while self._piece is None or indices[0] >= self._next:
            self._piece = next(self._pieces, None)
            if self._piece is None:
                raise InputError(
                    f"{self._what} has {self._next:,} rows, but the results have a row {indices[0]}: it is not the "
                    "corpus that they were decoded from"
                )
            self._first, self._next = self._next, self._next + self._piece.rows.num_rows
        if indices[0] < self._first or (np.diff(indices) <= 0).any():
            raise InputError("columns are carried in the order of the corpus: pass result_batches(order='index')")
        places = indices[: np.searchsorted(indices, self._next)] - self._first
        rows, ids = self._piece
        if places[-1] - places[0] == len(places) - 1:
            first, count = int(places[0]), len(places)
            return CarriedRows(rows.slice(first, count), None if ids is None else ids.slice(first, count))
        chosen: Any = pa.array(places)
        return CarriedRows(rows.take(chosen), None if ids is None else ids.take(chosen))
