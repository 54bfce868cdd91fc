"""Results in Arrow's own format: a file that is read from anywhere in it, or a stream that is read from its start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa


def write_arrow_file(file: IO[bytes], schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    """Categories are written as their values: a file has one dictionary for all its rows, but sources have several."""
    plain = pa.schema([_plain(field) for field in schema]).with_metadata(schema.metadata)
    sink: Any = file
    with pa.ipc.new_file(sink, plain) as writer:
        _write(writer, (batch.cast(plain) for batch in batches) if plain != schema else batches)


def write_arrow_stream(file: IO[bytes], schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    sink: Any = file
    with pa.ipc.new_stream(sink, schema) as writer:
        _write(writer, batches)


def _plain(field: Any) -> Any:
    return field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field


def _write(writer: Any, batches: Iterator[pa.RecordBatch]) -> None:
    for batch in batches:
        writer.write_batch(batch)
