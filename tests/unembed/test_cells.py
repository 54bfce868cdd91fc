from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unembed.corpus import corpus_from_array, open_corpus
from unembed.corpus.cells import BadRows, fitted, read_cells
from unembed.corpus.json_text import array_of
from unembed.corpus.one_cell import CellError, Coding, vector_of
from unembed.errors import CorpusError

DIM = 12
# Whole eighths up to 16: exact in every width of floats, and far from what looks like other bytes.
MATRICES = arrays(np.int16, st.tuples(st.integers(1, 5), st.just(DIM)), elements=st.integers(-128, 128)).map(
    lambda eighths: (eighths / 8 + 1 / 16).astype(np.float32)
)
FIELDS = ("id", "embedding", "vector", "values", "indices", "size", "type", "data", "0")
FLOATS = [pa.float16(), pa.float32(), pa.float64()]


def lists(kind: pa.DataType) -> Callable[[np.ndarray], Any]:
    return lambda vectors: pa.array(vectors.tolist(), kind)


def texts(write: Callable[[list[float]], str]) -> Callable[[np.ndarray], Any]:
    return lambda vectors: pa.array([write(row) for row in vectors.tolist()])


def encoded(dtype: str) -> Callable[[np.ndarray], list[bytes]]:
    return lambda vectors: [row.astype(dtype).tobytes() for row in vectors]


def duckdb_array(vectors: np.ndarray) -> Any:
    """As `COPY` of DuckDB 1.2 and earlier writes FLOAT[384]."""
    return pa.array([[{"element": value} for value in row] for row in vectors.tolist()])


def spark(vectors: np.ndarray, *, sparse: bool = False) -> Any:
    rows = []
    for row in vectors.tolist():
        if sparse:
            rows.append({"type": 0, "size": DIM, "indices": list(range(DIM)), "values": row})
        else:
            rows.append({"type": 1, "size": None, "indices": None, "values": row})
    kind = pa.struct(
        [
            ("type", pa.int8()),
            ("size", pa.int32()),
            ("indices", pa.list_(pa.int32())),
            ("values", pa.list_(pa.float64())),
        ]
    )
    return pa.array(rows, kind)


def dictionary(vectors: np.ndarray) -> Any:
    return pa.array([json.dumps(row) for row in vectors.tolist()]).dictionary_encode()


def sliced(write: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray], Any]:
    """The same, as rows in the middle of a longer column."""
    return lambda vectors: write(np.concatenate([vectors[:1] * 3, vectors, vectors[:1] * 2]))[1 : 1 + len(vectors)]


