"""Columns of a source that go along with its texts: read once more, in the same order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from unembed.corpus.base import Corpus
from unembed.corpus.ids import read_ids
from unembed.corpus.json_text import Broken, JsonText, is_json, values_of
from unembed.corpus.paths import Field, parse, type_at
from unembed.corpus.table import Table
from unembed.errors import CorpusError


class CarriedRows(NamedTuple):
    """Some rows of the source."""

    rows: pa.RecordBatch
    ids: pa.Array[Any] | None  # theirs, as the corpus has them


@dataclass(frozen=True)
class Carried:
    """Some columns of a source, or fields within them, under the paths by which they were named."""

    what: str
    schema: pa.Schema
    rows: int
    batches: Callable[[], Iterator[CarriedRows]]  # of this schema, a few thousand rows at a time


def carried(corpus: Corpus, paths: Sequence[str] | None = None) -> Carried:
    """The columns at these paths; None is all of them. Raises CorpusError for one that is not there.

    What is JSON is read through once, as the types of its values are known only then.
    """
    table = corpus.table
    if table is None:
        raise CorpusError(f"{corpus.what} is an array: it has no columns to take along")
    fields = [Field(name) for name in table.schema.names] if paths is None else _fields(table, paths)
    ids = corpus.id_field
    columns = list(dict.fromkeys(field.column for field in (*fields, *([ids] if ids else []))))
    kinds = [_kind(table.schema, field) for field in fields]
    if table.dtype is not None and any(map(_may_vary, kinds)):
        kinds = _kinds_met(table.batches(columns), fields)
    schema = pa.schema([(str(field), kind) for field, kind in zip(fields, kinds, strict=True)])

    def batches() -> Iterator[CarriedRows]:
        for batch in table.batches(columns):
            arrays = [_as(field.of(batch), kind) for field, kind in zip(fields, kinds, strict=True)]
            named = None if ids is None else pa.array(read_ids(ids.of(batch)), pa.string())
            yield CarriedRows(pa.RecordBatch.from_arrays(arrays, schema=schema), named)

    return Carried(table.what, schema, corpus.rows, batches)


def _fields(table: Table, paths: Sequence[str]) -> list[Field]:
    found = []
    for path in dict.fromkeys(paths):
        field = parse(path, table.schema.names)
        if field is None or (field.steps and type_at(table.schema.field(field.column).type, field.steps) is None):
            there = ", ".join(map(repr, table.schema.names)) or "none"
            raise CorpusError(f"{table.what} has no column {path!r} to carry; its columns are {there}")
        found.append(field)
    return found


def _kind(schema: pa.Schema, field: Field) -> Any:
    kind = schema.field(field.column).type
    return type_at(kind, field.steps) if field.steps else kind


def _may_vary(kind: Any) -> bool:
    """Text that is read as a column of its own (CSV) stays text; values of JSON may become anything."""
    return not (pa.types.is_large_string(kind) or pa.types.is_float32(kind))


def _kinds_met(batches: Iterator[pa.RecordBatch], fields: Sequence[Field]) -> list[Any]:
    kinds: list[Any] = [pa.null()] * len(fields)
    for batch in batches:
        kinds = [_common(kind, field.of(batch).type) for kind, field in zip(kinds, fields, strict=True)]
    return kinds


def _common(one: Any, other: Any) -> Any:
    """A type that holds both; JSON where no other does."""
    if one.equals(other):
        return one
    if is_json(one) or is_json(other):
        return JsonText()
    try:
        both = [pa.schema([("", kind)]) for kind in (one, other)]
        return pa.unify_schemas(both, promote_options="permissive").types[0]
    except (pa.ArrowException, TypeError):
        return JsonText()


def _as(array: Any, kind: Any) -> Any:
    if is_json(kind):
        return _json(array)
    if array.type.equals(kind):
        return array
    try:
        return array.cast(kind)
    except (pa.ArrowException, TypeError):
        return pa.array(array.to_pylist(), kind)


def _json(array: Any) -> Any:
    """As JSON documents; a line that could not be read has none."""
    if is_json(array.type):
        storage = array.storage
        broken = pc.starts_with(storage, "\0").fill_null(False)
        return pa.ExtensionArray.from_storage(JsonText(), pc.if_else(broken, None, storage.cast(pa.large_string())))
    values = [None if value is None or isinstance(value, Broken) else json.dumps(value) for value in values_of(array)]
    return pa.ExtensionArray.from_storage(JsonText(), pa.array(values, pa.large_string()))
