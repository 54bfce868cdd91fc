"""A batch on the wire: one Arrow IPC stream with one record batch.

    embedding   fixed_size_list<float16 | float32 | float64>[D]
    id          string, null for a row without one; left out when the corpus has none
    fault       string, why a row holds no vector, null for the others; left out when all hold one
    carried     struct of the columns that the job carries; left out when it carries none

The same rows always give the same bytes, so that a batch sent twice is known by its sha256.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from unembed.corpus.ids import Ids
from unembed.corpus.slices import FLOAT_DTYPES, Slice, Vectors, as_ids, require_vectors
from unembed.corpus.vectors import vectors_of
from unembed.errors import CorpusError
from unembed.schemas import CARRIED

EMBEDDING: Final = "embedding"
ID: Final = "id"
FAULT: Final = "fault"
_WHAT: Final = "the batch"


def encode_payload(
    embeddings: Vectors,
    ids: Sequence[str | None] | None = None,
    faults: Mapping[int, str] | None = None,
    carried: pa.RecordBatch | None = None,
) -> bytes:
    """The Arrow stream of (N, D) vectors and, where they have them, their N ids, why rows hold no vector, and what they
    carry."""
    require_vectors(embeddings, _WHAT)
    rows, dim = embeddings.shape
    native = np.ascontiguousarray(embeddings, dtype=embeddings.dtype.newbyteorder("<"))
    columns: dict[str, pa.Array[Any]] = {
        EMBEDDING: pa.FixedSizeListArray.from_arrays(pa.array(native.reshape(-1)), dim)
    }
    if ids is not None:
        columns[ID] = pa.array(as_ids(ids, rows, _WHAT), type=pa.string())
    if faults:
        columns[FAULT] = pa.array([faults.get(row) for row in range(rows)], type=pa.string())
    if carried is not None:
        columns[CARRIED] = pa.StructArray.from_arrays(carried.columns, fields=list(carried.schema))
    batch = pa.RecordBatch.from_pydict(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def decode_payload(data: bytes) -> Slice:
    """The rows of an Arrow stream, as a slice that starts at 0; the vectors are a view into `data`, not a copy.

    Raises CorpusError for anything but exactly one record batch of the columns above: the bytes may be a stranger's.
    """
    batch = _only_batch(data)
    if EMBEDDING not in batch.schema.names:
        raise CorpusError(f"{_WHAT} has no column {EMBEDDING!r}, only {batch.schema.names}")
    column = batch.column(EMBEDDING)
    if not pa.types.is_fixed_size_list(column.type):
        raise CorpusError(f"the column {EMBEDDING!r} of {_WHAT} is {column.type}, not a fixed_size_list of floats")
    embeddings = require_vectors(vectors_of(column, f"the column {EMBEDDING!r} of {_WHAT}"), _WHAT)
    return Slice(0, embeddings, _ids(batch), _faults(batch), _carried(batch))


def decode_raw(data: bytes, dtype: str, dim: int) -> Slice:
    """The rows of bare little-endian, row-major bytes; CorpusError when they are not whole rows."""
    if dtype not in FLOAT_DTYPES:
        raise CorpusError(f"the dtype of {_WHAT} is {dtype!r}, but embeddings are {', '.join(FLOAT_DTYPES)}")
    little = np.dtype(dtype).newbyteorder("<")
    row_bytes = dim * little.itemsize
    if not data or len(data) % row_bytes:
        raise CorpusError(
            f"{_WHAT} has {len(data)} bytes, which are no whole rows: one of {dim} {dtype} values has {row_bytes}"
        )
    return Slice(0, np.frombuffer(data, dtype=little).reshape(-1, dim))


def _only_batch(data: bytes) -> pa.RecordBatch:
    try:
        with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
            batches = list(reader)
        if len(batches) == 1:
            batches[0].validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorpusError(f"{_WHAT} is not a readable Arrow IPC stream: {error}") from error
    if len(batches) != 1:
        raise CorpusError(f"{_WHAT} is an Arrow stream of {len(batches)} record batches, but must have exactly 1")
    return batches[0]


def _ids(batch: pa.RecordBatch) -> Ids | None:
    column = _strings(batch, ID)
    return None if column is None else as_ids(column, len(column), _WHAT)


def _faults(batch: pa.RecordBatch) -> dict[int, str]:
    column = _strings(batch, FAULT)
    return {} if column is None else {row: fault for row, fault in enumerate(column) if fault is not None}


def _carried(batch: pa.RecordBatch) -> pa.RecordBatch | None:
    if CARRIED not in batch.schema.names:
        return None
    column: Any = batch.column(CARRIED)
    if not pa.types.is_struct(column.type):
        raise CorpusError(f"the column {CARRIED!r} of {_WHAT} is {column.type}, but must be a struct")
    fields = [column.type.field(at) for at in range(column.type.num_fields)]
    return pa.RecordBatch.from_arrays(column.flatten(), schema=pa.schema(fields))


def _strings(batch: pa.RecordBatch, name: str) -> list[str | None] | None:
    if name not in batch.schema.names:
        return None
    column = batch.column(name)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise CorpusError(f"the column {name!r} of {_WHAT} is {column.type}, but must be string")
    return column.to_pylist()
