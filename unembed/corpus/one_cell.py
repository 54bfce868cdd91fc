"""One cell: a vector as text, as bytes or as a JSON value, however its owner wrote it down.

"[0.1, 0.2]"  "{0.1,0.2}"  "(0.1, 0.2)"  "[0.1 0.2]"  "0.1,0.2"      text: JSON, pgvector, PostgreSQL's arrays, repr
"zczMPQ=="  "\\x3dcccccd"                                              text: base64 or hexadecimal digits of bytes
b"..."                                                                little-endian float32, float64 or float16
[0.1, 0.2]  [[0.1, 0.2]]  {"type": 1, "values": [...]}                JSON: a list, a matrix of one row, Spark's
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from unembed.corpus.json_text import Broken
from unembed.errors import first_line


class Coding(StrEnum):
    """What the numbers in a cell mean, where its owner says it."""

    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    INT8 = "int8"
    UINT8 = "uint8"  # centred on 128
    BINARY = "binary"  # a sign a bit, eight to a byte, the highest bit first


_DTYPES: Final[dict[Coding, np.dtype[Any]]] = {
    Coding.FLOAT16: np.dtype("<f2"),
    Coding.BFLOAT16: np.dtype("<u2"),
    Coding.FLOAT32: np.dtype("<f4"),
    Coding.FLOAT64: np.dtype("<f8"),
    Coding.INT8: np.dtype("i1"),
    Coding.UINT8: np.dtype("u1"),
    Coding.BINARY: np.dtype("u1"),
}
# What embeddings are made of: hardly a value is smaller or larger, so bytes that give others are not of this type.
_USUAL: Final = {"<f4": (1e-7, 1e6), "<f8": (1e-7, 1e6), "<f2": (1e-6, 16.0)}
_MOST: Final = 0.9  # of the values
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_\-\r\n]+={0,2}\s*")
_NAMED: Final = re.compile(r"\s*(?:array|tensor|Vector|HalfVector|ndarray)\s*\(")
_SPARSE: Final = re.compile(r"\{([\d\s:,.eE+-]*)\}/(\d+)")  # pgvector's sparsevec: {1:0.5,3:0.2}/5
_OPEN, _CLOSE = "[{(<", "]})>"

_LARGEST: Final = 2**20  # dimensions of a sparse vector: written out, it takes as many floats

Vector = NDArray[Any]  # (D,) floats


class CellError(ValueError):
    """A cell that holds no vector; the message goes on from "the row"."""


def vector_of(value: Any, coding: Coding | None = None, dim: int | None = None) -> Vector:
    """(D,) of one cell. `dim` tells float32 from float64 in bytes. Raises CellError."""
    if isinstance(value, Broken):
        raise CellError(value)
    if value is None:
        raise CellError("is null or missing")
    if isinstance(value, str):
        return _of_text(value, coding, dim)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return of_bytes(bytes(value), coding, dim)
    if isinstance(value, dict):
        return _of_object(value, coding)
    if isinstance(value, (list, tuple)):
        return _of_list(value, coding)
    raise CellError(f"is {_short(value)}, no vector")


def coded(values: NDArray[Any], coding: Coding | None) -> NDArray[Any]:
    """The numbers that quantised ones stand for, (..., D); of bits, eight times as many. Raises CellError."""
    if coding not in (Coding.INT8, Coding.UINT8, Coding.BINARY):
        return values
    if values.dtype.kind == "f" and not np.array_equal(values, np.trunc(values)):
        raise CellError(f"has values that are no whole numbers, so they are not {coding}")
    if values.size and not (values.min() >= -128 and values.max() <= 255):
        raise CellError(f"has values that no byte holds, so they are not {coding}")
    if coding is Coding.INT8:
        return values.astype(np.float32)
    if coding is Coding.UINT8:
        return values.astype(np.float32) - 128
    # Bytes that lie around 0, as signed ones do, are the packed bits less 128.
    packed = (values.astype(np.int16) + 128 if values.dtype.kind == "i" and _signed(values) else values).astype(
        np.uint8
    )
    return np.unpackbits(packed, axis=-1).astype(np.float32) * 2 - 1


def _signed(values: NDArray[Any]) -> bool:
    return values.dtype == np.int8 or bool(values.size and values.min() < 0)


def of_bytes(data: bytes, coding: Coding | None, dim: int | None) -> Vector:
    """(D,) of little-endian bytes; of which type is told by their number and the dimension, or by their values."""
    if not data:
        raise CellError("is empty")
    if coding is None:
        dtype = _told(data, dim)
        if dtype is None:
            raise CellError(f"has {len(data)} bytes that are no floats of a usual size: say what they are with --cells")
        return np.frombuffer(data, dtype)
    itself = _DTYPES[coding]
    if len(data) % itself.itemsize:
        raise CellError(f"has {len(data)} bytes, no multiple of the {itself.itemsize} of a {coding}")
    values = np.frombuffer(data, itself)
    if coding is Coding.BFLOAT16:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return coded(values, coding)


def _told(data: bytes, dim: int | None) -> np.dtype[Any] | None:
    widths = {4: "<f4", 8: "<f8", 2: "<f2"}
    if dim is not None and (code := widths.get(len(data) // dim)) and len(data) % dim == 0:
        return np.dtype(code)
    single, double, half = (_usual(data, code) for code in ("<f4", "<f8", "<f2"))
    # Doubles that were made of short floats end in zeros, and then every other float32 is one.
    if double and (not single or not any(np.frombuffer(data, "<u4")[::2])):
        return np.dtype("<f8")
    return np.dtype("<f4") if single else np.dtype("<f2") if half else None


def _usual(data: bytes, code: str) -> bool:
    """Whether the bytes look like an embedding of this type."""
    if len(data) % np.dtype(code).itemsize:
        return False
    with np.errstate(all="ignore"):
        size = np.abs(np.frombuffer(data, code).astype(np.float64))
    least, most = _USUAL[code]
    fine = (size == 0) | ((size > least) & (size < most))
    return bool(fine.mean() >= _MOST and (size.any() or code == "<f4"))


def _of_list(values: list[Any] | tuple[Any, ...], coding: Coding | None) -> Vector:
    if len(values) == 1 and isinstance(values[0], (list, tuple)):
        return _of_list(values[0], coding)
    if values and all(isinstance(item, (list, tuple)) for item in values):
        if any(len(item) != 1 for item in values):
            raise CellError(f"holds {len(values)} vectors; expected one")
        values = [item[0] for item in values]
    if not values:
        raise CellError("is empty")
    try:
        plain = all(type(item) is float or type(item) is int for item in values)
        numbers = values if plain else [_number(item) for item in values]
        if coding in (Coding.INT8, Coding.UINT8, Coding.BINARY) and all(type(item) is int for item in numbers):
            return coded(np.array(numbers, np.int64), coding)
        with np.errstate(over="ignore"):  # too large for float32 is infinity, and so an error row later on
            return coded(np.array(numbers, np.float32), coding)
    except OverflowError:  # an integer too large even for a Python float
        finite = [(np.inf if n > 0 else -np.inf) if type(n) is int and abs(n) > 2**128 else n for n in numbers]
        with np.errstate(over="ignore"):
            return np.array(finite, np.float32)


def _number(item: Any) -> float | int:
    if item is None:
        return np.nan
    if isinstance(item, dict) and len(item) == 1:  # MongoDB's {"$numberDouble": "0.1"}, DynamoDB's {"N": "0.1"}
        return _number(next(iter(item.values())))
    if isinstance(item, str) or (hasattr(item, "__float__") and not isinstance(item, (bool, np.bool_))):
        try:
            return item if isinstance(item, int) else float(item)
        except ValueError:
            pass
    raise CellError(f"has the value {_short(item)}, but embeddings are numbers")


def _of_object(value: dict[str, Any], coding: Coding | None) -> Vector:
    """Spark's vectors, dense and sparse; or an object whose only value is the vector."""
    if "values" in value and "indices" in value:
        if value["indices"] is None or value.get("type") == 1:
            return vector_of(value["values"], coding)
        if isinstance(value.get("size"), int):
            return dense_of(value["size"], value["indices"], value["values"])
        raise CellError("is a sparse vector without its size")
    if len(value) == 1:
        return vector_of(next(iter(value.values())), coding)
    if isinstance(value.get("values"), (list, str)):
        return vector_of(value["values"], coding)
    raise CellError(f"is an object with {_short(list(value))}: name the field of it that is the vector")


