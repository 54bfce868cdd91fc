"""Rows that hold several vectors each, opened up: `response.body.data.*.embedding` is a row for each element.

The star stands for every element of a list. The other columns of a row come along with each of its elements.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unembed.corpus.json_text import JsonText, array_of, is_json, values_of
from unembed.corpus.paths import Field, bare, bare_type, follow, is_list, parse, type_at
from unembed.errors import CorpusError

if TYPE_CHECKING:
    from unembed.corpus.table import Table

STAR: Final = "*"
_TOGETHER: Final = 2048  # rows of the opened table, or one row of the table itself

Lengths = NDArray[np.int64]


def opened_up(table: Table, *paths: str | None) -> Table:
    """The table with a row for each element of the lists that the stars stand for, in columns called by their paths.

    Two paths with stars go through their lists side by side. A row whose lists are missing or empty stays one row.
    Raises CorpusError for a star that stands for no list.
    """
    stars = {_up_to_star(path): _list_at(table, path) for path in paths if path and STAR in path.split(".")[1:]}
    if not stars:
        return table
    kinds = {name: _element_type(table, field) for name, field in stars.items()}
    schema = pa.schema([*table.schema, *(pa.field(name, kind) for name, kind in kinds.items())])

    def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        needed = dict.fromkeys([name for name in columns if name not in stars])
        needed |= dict.fromkeys(field.column for field in stars.values())
        for batch in table.batches(list(needed)):
            yield from _opened(batch, stars, columns)

    digest = hashlib.sha256("\0".join(stars).encode()).hexdigest()
    return replace(table, schema=schema, rows=None, batches=batches, digest=lambda: f"{table.digest()}:{digest}")


def _up_to_star(path: str) -> str:
    steps = path.split(".")
    return ".".join(steps[: steps.index(STAR, 1) + 1])


def _list_at(table: Table, path: str) -> Field:
    before = _up_to_star(path).removesuffix(f".{STAR}")
    field = parse(before, table.schema.names)
    kind = None if field is None else type_at(table.schema.field(field.column).type, field.steps)
    if field is None or kind is None or not (is_json(kind) or is_list(bare_type(kind))):
        raise CorpusError(f"the star of {path!r} stands for the elements of a list, but {before!r} is {kind}")
    return field


def _element_type(table: Table, field: Field) -> Any:
    kind = bare_type(type_at(table.schema.field(field.column).type, field.steps))
    return JsonText() if is_json(kind) else kind.value_type


def _opened(batch: Any, stars: dict[str, Field], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    lists = {name: _lists(follow(batch.column(field.column), field.steps)) for name, field in stars.items()}
    counts = np.maximum(1, np.max([lengths for _, lengths in lists.values()], axis=0))
    ends = np.cumsum(counts)
    first = 0
    while first < batch.num_rows:
        before = ends[first] - counts[first]
        last = max(first + 1, int(np.searchsorted(ends, before + _TOGETHER, side="right")))
        rows = np.repeat(np.arange(first, last), counts[first:last])
        place = np.arange(len(rows)) - np.repeat(ends[first:last] - counts[first:last] - before, counts[first:last])
        arrays = [
            _elements(*lists[name], rows, place) if name in lists else batch.column(name).take(pa.array(rows))
            for name in columns
        ]
        yield pa.RecordBatch.from_arrays(arrays, names=list(columns))
        first = last


def _lists(array: Any) -> tuple[Any, Lengths]:
    """The elements of all lists, one after the other, and how many each list has."""
    array = bare(array)
    if is_list(array.type):
        lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
        return array.flatten(), np.asarray(lengths, np.int64)
    found = [value if isinstance(value, list) else [] for value in values_of(array)]
    return array_of([element for value in found for element in value]), np.array([*map(len, found)], np.int64)


def _elements(values: Any, lengths: Lengths, rows: Lengths, place: Lengths) -> Any:
    starts = np.cumsum(lengths) - lengths
    return values.take(pa.array(starts[rows] + place, mask=place >= lengths[rows]))
