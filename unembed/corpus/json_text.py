"""Columns of JSON values: what Arrow can give one type has that type, the rest is JSON text, cell by cell."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Self

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


class Broken(str):
    """A line that is no JSON, where a value was expected."""

    __slots__ = ()


def array_of(values: Sequence[Any]) -> Any:
    """Values as `json.loads` gives them; half of a surrogate pair, an integer of 70 bits and mixed types are kept."""
    if not any(isinstance(value, Broken) for value in values):
        try:
            return pa.array(values)
        except (pa.ArrowException, OverflowError, ValueError, TypeError):
            pass
    texts = [value if isinstance(value, Broken) else None if value is None else json.dumps(value) for value in values]
    return pa.ExtensionArray.from_storage(JsonText(), pa.array(texts, pa.large_string()))


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
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return Broken(text)