def brackets(row: list[float], opening: str, closing: str, comma: str = ",") -> str:
    return opening + comma.join(map(str, row)) + closing


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    **{f"list<{kind}>": lists(pa.list_(kind)) for kind in FLOATS},
    "list<decimal>": lambda vectors: pa.array([list(map(Decimal, row)) for row in vectors.tolist()]),
    **{f"fixed<{kind}>": lists(pa.list_(kind, DIM)) for kind in FLOATS},
    "large_list": lists(pa.large_list(pa.float32())),
    "list_view": lists(pa.list_view(pa.float32())),
    "large_list_view": lists(pa.large_list_view(pa.float64())),
    "tensor": pa.FixedShapeTensorArray.from_numpy_ndarray,
    "tensor (1, D)": lambda vectors: pa.FixedShapeTensorArray.from_numpy_ndarray(vectors[:, None, :]),
    "array2d (1, D)": lambda vectors: pa.array(vectors[:, None].tolist(), pa.list_(pa.list_(pa.float32()))),
    "array2d (D, 1)": lambda vectors: pa.array(vectors[..., None].tolist(), pa.list_(pa.list_(pa.float32()))),
    "fixed of fixed": lambda vectors: pa.array(vectors[:, None].tolist(), pa.list_(pa.list_(pa.float32(), DIM), 1)),
    "list of list[1]": lambda vectors: pa.array(vectors[:, None].tolist(), pa.large_list(pa.large_list(pa.float64()))),
    "duckdb": duckdb_array,
    "list of numeric strings": lambda vectors: pa.array([list(map(str, row)) for row in vectors.tolist()]),
    "struct of one": lambda vectors: pa.array([{"values": row} for row in vectors.tolist()]),
    "spark dense": spark,
    "spark sparse": lambda vectors: spark(vectors, sparse=True),
    "json": texts(json.dumps),
    "json nested": texts(lambda row: json.dumps([row])),
    "json spaced": texts(lambda row: f"  {json.dumps(row, indent=1)}\n"),
    "json text": lambda vectors: array_of([*vectors.tolist(), "x"])[:-1],
    "pgvector": texts(lambda row: brackets(row, "[", "]")),
    "postgres": texts(lambda row: brackets(row, "{", "}")),
    "tuple": texts(lambda row: brackets(row, "(", ")", ", ")),
    "numpy": texts(lambda row: np.array2string(np.array(row), threshold=10**6)),
    "numpy repr": texts(lambda row: repr(np.array(row, np.float32))),
    "tensor repr": texts(lambda row: f"tensor({row})"),
    "bare commas": texts(lambda row: brackets(row, "", "")),
    "bare spaces": texts(lambda row: brackets(row, "", "", " ")),
    "sparsevec": texts(lambda row: "{" + ",".join(f"{at}:{x}" for at, x in enumerate(row, 1)) + f"}}/{DIM}"),
    "string_view": lambda vectors: pa.array([json.dumps(row) for row in vectors.tolist()], pa.string_view()),
    "categories of text": dictionary,
    **{f"bytes {dtype}": lambda v, d=dtype: pa.array(encoded(d)(v)) for dtype in ("<f2", "<f4", "<f8")},
    "fixed bytes": lambda vectors: pa.array(encoded("<f4")(vectors), pa.binary(4 * DIM)),
    "large bytes": lambda vectors: pa.array(encoded("<f4")(vectors), pa.large_binary()),
    "binary_view": lambda vectors: pa.array(encoded("<f4")(vectors), pa.binary_view()),
    "base64 f4": lambda vectors: pa.array([base64.b64encode(data).decode() for data in encoded("<f4")(vectors)]),
    "base64 f8": lambda vectors: pa.array([base64.b64encode(data).decode() for data in encoded("<f8")(vectors)]),
    "base64 for urls": lambda v: pa.array(
        [base64.urlsafe_b64encode(d).decode().rstrip("=") for d in encoded("<f4")(v)]
    ),
    "base64 in lines": lambda vectors: pa.array(
        [base64.encodebytes(data).decode() for data in encoded("<f4")(vectors)]
    ),
    "bytea": texts(lambda row: "\\x" + np.array(row, "<f4").tobytes().hex()),
}


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=15, deadline=None)
@given(vectors=MATRICES)
def test_a_vector_comes_back_from_every_form_that_it_may_be_written_in(form: str, vectors: np.ndarray) -> None:
    for write in (FORMS[form], sliced(FORMS[form])):
        got, reasons = fitted(read_cells(write(vectors), dim=DIM), DIM, np.dtype(np.float32))
        assert reasons == {}
        np.testing.assert_array_equal(got, vectors)


