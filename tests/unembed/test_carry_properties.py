"""What holds for columns of any kind that go along, however they are cut."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from unembed.corpus import Corpus
from unembed.corpus.table import Table
from unembed.generations import from_columns, json_objects
from unembed.results import Layout
from unembed.results.json_lines import json_cells
from unembed.schemas import RowStatus

ROWS = 40

_FLOATS = st.one_of(st.none(), st.floats(allow_nan=True, width=64))


@settings(max_examples=60, deadline=None)
@given(
    chosen=st.sets(st.integers(0, ROWS - 1), min_size=1),
    source_size=st.integers(1, ROWS),
    result_size=st.integers(1, ROWS),
)
def test_each_row_has_its_own_however_source_and_results_are_cut(
    chosen: set[int], source_size: int, result_size: int
) -> None:
    # Given results of some rows, in batches of any size, and a source in batches of another
    held = pa.table({"n": pa.array([f"n{index}" for index in range(ROWS)])})
    table = Table("it", held.schema, ROWS, lambda names: iter(held.select(list(names)).to_batches(source_size)), str)
    corpus = Corpus("it", ROWS, 2, np.dtype(np.float32), lambda: iter(()), str, table=table)
    indices = sorted(chosen)
    batches = [
        from_columns(indices[first : first + result_size], status=RowStatus.OK)
        for first in range(0, len(indices), result_size)
    ]
    # When they are brought together, Then each has the row of the source that has its index
    rows = [row for batch in Layout.beside(corpus, ["n"]).of(batches) for row in batch.to_pylist()]
    assert [(row["index"], row["n"]) for row in rows] == [(index, f"n{index}") for index in indices]


@settings(max_examples=100, deadline=None)
@given(
    values=st.one_of(
        st.lists(st.one_of(st.none(), st.text(max_size=8)), min_size=1, max_size=6),
        st.lists(_FLOATS, min_size=1, max_size=6),
        st.lists(st.one_of(st.none(), st.lists(_FLOATS, max_size=4)), min_size=1, max_size=6),
        st.lists(st.one_of(st.none(), st.lists(st.integers(-9, 9), max_size=4)), min_size=1, max_size=6),
        st.lists(st.one_of(st.none(), st.fixed_dictionaries({"a": _FLOATS, "b": st.text(max_size=3)})), min_size=1),
        st.lists(st.booleans(), min_size=1, max_size=6),
    ),
    name=st.text(min_size=1, max_size=5),
    start=st.integers(0, 3),
)
def test_a_value_in_json_is_the_value_and_what_json_lacks_is_null(values: list[Any], name: str, start: int) -> None:
    # Given a column of any kind, or a view into one, When it is written as JSON
    column = pa.array(values)[start:]
    lines = json_objects([name], [json_cells(column)], len(column))
    # Then each line has its value, and null where that is NaN or infinite
    assert lines.count(b"\n") == len(column)
    found = [json.loads(line)[name] for line in lines.split(b"\n")[:-1]]
    assert found == [_plain(value) for value in values[start:]]


def _plain(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case list():
            return [_plain(each) for each in value]
        case dict():
            return {key: _plain(each) for key, each in value.items()}
    return value
