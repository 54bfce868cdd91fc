"""Which column of a table is what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from unembed.corpus.base import choose_column, choose_id_column
from unembed.corpus.slices import as_ids
from unembed.corpus.vectors import is_vector_type
from unembed.errors import CorpusError


class Columns(NamedTuple):
    """What is read of a table."""

    vectors: str
    ids: str | None

    @property
    def names(self) -> list[str]:
        return [self.vectors] if self.ids is None else [self.vectors, self.ids]


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
