"""Tables in parquet files: of their columns only those that are asked for are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from unembed.corpus.base import mapped, reading
from unembed.corpus.digests import of_file
from unembed.corpus.table import Table

_ROWS: Final = 2048  # taken together


def parquet_table(path: Path, what: str) -> Table:
    """A parquet file, mapped into memory; its footer says its columns and rows."""
    with reading(what), mapped(path) as source, pq.ParquetFile(source) as file:
        schema, rows = file.schema_arrow, int(file.metadata.num_rows)

    def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with reading(what), mapped(path) as source, pq.ParquetFile(source) as file:
            yield from file.iter_batches(batch_size=_ROWS, columns=list(columns))

    return Table(what, schema, rows, batches, lambda: of_file(path))
