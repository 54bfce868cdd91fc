"""Tables of arrays without names: .fvecs and .bvecs, .fbin and its relatives, .safetensors. All are mapped into memory.

.fvecs, .bvecs           each row: its length (int32), then its values, float32 or uint8
.fbin, .u8bin, .i8bin    the rows and the dimensions (uint32 each), then all values
.safetensors             a header in JSON that says where each tensor lies
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from unembed.corpus.base import reading
from unembed.corpus.digests import of_file
from unembed.corpus.table import Table
from unembed.errors import CorpusError

_ROWS: Final = 2048  # taken together
_COLUMN: Final = "embedding"
_MOST_DIMENSIONS: Final = 1_000_000  # more are no dimensions, but another format
_HEADER_LIMIT: Final = 100_000_000  # bytes, as in the library

Piece = Callable[[int, int], Any]  # of the rows from the first to before the second


def vecs_table(path: Path, what: str, value: str) -> Table:
    """.fvecs with the value `<f4`, .bvecs with `u1`. Raises CorpusError when the rows are not of one length."""
    with reading(what):
        size = path.stat().st_size
        dim = int(np.fromfile(path, "<i4", 1)[0]) if size >= 4 else 0
        _require_dim(dim, what)
        row_bytes = 4 + dim * np.dtype(value).itemsize
        if size % row_bytes:
            raise CorpusError(f"{what} is cut short, or not of one dimension: {size} bytes are no rows of {row_bytes}")
        rows = np.memmap(path, np.dtype([("dim", "<i4"), ("values", value, (dim,))]), "r")

    def piece(start: int, stop: int) -> pa.Array[Any]:
        part = rows[start:stop]
        if (wrong := np.flatnonzero(part["dim"] != dim)).size:
            at = int(wrong[0])
            raise CorpusError(f"row {start + at} of {what} has {part['dim'][at]} values, but row 0 has {dim}")
        return _lists(np.ascontiguousarray(part["values"]))

    return _table(path, what, {_COLUMN: piece}, len(rows))


def bin_table(path: Path, what: str, value: str) -> Table:
    """.fbin with the value `<f4`, .u8bin with `u1`, .i8bin with `i1`."""
    with reading(what):
        size = path.stat().st_size
        rows, dim = map(int, np.fromfile(path, "<u4", 2)) if size >= 8 else (0, 0)
        _require_dim(dim, what)
        expected = 8 + rows * dim * np.dtype(value).itemsize
        if size != expected:
            raise CorpusError(f"{what} has {size} bytes, but its header promises {expected}, for {rows} rows of {dim}")
        values = np.memmap(path, value, "r", 8, (rows, dim)) if rows else np.zeros((0, dim), value)
    return _table(path, what, {_COLUMN: lambda start, stop: _lists(values[start:stop])}, rows)


def safetensors_table(path: Path, what: str) -> Table:
    """A column for each tensor that has the rows of the largest: (N, D) or (N,).

    Read here, because the library has no bfloat16 in numpy and is part of no small install.
    """
    with reading(what):
        header, start = _header(path, what)
        found = {name: _tensor(path, what, name, each, start) for name, each in header.items()}
    arrays = {name: array for name, array in found.items() if array is not None and array.ndim in (1, 2)}
    tables = [array for array in arrays.values() if array.ndim == 2]
    if not tables:
        raise CorpusError(f"{what} has no tensor with two axes; it has {', '.join(map(repr, header)) or 'none'}")
    rows = max(map(len, tables))
    same = {name: array for name, array in arrays.items() if len(array) == rows}
    return _table(path, what, {name: _piece(array) for name, array in same.items()}, rows)


def _header(path: Path, what: str) -> tuple[Mapping[str, Any], int]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_HEADER_LIMIT, path.stat().st_size - 8):
            raise CorpusError(f"{what} is no .safetensors file, or cut short: its header would have {length} bytes")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise CorpusError(f"{what} is no .safetensors file: its header is no JSON object")
    header.pop("__metadata__", None)
    return header, 8 + length


_DTYPES: Final = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1"},
}


def _tensor(path: Path, what: str, name: str, entry: Any, start: int) -> NDArray[Any] | None:
    """The tensor, mapped; None for one of a type that vectors never have."""
    try:
        kind, shape, (begin, end) = entry["dtype"], tuple(map(int, entry["shape"])), map(int, entry["data_offsets"])
    except (KeyError, TypeError, ValueError):
        raise CorpusError(f"{what} is damaged: its header says nothing useful of {name!r}") from None
    if kind not in _DTYPES or not all(shape):
        return None
    dtype = np.dtype(_DTYPES[kind])
    if begin < 0 or end - begin != dtype.itemsize * int(np.prod(shape)) or start + end > path.stat().st_size:
        raise CorpusError(f"{what} is cut short: {name!r} should end at byte {start + end}")
    array = np.memmap(path, dtype, "r", start + begin, shape)
    return _Bfloat16(array) if kind == "BF16" else array  # type: ignore[return-value]


class _Bfloat16:
    """Widened when it is read: it is the upper half of a float32."""

    def __init__(self, bits: NDArray[np.uint16]) -> None:
        self._bits, self.ndim = bits, bits.ndim

    def __len__(self) -> int:
        return len(self._bits)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._bits.shape

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        return (self._bits[rows].astype(np.uint32) << 16).view(np.float32)


def _piece(array: NDArray[Any]) -> Piece:
    return lambda start, stop: _lists(array[start:stop])


def _lists(values: NDArray[Any]) -> pa.Array[Any]:
    """Without a copy, where the values lie together."""
    together: Any = np.ascontiguousarray(values)
    flat = pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), values.size, [None, pa.py_buffer(together)])
    return flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _table(path: Path, what: str, pieces: Mapping[str, Piece], rows: int) -> Table:
    def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with reading(what):
            for start in range(0, rows, _ROWS):
                stop = min(rows, start + _ROWS)
                yield pa.RecordBatch.from_arrays([pieces[name](start, stop) for name in columns], names=list(columns))

    with reading(what):
        schema = pa.schema([(name, piece(0, min(rows, 1)).type) for name, piece in pieces.items()])
    return Table(what, schema, rows, batches, lambda: of_file(path))


def _require_dim(dim: int, what: str) -> None:
    if not 0 < dim <= _MOST_DIMENSIONS:
        raise CorpusError(f"{what} begins with {dim} where its dimensions should be: it is empty, or of another format")
