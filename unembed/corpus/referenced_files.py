"""Files by reference, opened: their groups of rows, and any rows within a group."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from unembed.corpus.arrays import as_floats
from unembed.corpus.cells import BadRows, dtype_of, fixed_dim
from unembed.corpus.columns import Columns, choose_columns
from unembed.corpus.embedder import embedder_in
from unembed.corpus.formats import SUFFIXES, kind_of_name
from unembed.corpus.numpy_files import read_header
from unembed.corpus.slices import Slice
from unembed.corpus.storage import FileChangedError, StoredFile
from unembed.corpus.table import dimension_of, read_piece
from unembed.errors import CorpusError

log = logging.getLogger(__name__)

_ROWS: Final = 2048  # taken together
_PEEK: Final = 64  # rows that show whether a column of text holds vectors
_BUFFER: Final = 1024 * 1024  # bytes of a column that are read at once


class ReferencedTable(Protocol):
    """An open file of vectors."""

    @property
    def columns(self) -> Columns | None: ...
    @property
    def groups(self) -> Sequence[int]: ...
    @property
    def embedder(self) -> str | None: ...  # whose vectors they are, where the file says it

    def dim(self) -> int: ...
    def read(self, group: int | None, start: int, rows: int, dim: int) -> Slice: ...


class _Parquet:
    def __init__(self, stored: StoredFile, column: str | None, id_column: str | None) -> None:
        self._what = str(stored.location)
        # Through a buffer, and none beforehand: otherwise the whole column of a row group is read before its first row.
        self._file = pq.ParquetFile(stored.file, buffer_size=_BUFFER, pre_buffer=False)
        self.columns = choose_columns(self._file.schema_arrow, column, id_column, self._what, self._peek)
        self.embedder = embedder_in(self._file.schema_arrow)
        metadata = self._file.metadata
        self.groups = [int(metadata.row_group(group).num_rows) for group in range(metadata.num_row_groups)]
        self._group, self._next = -1, 0  # the next row of the group
        self._left: Iterator[Any] = iter(())
        self._part: Any = None  # what is left of a record batch that begins at the next row

    def _peek(self, names: Sequence[str]) -> pa.RecordBatch | None:
        return next(self._file.iter_batches(batch_size=_PEEK, columns=list(names)), None)

    def dim(self) -> int:
        batches = self._file.iter_batches(batch_size=_ROWS, columns=self.columns.names)
        return _dim(self._file.schema_arrow, self.columns, batches, self._what)

    def read(self, group: int | None, start: int, rows: int, dim: int) -> Slice:
        at = _existing(group, len(self.groups), self._what)
        _expect_rows(self.groups[at], start, rows, f"row group {at} of {self._what}")
        if at != self._group or start < self._next:
            self._group, self._next, self._part = at, 0, None
            names = self.columns.names
            self._left = self._file.iter_batches(batch_size=_ROWS, row_groups=[at], columns=names)
        pieces = list(self._pieces(start, start + rows))
        return _joined(pieces, self.columns, dim, self._what, start)

    def _pieces(self, start: int, stop: int) -> Iterator[Any]:
        while self._next < stop:
            part = next(self._left) if self._part is None else self._part
            first, last = max(0, start - self._next), min(part.num_rows, stop - self._next)
            if last > first:
                yield part.slice(first, last - first)
            self._part = part.slice(last) if last < part.num_rows else None
            self._next += last


class _Arrow:
    def __init__(self, stored: StoredFile, column: str | None, id_column: str | None) -> None:
        self._what = str(stored.location)
        try:
            self._file: Any = pa.ipc.open_file(stored.mapped())
        except pa.ArrowInvalid as error:
            raise CorpusError(
                f"{self._what} is no Arrow file, which can be read from the middle; an Arrow stream cannot: {error}"
            ) from error
        self.columns = choose_columns(self._file.schema, column, id_column, self._what, self._peek)
        self.embedder = embedder_in(self._file.schema)

    def _peek(self, names: Sequence[str]) -> pa.RecordBatch | None:
        return next((batch.select(list(names)).slice(0, _PEEK) for batch in self._batches()), None)

    @property
    def groups(self) -> Sequence[int]:
        """The footer does not say: each record batch is looked at, which is quick where the file is mapped."""
        return [batch.num_rows for batch in self._batches()]

    def dim(self) -> int:
        return _dim(self._file.schema, self.columns, self._batches(), self._what)

    def read(self, group: int | None, start: int, rows: int, dim: int) -> Slice:
        at = _existing(group, self._file.num_record_batches, self._what)
        batch = self._file.get_batch(at)
        _expect_rows(batch.num_rows, start, rows, f"record batch {at} of {self._what}")
        piece = batch.select(self.columns.names).slice(start, rows)
        return _joined([piece], self.columns, dim, self._what, start)

    def _batches(self) -> Iterator[Any]:
        return (self._file.get_batch(group) for group in range(self._file.num_record_batches))


class _Numpy:
    columns: Columns | None = None
    embedder: str | None = None

    def __init__(self, stored: StoredFile, column: str | None, id_column: str | None) -> None:
        self._what, self._file = str(stored.location), stored.file
        if column or id_column:
            raise CorpusError(f"{self._what} is one array, so it has no column {column or id_column!r}")
        self._header = read_header(self._file, self._what).as_matrix(None, self._what)
        if self._header.fortran:
            raise CorpusError(
                f"{self._what} is in Fortran order, so its rows do not lie together: save numpy.ascontiguousarray of it"
            )
        self._offset = self._file.tell()
        expected = self._offset + self._header.row_bytes * self._header.shape[0]
        if stored.version.size < expected:
            raise CorpusError(
                f"{self._what} is cut short: it has {stored.version.size} bytes, but its header promises {expected}"
            )
        self.groups = [self._header.shape[0]]

    def dim(self) -> int:
        return self._header.shape[1]

    def read(self, group: int | None, start: int, rows: int, dim: int) -> Slice:
        if group is not None:
            raise CorpusError(f"{self._what} has no row groups, but group {group} was asked for; expected null")
        _expect_rows(self._header.shape[0], start, rows, self._what)
        self._file.seek(self._offset + start * self._header.row_bytes)
        data = self._file.read(rows * self._header.row_bytes)
        if len(data) < rows * self._header.row_bytes:
            raise FileChangedError(f"{self._what} ends within rows {start} to {start + rows - 1}")
        return Slice(0, as_floats(np.frombuffer(data, self._header.dtype).reshape(rows, -1), None, self._what))


_FORMATS: Final[dict[str, Any]] = {"parquet": _Parquet, "arrow": _Arrow, "npy": _Numpy}


def referenced_table(stored: StoredFile, column: str | None, id_column: str | None) -> ReferencedTable:
    kind = kind_of_name(stored.location.path)
    if kind.format not in _FORMATS or kind.compression:
        suffix = PurePosixPath(stored.location.path).suffix
        known = ", ".join(SUFFIXES[name][0] for name in _FORMATS)
        raise CorpusError(
            f"{stored.location} has the suffix {suffix!r}, but a corpus by reference is made of {known} files: "
            "submit it without --by-reference"
        )
    table: ReferencedTable = _FORMATS[kind.format](stored, column, id_column)
    return table


def _joined(pieces: Sequence[Any], columns: Columns, dim: int, what: str, start: int) -> Slice:
    """The pieces of one batch; `start` is the first row, for messages."""
    kind = columns.type_in(pieces[0].schema)
    dim = fixed_dim(kind) or dim  # another one than the job's is a mistake of the whole batch, not of its rows
    bad, parts, first = BadRows(), [], start
    for piece in pieces:
        piece.validate(full=True)
        parts.append(read_piece(piece, columns, dim, dtype_of(kind), None, bad, first))
        first += piece.num_rows
    if bad:
        log.warning("%s: %s", what, bad)
    ids = None if columns.ids is None else tuple(id_ for _, some in parts for id_ in some or ())
    return Slice(0, np.concatenate([vectors for vectors, _ in parts]), ids, bad.take(start, first - start))


def _dim(schema: Any, columns: Columns, batches: Iterator[Any], what: str) -> int:
    """What the type promises, or else what most of the first rows have."""
    return fixed_dim(columns.type_in(schema)) or dimension_of(batches, columns, None, what).dim


def _existing(group: int | None, groups: int, what: str) -> int:
    if group is None or group >= groups:
        raise CorpusError(f"{what} has {groups} groups of rows, numbered from 0, but the batch says group {group}")
    return group


def _expect_rows(has: int, start: int, rows: int, what: str) -> None:
    if start + rows > has:
        raise CorpusError(f"{what} has {has} rows, but the batch has rows {start} to {start + rows - 1} of it")