@pytest.mark.parametrize("form", FORMS)
def test_the_dimension_is_found_in_every_form(form: str) -> None:
    # Given unit vectors, as embeders make them, When nobody says their dimension, Then it is told from the cells
    vectors = np.random.default_rng(1).normal(size=(50, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert set(read_cells(FORMS[form](vectors.round(4))).lengths.tolist()) == {DIM}


@pytest.mark.parametrize("form", FORMS)
def test_a_null_costs_its_own_row_in_every_form(form: str) -> None:
    # Given a column with a null between two vectors
    vectors = np.full((2, DIM), 0.125, np.float32)
    column = FORMS[form](vectors)
    holed = (
        column.take(pa.array([0, None, 1]))
        if "view" not in form
        else pa.array([*column.to_pylist(), None], column.type)
    )
    # When it is read, Then its row is NaN, and the others are as they were
    got, reasons = fitted(read_cells(holed), DIM, np.dtype(np.float32))
    assert list(reasons.values()) == ["is null or missing"]
    assert np.isnan(got).all(axis=1).sum() == 1
    assert (got == 0.125).all(axis=1).sum() == 2


def test_floats_are_told_from_each_other_by_their_bytes() -> None:
    # Given bytes of vectors as embedders make them, of several widths
    vectors = np.random.default_rng(2).normal(size=(20, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for dtype in ("<f2", "<f4", "<f8"):
        for row in vectors:
            # When nobody says what they are, Then they are taken for what they are
            np.testing.assert_array_equal(vector_of(row.astype(dtype).tobytes()), row.astype(dtype))
    # And doubles that came of short floats are not taken for floats with zeros between them
    assert len(vector_of(vectors[0].astype(np.float16).astype("<f8").tobytes())) == 384


@pytest.mark.parametrize("data", [np.arange(-100, 100, dtype=np.int8), np.arange(200, dtype=np.uint8)])
def test_bytes_that_are_no_floats_are_not_guessed(data: np.ndarray) -> None:
    with pytest.raises(CellError, match="say what they are with --cells"):
        vector_of(np.random.default_rng(3).permutation(data).tobytes())


def test_quantised_cells_are_read_with_a_stated_meaning() -> None:
    # Given a vector that was rounded to a byte a value, and to a bit
    signs = np.array([1, -1, -1, 1, 1, 1, -1, 1, -1, -1, -1, 1, 1, -1, -1, -1], np.float32)
    packed = np.packbits(signs > 0)
    # When their meaning is said, Then they are vectors: of bytes, of lists, of text
    for cell in (packed.tobytes(), packed.tolist(), [int(byte) - 128 for byte in packed], "1001110100011000"):
        np.testing.assert_array_equal(vector_of(cell, Coding.BINARY), signs)
    np.testing.assert_array_equal(vector_of(np.array([-3, 5], np.int8).tobytes(), Coding.INT8), [-3, 5])
    np.testing.assert_array_equal(vector_of([125, 133], Coding.UINT8), [-3, 5])
    column = pa.array([[125, 133]], pa.list_(pa.uint8()))
    np.testing.assert_array_equal(read_cells(column, Coding.UINT8).values, [-3, 5])
    # And bfloat16 has no bytes of its own kind, but can be said
    bf16 = (np.array([0.5, -2.0], np.float32).view(np.uint32) >> 16).astype("<u2")
    np.testing.assert_array_equal(vector_of(bf16.tobytes(), Coding.BFLOAT16), [0.5, -2.0])


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        (None, "is null or missing"),
        ("", "is empty"),
        ([], "is empty"),
        (b"", "is empty"),
        (5, "is 5, no vector"),
        ("hello", "is the text 'hello': neither a list of numbers nor base64"),
        ("[0.1 0.2 ... 0.9]", "was shortened when it was printed"),
        ("[0.1, 0.2, 0.", "is cut short: a bracket in its text is never closed"),
        ([[1.0, 2.0], [3.0, 4.0]], "holds 2 vectors; expected one"),
        ("[[1, 2], [3, 4]]", "holds 2 vectors; expected one"),
        ([1.0, "x"], "has the value 'x', but embeddings are numbers"),
        ([1.0, True], "has the value True"),
        ({"indices": [1], "values": [2.0]}, "is a sparse vector without its size"),
        ({"size": 2, "indices": [7], "values": [2.0], "type": 0}, "is a sparse vector that is damaged"),
        ({"a": 1, "b": 2}, "is an object with"),
        ("{1:2,9:3}/4", "is a sparse vector that is damaged"),
    ],
)
def test_a_cell_that_holds_no_vector_says_why(cell: Any, says: str) -> None:
    with pytest.raises(CellError) as refused:
        vector_of(cell)
    assert says in str(refused.value)


def test_numbers_of_other_systems_are_numbers() -> None:
    # Given MongoDB's extended JSON, DynamoDB's, decimals and an integer that no float holds
    assert vector_of([{"$numberDouble": "0.5"}, {"$numberInt": "2"}]).tolist() == [0.5, 2]
    assert vector_of([{"N": "0.5"}, Decimal("0.25")]).tolist() == [0.5, 0.25]
    assert vector_of([10**400, -(10**400), 1e300]).tolist() == [np.inf, -np.inf, np.inf]


def test_columns_of_lists_are_not_copied(tmp_path: Path) -> None:
    # Given vectors in lists of a fixed length, of any length, and in lists of one list
    flat = pa.array(np.arange(40, dtype=np.float32))
    offsets = pa.array(range(0, 41, 4), pa.int32())
    fixed, free = pa.FixedSizeListArray.from_arrays(flat, 4), pa.ListArray.from_arrays(offsets, flat)
    nested = pa.FixedSizeListArray.from_arrays(fixed, 1)
    for column in (fixed, free, nested):
        # When they are read, Then they are views of Arrow's memory
        got, _ = fitted(read_cells(column[2:5]), 4, np.dtype(np.float32))
        assert np.shares_memory(got, flat.to_numpy())
        np.testing.assert_array_equal(got.reshape(-1), np.arange(8, 20))


@pytest.mark.parametrize(
    "rows",
    [
        [[0.5] * 4, [], [0.5] * 4],
        [[0.5] * 4, None, [0.5] * 4],
        [[0.5] * 4, [0.5] * 3, [0.5] * 4],
        [[0.5] * 4, [0.5] * 5, [0.5] * 4],
        [[0.5] * 4, "[0.5", [0.5] * 4],
        [[0.5] * 4, 7, "[0.5, 0.5, 0.5, 0.5]"],
        [[0.5] * 4, {"error": "rate limit"}, [0.5] * 4],
        [[0.5] * 4, [[0.5] * 4, [0.5] * 4], [0.5] * 4],
    ],
)
def test_one_bad_row_sinks_no_corpus(tmp_path: Path, rows: list[Any]) -> None:
    # Given lines of which one holds no vector
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"embedding": row}) + "\n" for row in rows))
    corpus = open_corpus(tmp_path / "a.jsonl")
    # When the corpus is read, Then that row is not finite, and counted once, however often it is read
    for _ in range(2):
        (batch,) = corpus.batches(10)
        assert [bool(np.isfinite(row).all()) for row in batch.embeddings] == [True, False, True]
        assert len(corpus.bad) == 1
        assert str(corpus.bad) == f"row 1 {batch.faults[1]}"
    # And its batch takes the reason along, however it is cut
    assert [list(each.faults) for each in corpus.batches(1)] == [[], [0], []]


