"""Columns, and fields within them: `embedding`, `response.body.data.0.embedding`, `point.vector`.

A step into a struct, a map or a JSON object is a name; a step into a list is a number, counted from 0. A name that has
dots itself needs no marks: the longest name that is there is taken first. A row that has nothing at a path is null.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unembed.corpus.json_text import Broken, array_of, is_json, loaded, values_of


@dataclass(frozen=True)
class Field:
    """A place in a table: a column at the top, and the steps within it."""

    column: str
    steps: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ".".join((self.column, *self.steps))

    @property
    def last(self) -> str:
        """Its own name, without those of what it lies in."""
        return self.steps[-1] if self.steps else self.column

    def of(self, batch: Any) -> Any:
        """Its values in a record batch; nulls where there are none."""
        if self.column not in batch.schema.names:
            return pa.nulls(batch.num_rows)
        return follow(batch.column(self.column), self.steps)


def parse(path: str, names: Sequence[str]) -> Field | None:
    """The place that a path names, given the columns at the top; None when it begins with none of them."""
    parts = path.split(".")
    for count in range(len(parts), 0, -1):
        if (column := ".".join(parts[:count])) in names:
            return Field(column, tuple(parts[count:]))
    return None


def type_at(kind: Any, steps: Sequence[str]) -> Any:
    """The type at the end of the steps: None where they lead nowhere, JSON's own type where only the rows can tell."""
    kind = bare_type(kind)
    if not steps or is_json(kind):
        return kind
    if is_text(kind):
        return pa.string()
    if pa.types.is_struct(kind):
        names = [kind.field(at).name for at in range(kind.num_fields)]
        found = parse(".".join(steps), names)
        return None if found is None else type_at(kind.field(names.index(found.column)).type, found.steps)
    if pa.types.is_map(kind):
        return type_at(kind.item_type, steps[1:])
    if is_list(kind) and steps[0].isdecimal():
        return type_at(kind.value_type, steps[1:])
    return None


def follow(array: Any, steps: Sequence[str]) -> Any:
    """The values at the end of the steps, (N,); null where a row has none."""
    if not steps:
        return array
    array = bare(array)
    kind = array.type
    if is_json(kind) or is_text(kind):
        whole = values_of(array) if is_json(kind) else map(_parsed, array.to_pylist())
        return array_of([within(value, steps) for value in whole])
    if pa.types.is_struct(kind):
        names = [kind.field(at).name for at in range(kind.num_fields)]
        found = parse(".".join(steps), names)
        if found is not None:
            return follow(pc.struct_field(array, [names.index(found.column)]), found.steps)
    elif pa.types.is_map(kind):
        if pa.types.is_string(kind.key_type) or pa.types.is_large_string(kind.key_type):
            key = pa.scalar(steps[0], kind.key_type)
            return follow(pc.map_lookup(array, key, "first"), steps[1:])
    elif is_list(kind) and steps[0].isdecimal():
        return follow(_element(array, int(steps[0])), steps[1:])
    return pa.nulls(len(array))


def passed_over(array: Any, steps: Sequence[str]) -> int:
    """How many rows have more elements than the one that a step takes, (N,) lists at some step into one."""
    rows = np.zeros(len(array), np.bool_)
    for depth, step in enumerate(steps):
        if step.isdecimal():
            lists = bare(follow(array, steps[:depth]))
            if is_list(lists.type):
                rows |= np.asarray(pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)) > 1
    return int(rows.sum())


def within(value: Any, steps: Sequence[str]) -> Any:
    """The value at the end of the steps into a JSON value; None where there is none."""
    if not steps or isinstance(value, Broken):
        return value
    if isinstance(value, dict):
        found = parse(".".join(steps), list(value))
        return None if found is None else within(value[found.column], found.steps)
    if isinstance(value, list) and steps[0].isdecimal() and int(steps[0]) < len(value):
        return within(value[int(steps[0])], steps[1:])
    return None


def bare_type(kind: Any) -> Any:
    """The type without what does not matter here: an extension, a dictionary, a run-end encoding."""
    while True:
        if isinstance(kind, pa.BaseExtensionType) and not is_json(kind):
            kind = kind.storage_type
        elif pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
            kind = kind.value_type
        else:
            return kind


def bare(array: Any) -> Any:
    """The same values, of the type that `bare_type` says; strings and bytes of any layout as the plain ones."""
    while True:
        kind = array.type
        if isinstance(array, pa.ExtensionArray) and not is_json(kind):
            array = array.storage
        elif pa.types.is_dictionary(kind):
            words = bare(array.dictionary)  # Arrow cannot look up those that are views
            array = pa.DictionaryArray.from_arrays(array.indices, words).dictionary_decode()
        elif pa.types.is_run_end_encoded(kind):
            array = pc.call_function("run_end_decode", [array])
        elif pa.types.is_string_view(kind):
            array = array.cast(pa.large_string())
        elif pa.types.is_binary_view(kind):
            array = array.cast(pa.large_binary())
        else:
            return array


def is_list(kind: Any) -> bool:
    """Lists of any kind but maps."""
    types = pa.types
    return bool(
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
        or types.is_list_view(kind)
        or types.is_large_list_view(kind)
    )


def is_text(kind: Any) -> bool:
    """Text of any kind."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _parsed(text: str | None) -> Any:
    return None if text is None else loaded(text)


def _element(array: Any, at: int) -> Any:
    """The element at a place of each list; null where the list is shorter."""
    lengths = np.asarray(pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False), dtype=np.int64)
    values = array.flatten()  # without those of null lists
    if at == 0 and len(values) == len(array) and (lengths == 1).all():
        return values
    starts = np.cumsum(lengths) - lengths
    return values.take(pa.array(starts + at, mask=lengths <= at))