def dense_of(size: int, indices: Any, values: Any) -> Vector:
    """A sparse vector, written out."""
    if not 0 < size <= _LARGEST:
        raise CellError(f"is a sparse vector of {size} dimensions; expected 1 to {_LARGEST:,}")
    dense = np.zeros(size, np.float64)
    try:
        at = np.asarray(indices, np.int64)
        if at.ndim != 1 or (at.size and at.min() < 0):
            raise IndexError("its indices are no list of numbers from 0")
        dense[at] = np.asarray(values, np.float64)
    except (IndexError, ValueError, TypeError, OverflowError) as error:
        raise CellError(f"is a sparse vector that is damaged: {first_line(error)}") from error
    return dense


def _of_text(text: str, coding: Coding | None, dim: int | None) -> Vector:
    text = text.strip()
    if not text:
        raise CellError("is empty")
    if coding is Coding.BINARY and set(text) <= {"0", "1"}:  # pgvector's bit
        return np.frombuffer(text.encode(), np.uint8).astype(np.float32) * 2 - 97
    if text[0] == "[" or (text[0] == "{" and '"' in text):
        try:
            return vector_of(json.loads(text), coding)
        except (ValueError, RecursionError) as error:
            if isinstance(error, CellError):
                raise
    if text.startswith("\\x"):
        return _of_coded(text, lambda: bytes.fromhex(text[2:]), coding, dim)
    if sum(map(text.count, _OPEN)) > sum(map(text.count, _CLOSE)):
        raise CellError("is cut short: a bracket in its text is never closed")
    if sparse := _SPARSE.fullmatch(text):
        return _of_sparse_text(sparse[1], int(sparse[2]))
    named = _NAMED.match(text)
    inner = _within_brackets(text[named.end() :].split("dtype")[0] if named else text)
    if inner is None and _BASE64.fullmatch(text) and not re.fullmatch(r"[\d\s.,+\-eE]+", text):
        return _of_coded(text, lambda: _from_base64(text), coding, dim)
    return _of_words(text if inner is None else inner, text, coding)


