"""Which columns a file of results has: those of the results, with those of the source beside them or before them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa

from unembed.corpus.carry import Carried, carried
from unembed.corpus.table import Table
from unembed.errors import InputError
from unembed.generations import SCHEMA

APPENDED: Final = ("text", "overall_quality")  # to a copy of the source
PREFIX: Final = "source_"  # of a column of the source that is called like one of the results


@dataclass(frozen=True)
class Layout:
    """Columns of the source and of the results, row by row together; the row's index is the key."""

    schema: pa.Schema
    source: Carried
    results: tuple[str, ...]  # names in SCHEMA
    source_first: bool
    note: str  # which columns of the source have got another name, as the results have that one

    @classmethod
    def beside(cls, table: Table, paths: Sequence[str]) -> Self:
        """All columns of the results, and these of the source after them. Raises CorpusError for one it lacks."""
        return cls._of(carried(table, paths), tuple(SCHEMA.names), source_first=False)

    @classmethod
    def appended(cls, table: Table) -> Self:
        """A copy of the source with the text and its quality. Raises CorpusError."""
        return cls._of(carried(table), APPENDED, source_first=True)

    @classmethod
    def _of(cls, source: Carried, results: tuple[str, ...], *, source_first: bool) -> Self:
        taken = {*results, *source.schema.names}
        renamed, fields = list[str](), list[Any]()
        for field in source.schema:
            name = field.name
            while name in results or (name != field.name and name in taken):
                name = PREFIX + name
            if name != field.name:
                taken.add(name)
                renamed.append(f"{field.name!r} is written as {name!r}")
            fields.append(field.with_name(name))
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
                yield self._together(some, batch.slice(done, some.num_rows))
                done += some.num_rows

    def _together(self, source: pa.RecordBatch, rows: pa.RecordBatch) -> pa.RecordBatch:
        ours = [rows.column(name) for name in self.results]
        theirs = list(source.columns)
        arrays: list[Any] = [*theirs, *ours] if self.source_first else [*ours, *theirs]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


class _Source:
    """Rows of the source, by their index, which only rises."""

    def __init__(self, source: Carried) -> None:
        self._what = source.what
        self._batches = source.batches()
        self._batch: Any = None
        self._first = self._next = 0  # the indices of the batch's first row, and of the one after it

    def at(self, indices: Any) -> pa.RecordBatch:
        """Those of the first of these (N,) indices that lie in one batch: at least one."""
        while indices[0] >= self._next:
            self._batch = next(self._batches, None)
            if self._batch is None:
                raise InputError(
                    f"{self._what} has {self._next:,} rows, but the results have a row {indices[0]}: it is not the "
                    "corpus that they were decoded from"
                )
            self._first, self._next = self._next, self._next + self._batch.num_rows
        if indices[0] < self._first or (np.diff(indices) <= 0).any():
            raise InputError("columns are carried in the order of the corpus: pass result_batches(order='index')")
        count = int(np.searchsorted(indices, self._next))
        places = indices[:count] - self._first
        if places[-1] - places[0] == count - 1:
            rows: pa.RecordBatch = self._batch.slice(int(places[0]), count)
        else:
            rows = self._batch.take(pa.array(places))
        return rows
