"""Results in Arrow's own format: a file that is read from anywhere in it, or a stream that is read from its start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa


def write_arrow_file(file: IO[bytes], schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    sink: Any = file
    with pa.ipc.new_file(sink, schema) as writer:
        _write(writer, batches)


def write_arrow_stream(file: IO[bytes], schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    sink: Any = file
    with pa.ipc.new_stream(sink, schema) as writer:
        _write(writer, batches)


def _write(writer: Any, batches: Iterator[pa.RecordBatch]) -> None:
    for batch in batches:
        writer.write_batch(batch)
