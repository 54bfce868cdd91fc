"""PostgreSQL's values in their binary form, as Arrow columns.

vector, halfvec     dimensions, then big-endian floats of 4 or 2 bytes       list<float>, list<halffloat>
sparsevec, bit      for the reader of cells: text, packed bytes               string, binary
real[], float8[]    a header, then floats, each after its length              list<float>, list<double>
integers, floats    as they are                                               int64, float, double
bytea               as it is                                                  binary
all else            as text: uuid, numeric, timestamps, names, json           string
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

PGVECTOR: Final = ("vector", "halfvec", "sparsevec")
_REALS, _DOUBLES, _BIT, _VARBIT = 1021, 1022, 1560, 1562
ARRAYS: Final = (_REALS, _DOUBLES, _BIT, _VARBIT)  # of PostgreSQL's own types, those that are read here

_Cells = Sequence[Any]  # of one column; None where it is null


class ColumnKind(NamedTuple):
    """How a column of one type is read."""

    type: Any  # of Arrow
    array: Callable[[_Cells], Any]


def kind_of(oid: int, own: Mapping[int, str]) -> ColumnKind:
    """By the number of its type; `own` has those that differ from database to database."""
    name = own.get(oid)
    if name == "vector":
        return _lists(pa.float32(), lambda data: np.frombuffer(data, ">f4", offset=4))
    if name == "halfvec":
        return _lists(pa.float16(), lambda data: np.frombuffer(data, ">f2", offset=4))
    if name == "sparsevec":
        return ColumnKind(pa.string(), lambda cells: pa.array([_each(cell, _sparse) for cell in cells], pa.string()))
    if oid == _REALS:
        return _lists(pa.float32(), lambda data: _floats(data, ">f4"))
    if oid == _DOUBLES:
        return _lists(pa.float64(), lambda data: _floats(data, ">f8"))
    if oid in (_BIT, _VARBIT):
        return ColumnKind(pa.binary(), lambda cells: pa.array([_each(cell, lambda data: data[4:]) for cell in cells]))
    if oid in _PLAIN:
        kind = _PLAIN[oid]
        return ColumnKind(kind, lambda cells: pa.array(cells, kind))
    return ColumnKind(pa.string(), lambda cells: pa.array([_each(cell, _text) for cell in cells], pa.string()))


_PLAIN: Final = {
    16: pa.bool_(),
    17: pa.binary(),
    20: pa.int64(),
    21: pa.int64(),
    23: pa.int64(),
    25: pa.string(),
    700: pa.float32(),
    701: pa.float64(),
    1005: pa.list_(pa.int64()),  # int2[], int4[], int8[]
    1007: pa.list_(pa.int64()),
    1016: pa.list_(pa.int64()),
}


def _lists(value: Any, parsed: Callable[[bytes], NDArray[Any]]) -> ColumnKind:
    native = np.dtype(value.to_pandas_dtype())

    def array(cells: _Cells) -> Any:
        vectors = [None if cell is None else parsed(cell) for cell in cells]
        lengths = [0 if vector is None else len(vector) for vector in vectors]
        offsets: Any = pa.array(np.cumsum([0, *lengths], dtype=np.int32))
        flat = np.concatenate([vector for vector in vectors if vector is not None] or [np.zeros(0, native)])
        nulls: Any = pa.array([vector is None for vector in vectors])
        return pa.ListArray.from_arrays(offsets, pa.array(flat.astype(native), value), mask=nulls)

    return ColumnKind(pa.list_(value), array)


def _floats(data: bytes, kind: str) -> NDArray[Any]:
    """Of an array of any axes; a null in it becomes NaN."""
    axes, has_null = struct.unpack_from(">ii", data)
    start = 12 + 8 * axes
    if not has_null:
        return np.frombuffer(data, np.dtype([("length", ">i4"), ("value", kind)]), offset=start)["value"]
    values = []
    while start < len(data):
        (length,) = struct.unpack_from(">i", data, start)
        values.append(np.nan if length < 0 else np.frombuffer(data, kind, 1, start + 4)[0])
        start += 4 + max(0, length)
    return np.array(values, kind)


def _sparse(data: bytes) -> str:
    """As pgvector writes it, `{1:0.5,3:0.2}/5`, counted from 1."""
    size, count, _ = struct.unpack_from(">iii", data)
    indices = np.frombuffer(data, ">i4", count, 12) + 1
    values = np.frombuffer(data, ">f4", count, 12 + 4 * count)
    pairs = ",".join(f"{at}:{value}" for at, value in zip(indices.tolist(), values.tolist(), strict=True))
    return f"{{{pairs}}}/{size}"


def _each(cell: Any, read: Callable[[Any], Any]) -> Any:
    return None if cell is None else read(cell)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, (dict, list, bool)):
        return json.dumps(value, default=str, ensure_ascii=False)
    return value.isoformat() if isinstance(value, (datetime, date, time)) else str(value)
