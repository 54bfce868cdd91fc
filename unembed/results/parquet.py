"""Results in parquet: full row groups, and dictionaries for columns of few values alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

_ROW_GROUP: Final = 16_384  # rows that are kept in memory together
# Columns of few values. A dictionary of the others, which hardly repeat, takes time and makes the file larger.
_REPEATING: Final = ("status", "error_code", "error", "source", "tokens", "decode_ms")


def write_parquet(file: IO[bytes], schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    repeating: Any = [name for name in _REPEATING if name in schema.names]
    sink: Any = file
    with pq.ParquetWriter(sink, schema, compression="zstd", use_dictionary=repeating or False) as writer:
        for group in _row_groups(schema, batches):
            writer.write_table(group, row_group_size=_ROW_GROUP)


def _row_groups(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The same rows, as many together as a row group has: the fewer groups, the smaller and faster the file."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        waiting.append(batch)
        rows += batch.num_rows
        if rows >= _ROW_GROUP:
            table = pa.Table.from_batches(waiting, schema)
            whole = rows - rows % _ROW_GROUP
            yield table.slice(0, whole)
            waiting, rows = table.slice(whole).to_batches(), rows - whole
    if rows:
        yield pa.Table.from_batches(waiting, schema)
