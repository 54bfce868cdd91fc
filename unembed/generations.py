"""Rows as columns: one Arrow record batch instead of an object a row, from the decoder to the client's file.

`SCHEMA` is the list of fields, with their types and descriptions, made from `unembed.schemas.Generation`: so that the
value that shows one row and the columns that carry a million cannot differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic_core import to_json

from unembed.schemas import Generation, RowStatus

Places = Sequence[int] | npt.NDArray[np.int64]  # (N,): indices in the corpus
Column: TypeAlias = "Sequence[Any] | npt.NDArray[Any] | pa.Array[Any] | str | float | None"  # (N,), or one for all

_TYPES: Final[dict[str, pa.DataType]] = {
    "int64": pa.int64(),
    "int32": pa.int32(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "string": pa.string(),
}


def _field(name: str, described: dict[str, Any]) -> pa.Field[Any]:
    """A column, as the JSON schema of `Generation` describes it."""
    kinds = described.get("anyOf", [described])
    (kind,) = [kind for kind in kinds if kind.get("type") != "null"]
    type_ = _TYPES[kind.get("format", kind.get("type", "string"))]  # an enum has no type of its own: it is a string
    return pa.field(name, type_, nullable=len(kinds) > 1, metadata={"description": described["description"]})


SCHEMA: Final = pa.schema(
    [_field(name, described) for name, described in Generation.model_json_schema()["properties"].items()]
)


@dataclass(frozen=True)
class Decoded:
    """What one call of a decoder made of its rows, and how long it took."""

    rows: pa.RecordBatch  # of SCHEMA, in the order of the indices that were given; `id` is null
    decode_ms: float  # without scoring
    score_ms: float


def from_columns(indices: Places, **columns: Column) -> pa.RecordBatch:
    """Rows of `SCHEMA` from its columns, each (N,) or one value for all rows; those that are not given are null.

    Raises ValueError for a column that `SCHEMA` does not have, for one of another length, and for a null where it has
    none.
    """
    unknown = columns.keys() - set(SCHEMA.names)
    if unknown:
        raise ValueError(f"rows have no column {min(unknown)!r}; expected some of {', '.join(SCHEMA.names)}")
    count = len(indices)
    given = columns | {"index": np.asarray(indices, dtype=np.int64)}
    arrays = [_array(field, given.get(field.name), count) for field in SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def error_rows(indices: Places, code: Column, why: Column) -> pa.RecordBatch:
    """Rows without a text; `code` and `why` are (N,), or one for all."""
    return from_columns(indices, status=RowStatus.ERROR, error_code=code, error=why)


def concatenated(parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """The rows of all parts, of which there is at least one, one part after the other."""
    columns = [pa.concat_arrays([part.column(name) for part in parts]) for name in SCHEMA.names]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def where(chosen: npt.NDArray[np.bool_], these: pa.RecordBatch, others: pa.RecordBatch) -> pa.RecordBatch:
    """`these` rows where `chosen` (N,), and the others elsewhere."""
    mask = pa.array(chosen)
    columns = [pc.if_else(mask, these.column(name), others.column(name)) for name in SCHEMA.names]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def with_column(rows: pa.RecordBatch, name: str, values: Column) -> pa.RecordBatch:
    """The same rows with another column: (N,) values, or one for all."""
    at, field = SCHEMA.get_field_index(name), SCHEMA.field(name)
    return rows.set_column(at, field, _array(field, values, rows.num_rows))


def floats(column: pa.Array[Any]) -> npt.NDArray[np.float64]:
    """(N,), NaN for null."""
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


def flags(column: pa.Array[Any]) -> npt.NDArray[np.bool_]:
    """(N,), False for null."""
    return np.asarray(column.fill_null(False).to_numpy(zero_copy_only=False), dtype=np.bool_)


def in_order(parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """The rows of all parts, of which there is at least one, by their index."""
    rows = concatenated(parts)
    index = rows.column("index").to_numpy()  # (N,)
    return rows if (np.diff(index) > 0).all() else rows.take(np.argsort(index, kind="stable"))


def counts_of(column: pa.Array[Any]) -> Counter[str]:
    """How many rows have each value of a column of strings."""
    values, counts = pc.value_counts(column).flatten()
    return Counter(dict(zip(map(str, values.tolist()), counts.to_numpy().tolist(), strict=True)))


def storable(column: pa.Array[Any]) -> pa.Array[Any]:
    """As any database can keep it, and JSON can show it: NaN and infinity become null, NUL a replacement character."""
    kept = column
    if pa.types.is_floating(column.type):
        kept = pc.if_else(pc.is_finite(column), column, None)
    elif pa.types.is_string(column.type):
        kept = pc.replace_substring(column, "\x00", "\N{REPLACEMENT CHARACTER}")
    return kept


def from_rows(rows: Iterable[Generation]) -> pa.RecordBatch:
    """The columns of rows that came one by one."""
    kept = list(rows)
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in kept] for name in SCHEMA.names}
    return from_columns(columns.pop("index"), **columns)


def rows_of(rows: pa.RecordBatch | pa.Table) -> Iterator[Generation]:
    """One value a row, to show rows; whatever takes many of them works on the columns."""
    names = carried_names(rows.schema)
    if not names:
        yield from map(Generation.model_validate, rows.to_pylist())
        return
    for values in rows.to_pylist():
        carried = {name: values.pop(name) for name in names}
        row = Generation.model_validate(values)
        row._carried.update(carried)
        yield row


def carried_names(schema: pa.Schema) -> list[str]:
    """Of rows that have more columns than `SCHEMA`, the names of the others, which are behind those."""
    return list(schema.names[len(SCHEMA) :])


def begins_with_schema(schema: pa.Schema) -> bool:
    """Whether rows have the columns of `SCHEMA`, and perhaps carried ones behind them."""
    return pa.schema([schema.field(at) for at in range(min(len(SCHEMA), len(schema)))]).equals(SCHEMA)


def table_of(batches: Sequence[pa.RecordBatch]) -> pa.Table:
    """All of them as a table; of none, one without rows."""
    return pa.Table.from_batches(batches, batches[0].schema if batches else SCHEMA)


def from_json_lines(data: bytes) -> pa.RecordBatch:
    """The columns of rows that are a JSON document each. Raises ValueError for a line that is no row."""
    return from_rows(map(Generation.model_validate_json, data.splitlines()))


def from_arrow_stream(data: bytes) -> pa.RecordBatch:
    """The one record batch of an Arrow IPC stream, from whoever sent it, with what the job carries behind the columns
    of `SCHEMA`. Raises ValueError for anything else."""
    try:
        with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
            batches = list(reader)
        for batch in batches:
            batch.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"it is not a readable Arrow stream: {error}") from error
    if len(batches) != 1:
        raise ValueError(f"the Arrow stream has {len(batches)} record batches; expected 1")
    found = batches[0].schema
    if not begins_with_schema(found):
        raise ValueError(f"expected the columns {', '.join(SCHEMA.names)}; got {', '.join(found.names)}")
    return batches[0]


def json_lines(rows: pa.RecordBatch) -> bytes:
    """One JSON document a row and line, byte for byte as `Generation.model_dump_json` writes it."""
    return json_objects(SCHEMA.names, list(map(json_values, rows.columns)), rows.num_rows)


_TOGETHER: Final = 4096  # rows that become text at once
_ESCAPED: Final = r'[\x00-\x1f"\\]'  # in a JSON string; non-ASCII characters stay as they are


def json_objects(names: Sequence[str], columns: Sequence[pa.Array[Any] | str], count: int) -> bytes:
    """`count` JSON objects, a line each, of the (N,) JSON values of each name, or of the one of all rows.

    Joined by Arrow, so that only the texts that need escapes become objects.
    """
    if all(isinstance(column, str) for column in columns):
        columns = [pa.repeat(str(column), count) for column in columns]
    pieces: list[Any] = []
    for name, column in zip(names, columns, strict=True):
        pieces += [f"{',' if pieces else '{'}{encode_basestring(name)}:", column]
    return b"".join(_lines(pieces, first) for first in range(0, count, _TOGETHER))


def _lines(pieces: Sequence[Any], first: int) -> bytes:
    some: list[Any] = [piece if isinstance(piece, str) else piece.slice(first, _TOGETHER) for piece in pieces]
    lines = pc.binary_join_element_wise(*some, "}\n", "")
    together: Any = pc.binary_join(pa.ListArray.from_arrays([0, len(lines)], lines), "")
    return bytes(together[0].as_buffer())


def json_values(column: pa.Array[Any]) -> pa.Array[Any] | str:
    """(N,) JSON values, no line end within one; or the one value of all rows."""
    if column.null_count == len(column):
        return "null"
    values: pa.Array[Any]
    if pa.types.is_string(column.type):
        values = _quoted(column)
    elif pa.types.is_floating(column.type):  # as pydantic prints them
        listed = to_json(column.to_numpy(zero_copy_only=False).tolist(), inf_nan_mode="null").decode()
        values = pc.split_pattern(pa.array([listed[1:-1]]), ",").flatten()
    else:
        values = column.cast(pa.string())
    return values.fill_null("null")


def _quoted(column: pa.Array[Any]) -> pa.Array[Any]:
    """(N,) JSON strings, null for null."""
    pieces: list[Any] = ['"', column, '"', ""]
    quoted: pa.Array[Any] = pc.binary_join_element_wise(*pieces)
    escaped: Any = pc.match_substring_regex(column, _ESCAPED).fill_null(False)
    if escaped.true_count:
        texts: list[Any] = column.filter(escaped).to_pylist()
        quoted = pc.replace_with_mask(quoted, escaped, pa.array(map(encode_basestring, texts), pa.string()))
    return quoted


def _array(field: pa.Field[Any], values: Column, count: int) -> pa.Array[Any]:
    array: pa.Array[Any]
    if values is None:
        array = pa.nulls(count, field.type)
    elif isinstance(values, (str, int, float)):
        array = pa.repeat(pa.scalar(_value(values), field.type), count)
    elif isinstance(values, pa.Array):
        array = values.cast(field.type)
    else:
        array = _from_sequence(values, field.type)
    if len(array) != count:
        raise ValueError(f"the column {field.name!r} has {len(array)} values for {count} rows")
    if array.null_count and not field.nullable:
        raise ValueError(f"the column {field.name!r} lacks {array.null_count} of its {count} values; it needs all")
    return array


def _from_sequence(values: Sequence[Any] | npt.NDArray[Any], type_: pa.DataType) -> pa.Array[Any]:
    try:
        return pa.array(values, type_)
    except UnicodeEncodeError:  # half of a surrogate pair: no encoding has it
        return pa.array([_value(value) for value in values], type_)


def _value(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value
