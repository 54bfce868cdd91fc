"""Columns of JSON values: what Arrow can give one type has that type, the rest is JSON text, cell by cell."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, Self

import pyarrow as pa


class JsonText(pa.ExtensionType):
    """Cells that are JSON documents; one that is none stands for a line that could not be parsed."""

    def __init__(self) -> None:
        super().__init__(pa.large_string(), "unembed.json_text")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> Self:
        return cls()


_BROKEN: Final = "\0"  # no JSON document begins with it
_SHOWN: Final = 40  # characters of what is no JSON


class Broken(str):
    """Why there is no value: what stands where a line should be an object of JSON."""

    __slots__ = ()


def array_of(values: Sequence[Any]) -> Any:
    """Values as `json.loads` gives them; half of a surrogate pair, an integer of 70 bits and mixed types are kept."""
    if not any(isinstance(value, Broken) for value in values):
        try:
            return pa.array(values)
        except (pa.ArrowException, OverflowError, ValueError, TypeError):
            pass
    return pa.ExtensionArray.from_storage(JsonText(), pa.array(map(_text, values), pa.large_string()))


def is_json(kind: Any) -> bool:
    """Whether cells of this type are JSON documents: ours, and those that Arrow and Parquet call JSON."""
    return isinstance(kind, JsonText) or getattr(kind, "extension_name", None) == "arrow.json"


def values_of(array: Any) -> Iterator[Any]:
    """The values of a column of JSON documents, or of any other column; Broken for what is no JSON."""
    if not is_json(array.type):
        yield from array.to_pylist()
        return
    for text in array.storage.to_pylist():
        yield None if text is None else loaded(text)


def loaded(text: str) -> Any:
    """The value of a JSON document; Broken for what is none."""
    if text.startswith(_BROKEN):
        return Broken(text.removeprefix(_BROKEN))
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return Broken(f"is not JSON: {text[:_SHOWN]!r}")


def _text(value: Any) -> str | None:
    if isinstance(value, Broken):
        return _BROKEN + value
    return None if value is None else json.dumps(value)
