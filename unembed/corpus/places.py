"""Places in a table where vectors may lie: columns, fields within them, and a column for each dimension."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from unembed.corpus.cells import is_number, is_vector_type
from unembed.corpus.json_text import is_json
from unembed.corpus.paths import Field, bare_type, is_list

_DEEPEST: Final = 8
_FEWEST: Final = 8  # columns of numbers that are taken for the dimensions of one vector
_NUMBERED: Final = re.compile(r"(.*?)(\d+)")
_MOST_SHOWN: Final = 20


@dataclass(frozen=True)
class Wide:
    """A column of numbers for each dimension; written with a star: `dim_*`."""

    prefix: str
    columns: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.prefix}*"

    def of(self, batch: Any) -> Any:
        """(N,) lists of a row's numbers."""
        numbers = [np.asarray(batch.column(name).to_numpy(zero_copy_only=False), np.float32) for name in self.columns]
        return pa.FixedSizeListArray.from_arrays(pa.array(np.stack(numbers, axis=1).reshape(-1)), len(self.columns))


def places(field: Field, kind: Any) -> Iterator[tuple[Field, Any]]:
    """The leaves of a column that may be vectors, structs opened up and lists of structs at their first element."""
    kind = kind if isinstance(kind, pa.FixedShapeTensorType) else bare_type(kind)
    if is_vector_type(kind) or may_be_text(kind) or pa.types.is_null(kind):
        yield field, kind
    elif len(field.steps) < _DEEPEST:
        if pa.types.is_struct(kind) and "indices" not in (kind.field(at).name for at in range(kind.num_fields)):
            for at in range(kind.num_fields):
                yield from places(Field(field.column, (*field.steps, kind.field(at).name)), kind.field(at).type)
        elif is_list(kind) and pa.types.is_struct(bare_type(kind.value_type)):
            yield from places(Field(field.column, (*field.steps, "0")), kind.value_type)
        elif is_list(kind):
            yield field, kind


def wide_columns(schema: Any, fewest: int = _FEWEST) -> list[Wide]:
    """Columns of numbers that are called alike and numbered without a gap from 0 or 1, the most of them first."""
    groups: dict[str, dict[int, str]] = {}
    for field in schema:
        match = _NUMBERED.fullmatch(field.name)
        if match and is_number(bare_type(field.type)):
            groups.setdefault(match[1], {})[int(match[2])] = field.name
    found = []
    for prefix, numbered in groups.items():
        order = sorted(numbered)
        if len(order) >= fewest and order[0] in (0, 1) and order[-1] - order[0] == len(order) - 1:
            found.append(Wide(prefix, tuple(numbered[number] for number in order)))
    return sorted(found, key=lambda wide: -len(wide.columns))


def may_be_text(kind: Any) -> bool:
    types = pa.types
    return bool(
        is_json(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
        or types.is_fixed_size_binary(kind)
    )


def listed(names: Sequence[object]) -> str:
    shown = [repr(str(name)) for name in names[:_MOST_SHOWN]]
    more = len(names) - len(shown)
    return ", ".join(shown + ([f"{more} more"] if more else [])) or "none"
