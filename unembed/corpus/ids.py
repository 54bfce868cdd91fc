"""Columns of ids as strings, whatever type their owner gave them. A row without one has the id None."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unembed.corpus.json_text import Broken, is_json, values_of
from unembed.corpus.paths import bare, bare_type, is_text

Ids = tuple[str | None, ...]

EXPECTED: Final = "strings, integers, floats, UUIDs, bytes or dates"
_UUID: Final = "arrow.uuid"


def is_id_type(kind: Any) -> bool:
    """Whether a column of this type can give ids."""
    if getattr(kind, "extension_name", None) == _UUID or is_json(kind):
        return True
    kind = bare_type(kind)
    types = pa.types
    if types.is_struct(kind) and kind.num_fields == 1:  # MongoDB's {"$oid": "..."}
        return kind.field(0).name.startswith("$") and is_id_type(kind.field(0).type)
    if types.is_boolean(kind) or types.is_null(kind):
        return False
    return bool(types.is_primitive(kind) or is_text(kind) or _is_bytes(kind) or types.is_decimal(kind))


def read_ids(array: Any) -> Ids:
    """N ids; None where there is none, or nothing that a database could keep as text."""
    written = _writer(array.type)
    array = bare(array)
    if pa.types.is_temporal(array.type) or pa.types.is_integer(array.type):
        array = array.cast(pa.string())  # as Arrow writes it: quickly, and Python has no nanoseconds
    if is_text(array.type) and not pc.any(pc.match_substring(array, "\0")).as_py():
        return tuple(array.to_pylist())
    return tuple(kept(written(value)) for value in values_of(array))


def text_of(value: Any) -> str | None:
    """An id as text: whole numbers in decimal, bytes as UTF-8 or, where they are none, in hexadecimal digits."""
    if value is None or isinstance(value, (Broken, bool, np.bool_)):
        return None
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating, Decimal)):
        return _of_float(value)
    if isinstance(value, (bytes, bytearray)):
        return _of_bytes(bytes(value))
    if isinstance(value, dict) and len(value) == 1:
        return text_of(next(iter(value.values())))
    if isinstance(value, (uuid.UUID, np.str_)) or hasattr(value, "isoformat"):
        return value.isoformat() if hasattr(value, "isoformat") else str(value)
    return None


def kept(text: str | None) -> str | None:
    """The id, unless no database could keep it: NUL, and half of a surrogate pair, which UTF-8 cannot spell."""
    if text is None or "\0" in text or not (text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)):
        return None
    return text


def _writer(kind: Any) -> Callable[[Any], str | None]:
    if getattr(kind, "extension_name", None) == _UUID:
        return _of_uuid
    return text_of


def _of_uuid(value: Any) -> str | None:
    return None if value is None else str(value if isinstance(value, uuid.UUID) else uuid.UUID(bytes=value))


def _of_float(value: float | Decimal | np.floating[Any]) -> str | None:
    if value != value:
        return None
    if value in (float("inf"), float("-inf")):
        return str(value)
    return str(int(value)) if value == int(value) else str(value)


def _of_bytes(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return value.hex()
    return text if text.isprintable() else value.hex()


def _is_bytes(kind: Any) -> bool:
    types = pa.types
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
        or types.is_fixed_size_binary(kind)
    )
