"""Corpora in .parquet and .arrow files, read a record batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from unembed.corpus.base import Chunk, Corpus, choose_column, choose_id_column, reading
from unembed.corpus.digests import of_file
from unembed.corpus.slices import as_ids, require_shape
from unembed.corpus.vectors import fixed_dim, is_vector_type, value_dtype, vectors_of
from unembed.errors import CorpusError

_ROWS: Final = 2048  # taken together
_FILE_MAGIC: Final = b"ARROW1"


class Columns(NamedTuple):
    """What is read of a file."""

    vectors: str
    ids: str | None

    @property
    def names(self) -> list[str]:
        return [self.vectors] if self.ids is None else [self.vectors, self.ids]


def read_parquet(path: Path, column: str | None, id_column: str | None) -> Corpus:
    """A parquet file; of its columns only the vectors and the ids are read, a few thousand rows at a time."""
    with reading(path), pq.ParquetFile(path, memory_map=True) as file:
        columns = choose_columns(file.schema_arrow, column, id_column, path)
        rows, kind = int(file.metadata.num_rows), file.schema_arrow.field(columns.vectors).type

    def batches() -> Iterator[Any]:
        with pq.ParquetFile(path, memory_map=True) as file:
            yield from file.iter_batches(batch_size=_ROWS, columns=columns.names)

    return _corpus(path, columns, kind, rows, batches)


def read_arrow(path: Path, column: str | None, id_column: str | None) -> Corpus:
    """An Arrow IPC file or stream, mapped into memory."""
    with reading(path), _ipc_batches(path) as (schema, batches):
        columns = choose_columns(schema, column, id_column, path)
        kind = schema.field(columns.vectors).type
        rows = sum(batch.num_rows for batch in batches)

    def again() -> Iterator[Any]:
        with _ipc_batches(path) as (_, batches):
            yield from batches

    return _corpus(path, columns, kind, rows, again)


def _corpus(path: Path, columns: Columns, kind: Any, rows: int, batches: Callable[[], Iterator[Any]]) -> Corpus:
    what = f"the column {columns.vectors!r} of {path}"
    dtype = value_dtype(kind, what)
    require_shape((rows, 1), str(path))
    with reading(path):
        dim = fixed_dim(kind) or first_length(batches(), columns.vectors)
    require_shape((rows, dim), what)

    def chunks() -> Iterator[Chunk]:
        first = 0
        with reading(path):
            for piece in _pieces(batches()):
                vectors = vectors_of(piece.column(columns.vectors), what, dim=dim, first_row=first)
                yield vectors, ids_of(piece, columns.ids, path, first)
                first += piece.num_rows

    return Corpus(str(path), rows, dim, dtype, chunks, lambda: of_file(path, columns.vectors, columns.ids or ""))


def _pieces(batches: Iterator[Any]) -> Iterator[Any]:
    """Views of a few thousand rows: a file may be one record batch, and ids become Python's."""
    for batch in batches:
        batch.validate(full=True)
        for start in range(0, batch.num_rows, _ROWS):
            yield batch.slice(start, _ROWS)


def choose_columns(schema: Any, column: str | None, id_column: str | None, path: Path | str) -> Columns:
    """The columns of vectors and of ids. Raises CorpusError when they are not there, or cannot be told."""
    vectors = [field.name for field in schema if is_vector_type(field.type)]
    chosen = choose_column(column, schema.names, vectors, str(path))
    id_name = choose_id_column(id_column, schema.names, str(path))
    if id_name is not None:
        kind = schema.field(id_name).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)):
            raise CorpusError(
                f"the column {id_name!r} of {path} is {kind}, but ids are strings or integers: "
                "name another with --id-column, or none with --id-column ''"
            )
    return Columns(chosen, id_name)


def first_length(batches: Iterator[Any], name: str) -> int:
    """The length of the first vector that is not null; 0 when there is none."""
    for batch in batches:
        for value in batch.column(name):
            if value.is_valid:
                return len(value)
    return 0


def ids_of(batch: Any, name: str | None, path: Path | str, first: int) -> tuple[str, ...] | None:
    if name is None:
        return None
    return as_ids(batch.column(name).to_pylist(), batch.num_rows, f"the column {name!r} of {path}", first)


@contextmanager
def _ipc_batches(path: Path) -> Iterator[tuple[Any, Iterator[Any]]]:
    with pa.memory_map(str(path)) as source:
        is_file = source.read(len(_FILE_MAGIC)) == _FILE_MAGIC
        source.seek(0)
        if not is_file:
            stream: Any = pa.ipc.open_stream(source)
            yield stream.schema, iter(stream)
            return
        file: Any = pa.ipc.open_file(source)
        yield file.schema, (file.get_batch(i) for i in range(file.num_record_batches))
