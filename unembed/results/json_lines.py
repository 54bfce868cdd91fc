"""Results as JSON, an object a line; and any column of Arrow's as JSON values."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc

from unembed.corpus.json_text import Broken, values_of
from unembed.corpus.paths import bare, is_list
from unembed.generations import json_objects, json_values


def write_json_lines(file: IO[bytes], schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    for batch in batches:
        file.write(json_objects(schema.names, [json_cells(column) for column in batch.columns], batch.num_rows))


def json_cells(column: Any) -> Any:
    """(N,) JSON values as strings, or the one of all rows: numbers and lists by Arrow, the rest value by value."""
    column = bare(column)
    kind = column.type
    types = pa.types
    if types.is_boolean(kind) or types.is_integer(kind) or kind in (pa.float64(), pa.string()):
        return json_values(column)
    if types.is_float16(kind):
        return json_cells(column.cast(pa.float32()))
    if types.is_floating(kind):  # the shortest digits of this width, not those of a double
        return pc.if_else(pc.is_finite(column), column, None).cast(pa.string()).fill_null("null")
    if types.is_large_string(kind):
        return json_values(column.cast(pa.string()))
    if is_list(kind) and (types.is_floating(kind.value_type) or types.is_integer(kind.value_type)):
        return _lists(column)
    values = values_of(column)
    if types.is_map(kind):
        values = (None if value is None else dict(value) for value in values)
    return pa.array([_document(value) for value in values], pa.string())


def _lists(column: Any) -> Any:
    """Lists of numbers, joined by Arrow: vectors have hundreds of them."""
    lengths = pc.list_value_length(column).fill_null(0)
    ends = pc.cumulative_sum(lengths.cast(pa.int32()))
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
    numbers = json_cells(column.flatten())  # without those of null lists
    if isinstance(numbers, str):  # all null
        numbers = pa.repeat(numbers, len(column.flatten()))
    pieces: list[Any] = ["[", pc.binary_join(pa.ListArray.from_arrays(offsets, numbers), ","), "]", ""]
    joined: Any = pc.binary_join_element_wise(*pieces)
    return pc.if_else(column.is_valid(), joined, "null")


def _document(value: Any) -> str:
    if value is None or isinstance(value, Broken):
        return "null"
    try:
        return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, default=_plain)
    except UnicodeEncodeError:
        return json.dumps(_finite(value), allow_nan=False, default=_plain)


def _finite(value: Any) -> Any:
    """JSON has neither NaN nor infinity, and its keys are strings."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {str(name): _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return value


def _plain(value: Any) -> Any:
    """What JSON has no type for: bytes as base64, decimals and durations as numbers, times by ISO 8601."""
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, Decimal):
        return float(value) if value.is_finite() else None
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
