"""Columns that a job carries: they come with its batches, and go back beside the texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from unembed.errors import InputError
from unembed.schemas import MAX_CARRIED_BYTES, CarriedKind

PREFIX: Final = "source_"  # of a column of the source that is called like one of the results
_VALUE_BYTES: Final = 8
_TYPES: Final[Mapping[CarriedKind, pa.DataType]] = {
    CarriedKind.STRING: pa.string(),
    CarriedKind.INTEGER: pa.int64(),
    CarriedKind.NUMBER: pa.float64(),
    CarriedKind.BOOLEAN: pa.bool_(),
}


def schema_of(carry: Mapping[str, CarriedKind]) -> pa.Schema:
    """The columns, under their own names."""
    return pa.schema([(name, _TYPES[CarriedKind(kind)]) for name, kind in carry.items()])


def written_names(names: Iterable[str], results: Iterable[str]) -> list[str]:
    """What columns of the source are called beside those of the results: one that has the name of a result gets
    PREFIX in front, as often as it takes."""
    own, sources = frozenset(results), list(names)
    taken, written = own | set(sources), list[str]()
    for given in sources:
        name = given
        while name in own or (name != given and name in taken):
            name = PREFIX + name
        taken |= {name}
        written.append(name)
    return written


def require_small(rows: pa.RecordBatch, first_index: int) -> None:
    """Raises InputError, naming the row and its longest value, where a row has more than MAX_CARRIED_BYTES."""
    sizes = [_sizes(column) for column in rows.columns]
    total: Any = sizes[0]
    for more in sizes[1:]:
        total = pc.add(total, more)
    too_large: Any = pc.greater(total, pa.scalar(MAX_CARRIED_BYTES, pa.int64()))
    place = pc.index(too_large, True).as_py()
    if place < 0:
        return
    longest = max(range(len(sizes)), key=lambda at: sizes[at][place].as_py())
    raise InputError(
        f"row {first_index + place} carries {total[place].as_py():,} bytes, {sizes[longest][place].as_py():,} of them "
        f"in {rows.schema.names[longest]!r}; expected at most {MAX_CARRIED_BYTES:,} a row: carry less, or take long "
        "columns along when the results are written (`unembed results --carry --from`)"
    )


def _sizes(column: Any) -> Any:
    """(N,) bytes."""
    if pa.types.is_string(column.type):
        return pc.binary_length(column).cast(pa.int64()).fill_null(0)
    return pa.repeat(pa.scalar(_VALUE_BYTES, pa.int64()), len(column))
