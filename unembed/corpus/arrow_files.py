"""Tables in Arrow IPC files and streams, mapped into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from unembed.corpus.base import mapped, reading
from unembed.corpus.digests import of_file
from unembed.corpus.table import Table

_FILE_MAGIC: Final = b"ARROW1"


def arrow_table(path: Path, what: str) -> Table:
    """A file or a stream, told apart by its first bytes; its record batches are counted, which reads no column."""
    with reading(what), _ipc_batches(path) as (schema, batches):
        rows = sum(batch.num_rows for batch in batches)

    def again(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with reading(what), _ipc_batches(path) as (_, batches):
            yield from (batch.select(list(columns)) for batch in batches)

    return Table(what, schema, rows, again, lambda: of_file(path))


@contextmanager
def _ipc_batches(path: Path) -> Iterator[tuple[Any, Iterator[Any]]]:
    with mapped(path) as source:
        is_file = source.read(len(_FILE_MAGIC)) == _FILE_MAGIC
        source.seek(0)
        if not is_file:
            stream: Any = pa.ipc.open_stream(source)
            yield stream.schema, iter(stream)
            return
        file: Any = pa.ipc.open_file(source)
        yield file.schema, (file.get_batch(i) for i in range(file.num_record_batches))
