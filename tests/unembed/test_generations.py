"""Rows as columns: what may be left out, what is refused, and that the list of fields is one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unembed import generations
from unembed.generations import (
    SCHEMA,
    error_rows,
    from_arrow_stream,
    from_columns,
    from_json_lines,
    from_rows,
    json_lines,
    rows_of,
)
from unembed.schemas import GENERATION_FIELDS, Generation, RowStatus


def test_the_columns_are_the_fields_of_a_generation() -> None:
    # Given the value that shows one row, Then the columns have its names, its nulls and its descriptions
    assert tuple(SCHEMA.names) == GENERATION_FIELDS
    for name, field in Generation.model_fields.items():
        column = SCHEMA.field(name)
        assert column.nullable is not field.is_required()
        assert column.metadata == {b"description": str(field.description).encode()}
    # And the types are those that files and the database have
    assert [str(SCHEMA.field(name).type) for name in ("index", "tokens", "text", "status", "fluency")] == [
        "int64",
        "int32",
        "string",
        "string",
        "double",
    ]


def test_what_is_left_out_is_null_and_one_value_is_for_all_rows() -> None:
    # Given some columns, as lists, arrays, and one value for all
    rows = from_columns(
        [7, 8], text=["a", "b"], status=RowStatus.OK, fluency=np.array([0.5, 0.25]), tokens=pa.array([3, None])
    )
    # When the rows are looked at, Then the others are null
    assert rows.schema.equals(SCHEMA, check_metadata=True)
    assert list(rows_of(rows)) == [
        Generation(index=7, text="a", status=RowStatus.OK, fluency=0.5, tokens=3),
        Generation(index=8, text="b", status=RowStatus.OK, fluency=0.25),
    ]


def test_error_rows_say_why_each_or_together() -> None:
    for code, why in (("zero_vector", "all zeros"), (["zero_vector"] * 2, ["all zeros"] * 2)):
        assert list(rows_of(error_rows(np.array([3, 5]), code, why))) == [
            Generation(index=index, status=RowStatus.ERROR, error_code="zero_vector", error="all zeros")
            for index in (3, 5)
        ]


def test_no_rows_are_columns_too() -> None:
    assert from_columns([]).num_rows == 0


def test_half_of_a_surrogate_pair_becomes_a_question_mark() -> None:
    # Given what Python calls a text and no encoding has, When rows are made, Then the rest of the text is kept
    rows = from_columns([0, 1], text=["a\ud83d", "b"], id="\ud83d", status="ok")
    assert [(row.text, row.id) for row in rows_of(rows)] == [("a?", "?"), ("b", "?")]


NUMBERS = st.none() | st.floats()
TEXTS = st.none() | st.text()
ROWS = st.builds(
    Generation,
    index=st.integers(0, 2**62),
    id=TEXTS,
    text=TEXTS,
    tokens=st.none() | st.integers(0, 2**31 - 1),
    fluency=NUMBERS,
    decode_ms=NUMBERS,
    off_manifold=st.none() | st.booleans(),
)


@given(st.lists(ROWS, max_size=5))
def test_json_lines_are_those_of_the_rows_to_the_byte(rows: list[Generation]) -> None:
    # Given any rows, with any text and number, When they are written as lines, Then each is as it writes itself
    assert json_lines(from_rows(rows)) == b"".join(row.model_dump_json().encode() + b"\n" for row in rows)


@pytest.mark.parametrize("together", [1, 2, 3, 100])
def test_json_lines_are_the_same_however_many_become_text_at_once(
    together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given part of a batch, of which some texts need escapes, some do not, and some columns are empty in places
    monkeypatch.setattr(generations, "_TOGETHER", together)
    rows = from_columns(
        range(7),
        status="ok",
        text=["a", 'b"', None, "c\\", "\x1f", "\x7f\x85", "d,e"],
        fluency=[None, float("nan"), 1.0, None, 1e-7, 1e16, -0.0],
        tokens=[None, 1, 2, 3, None, 5, 6],
        off_manifold=[True, None, False, True, None, None, None],
    ).slice(1)
    # When it is written, Then each line is as its row writes itself
    assert json_lines(rows) == b"".join(row.model_dump_json().encode() + b"\n" for row in rows_of(rows))
    assert json_lines(rows.slice(0, 0)) == b""


def test_lines_and_streams_become_columns_again() -> None:
    rows = from_columns([3, 4], status="ok", text=["a\u2028\x85b", "猫"], off_manifold=[True, None])
    assert from_json_lines(json_lines(rows)).equals(rows)
    assert from_arrow_stream(stream(rows)).equals(rows)


def stream(*batches: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not a readable Arrow stream"),
        (b"no stream", "not a readable Arrow stream"),
        (stream(from_columns([1], status="ok"))[:-200], "not a readable Arrow stream"),
        (stream(*[from_columns([1], status="ok")] * 2), "2 record batches; expected 1"),
        (stream(pa.record_batch({"index": [1], "txt": ["a"]})), "expected the columns index, id, .*; got index, txt"),
    ],
)
def test_a_stream_of_something_else_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        from_arrow_stream(data)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"status": "ok", "txt": ["a", "b"]}, "no column 'txt'; expected some of index, id, text"),
        ({"status": "ok", "text": ["a"]}, "the column 'text' has 1 values for 2 rows"),
        ({}, "the column 'status' lacks 2 of its 2 values"),
        ({"status": ["ok", None]}, "the column 'status' lacks 1 of its 2 values"),
    ],
)
def test_columns_that_do_not_fit_are_refused_by_name(columns: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        from_columns([0, 1], **columns)