def _within_brackets(text: str) -> str | None:
    """What stands in its brackets, several of them around one another, too."""
    text = text.strip().rstrip(", )") if text.strip().endswith(",") else text.strip()
    if not text or text[0] not in _OPEN:
        return None
    return text.strip(_OPEN + _CLOSE + ", ")


def _of_words(inner: str, text: str, coding: Coding | None) -> Vector:
    if "..." in inner:
        raise CellError("was shortened when it was printed ('...'): its values are lost; write whole lists instead")
    if any(bracket in inner for bracket in _OPEN + _CLOSE):
        raise CellError("holds several vectors; expected one")
    words = [word.strip(" \"'") for word in (inner.split(",") if "," in inner else inner.split())]
    try:
        return _of_list([np.nan if word.lower() in ("null", "none") else float(word) for word in words], coding)
    except ValueError as error:
        if isinstance(error, CellError):
            raise
        raise CellError(f"is the text {_short(text)}: neither a list of numbers nor base64") from None


def _of_sparse_text(pairs: str, size: int) -> Vector:
    """pgvector counts from 1."""
    try:
        split = [pair.split(":") for pair in pairs.split(",") if pair.strip()]
        return dense_of(size, [int(at) - 1 for at, _ in split], [float(value) for _, value in split])
    except ValueError as error:
        raise (
            error if isinstance(error, CellError) else CellError(f"is a sparse vector that is damaged: {error}")
        ) from None


def _from_base64(text: str) -> bytes:
    plain = "".join(text.split()).translate(str.maketrans("-_", "+/")).rstrip("=")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)


def _of_coded(text: str, decode: Callable[[], bytes], coding: Coding | None, dim: int | None) -> Vector:
    try:
        return of_bytes(decode(), coding, dim)
    except (binascii.Error, ValueError) as error:
        why = error if isinstance(error, CellError) and coding is not None else "neither a list of numbers nor base64"
        raise CellError(f"is the text {_short(text)}: {why}") from None


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else shown[:37] + "..."
