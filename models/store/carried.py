"""What jobs carry beside their rows: written with a batch when it arrives, read with a page of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sqlalchemy import Connection, or_, select

from unembed.carried import schema_of, written_names
from unembed.generations import SCHEMA
from unembed.models.store.sql import CARRIED_ROWS, JOBS, StorePart
from unembed.schemas import CarriedKind

TOGETHER: Final = 256  # rows: with the most that a row may carry, 1 MB that is read for one of them
_RANGES_A_QUERY: Final = 200
_FIRST: Final = CARRIED_ROWS.c.first_index


class CarriedColumns(StorePart):
    """The columns of the jobs that carry some."""

    def beside(self, job_id: str, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The same rows, of `SCHEMA`, with what the job carries behind them; of another job, the rows as they are.

        A column that is called like one of the results has another name here (`written_names`). Rows whose batch was
        accepted by an older version have nulls.
        """
        with self._read() as connection:
            carry: Mapping[str, CarriedKind] = connection.scalar(select(JOBS.c.carry).where(JOBS.c.id == job_id)) or {}
            if not carry:
                return rows
            indices = rows.column("index").to_numpy()  # (N,)
            schema = schema_of(carry)
            found = list(_chunks(connection, job_id, indices))
        columns = _at(found, schema, indices)
        names = written_names(schema.names, SCHEMA.names)
        fields: list[Any] = [field.with_name(name) for field, name in zip(schema, names, strict=True)]
        return pa.RecordBatch.from_arrays([*rows.columns, *columns], schema=pa.schema([*rows.schema, *fields]))


def write_carried(
    connection: Connection, job_id: str, batch_id: str, first_index: int, carried: pa.RecordBatch
) -> None:
    """What the rows of a new batch carry."""
    packed = [
        {"job_id": job_id, "batch_id": batch_id, "first_index": first_index + at, "content": _packed(carried, at)}
        for at in range(0, carried.num_rows, TOGETHER)
    ]
    connection.execute(CARRIED_ROWS.insert(), packed)


def _packed(carried: pa.RecordBatch, at: int) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, carried.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(carried.slice(at, TOGETHER))
    return bytes(sink.getvalue())


def _chunks(
    connection: Connection, job_id: str, indices: npt.NDArray[np.int64]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Those that have the rows at these indices, each with its first index; in their order, and perhaps others."""
    ordered = np.unique(indices)
    if not len(ordered):
        return
    # Apart are those that no chunk could have together.
    ranges = np.split(ordered, np.flatnonzero(np.diff(ordered) > TOGETHER) + 1)
    for start in range(0, len(ranges), _RANGES_A_QUERY):
        within = [
            _FIRST.between(int(each[0]) - TOGETHER + 1, int(each[-1]))
            for each in ranges[start : start + _RANGES_A_QUERY]
        ]
        statement = (
            select(_FIRST, CARRIED_ROWS.c.content).where(CARRIED_ROWS.c.job_id == job_id, or_(*within)).order_by(_FIRST)
        )
        for first, content in connection.execute(statement):
            with pa.ipc.open_stream(pa.py_buffer(content)) as reader:
                yield first, reader.read_next_batch()


def _at(
    chunks: Sequence[tuple[int, pa.RecordBatch]], schema: pa.Schema, indices: npt.NDArray[np.int64]
) -> Sequence[pa.Array[Any]]:
    """The columns (N,) at these indices; null where there is no chunk."""
    if not chunks:
        return [pa.nulls(len(indices), field.type) for field in schema]
    there = np.concatenate([np.arange(first, first + rows.num_rows) for first, rows in chunks])  # ascending
    places = np.searchsorted(there, indices).clip(max=len(there) - 1)
    chosen = pa.array(places, mask=there[places] != indices)
    table = pa.Table.from_batches([rows for _, rows in chunks], schema)
    return [column.combine_chunks() for column in table.take(chosen).columns]