def test_lines_that_are_no_json_cost_their_own_rows(tmp_path: Path) -> None:
    # Given a file with a damaged line, a number and a line without the key
    lines = ['{"id": "a", "vector": [1, 2]}', '{"id": "b", "vec', "5", '{"id": "d"}', '{"id": "e", "vector": [3, 4]}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    # When it is read, Then they are bad rows with a reason each
    corpus = open_corpus(tmp_path / "a.jsonl")
    (batch,) = corpus.batches(10)
    assert batch.ids == ("a", None, None, "d", "e")
    np.testing.assert_array_equal(batch.embeddings[[0, 4]], [[1, 2], [3, 4]])
    assert len(corpus.bad) == 3
    assert "row 1 is not JSON" in str(corpus.bad)


def test_the_dimension_is_that_of_most_rows(tmp_path: Path) -> None:
    # Given rows of which the first has another dimension than the rest
    column = pa.array([[1.0], *[[1.0, 2.0]] * 5], pa.list_(pa.float32()))
    pq.write_table(pa.table({"emb": column}), tmp_path / "a.parquet")
    # When they are read, Then most decide, which is said
    corpus = open_corpus(tmp_path / "a.parquet")
    list(corpus.batches(4))
    assert corpus.dim == 2
    assert "2 dimensions, as 5 of the first 6 vectors have" in corpus.notes[-1]
    assert str(corpus.bad) == "row 0 has 1 value instead of 2"


def test_what_is_wrong_is_told_in_constant_memory() -> None:
    bad = BadRows()
    for row in range(1000):
        bad.add(row, f"is the text '{row}'")
    assert len(bad) == 1000
    assert len(bad.counts) <= 101
    assert "row 100 and 899 more: cannot be read either" in str(bad)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.text("[]{}(),.:/\\x0123456789eE-+ =", max_size=30),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(
    cell=JSON | st.binary(max_size=40), coding=st.none() | st.sampled_from(Coding), dim=st.none() | st.integers(1, 9)
)
def test_whatever_a_cell_holds_it_is_a_vector_or_says_why_not(
    cell: Any, coding: Coding | None, dim: int | None
) -> None:
    with suppress(CellError):
        vector = vector_of(cell, coding, dim)
        assert vector.ndim == 1
        assert len(vector) > 0
        assert vector.dtype.kind == "f"


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4), min_size=1, max_size=6),
    cells=st.none() | st.sampled_from(Coding),
)
def test_whatever_rows_hold_they_are_a_corpus_or_say_why_not(rows: list[Any], cells: Coding | None) -> None:
    with suppress(CorpusError):
        corpus = corpus_from_array(rows, cells=cells)
        (batch,) = corpus.batches(10)
        assert batch.embeddings.shape == (corpus.rows, corpus.dim)  # lists that are opened have a row for each element
        assert np.isnan(batch.embeddings).all(axis=1).sum() >= len(corpus.bad)
