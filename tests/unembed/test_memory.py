from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import BaseModel

from unembed.corpus import Coding, as_corpus, corpus_from_array
from unembed.errors import CorpusError

V = np.arange(12, dtype=np.float32).reshape(4, 3) / 8
IDS = ("a", "b", "c", "d")


class Foreign:
    """An object of a library that nobody here knows, and that speaks Arrow's protocol."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


class Row(NamedTuple):
    key: str
    vector: np.ndarray


class Point(BaseModel):
    """As clients of vector stores return them."""

    id: str
    payload: dict[str, Any]
    vector: list[float]


def _batches() -> Iterator[np.ndarray]:
    yield V[:1]
    yield V[1:]


def _pairs() -> Iterator[Any]:
    yield V[:1], ["a"]
    yield V[1:].tolist(), np.array(["b", "c", "d"])


def table() -> pa.Table:
    return pa.table({"id": list(IDS), "embedding": V.tolist()})


HELD: dict[str, Callable[[], Any]] = {
    "array": lambda: V,
    "Fortran": lambda: np.asfortranarray(V),
    "(N, 1, D)": lambda: V[:, None, :],
    "(N, D, 1)": lambda: V[..., None],
    "(1, N, D)": lambda: V[None],
    "objects": lambda: np.array([*V, None], dtype=object)[:-1],
    "objects of lists": lambda: np.array([*V.tolist(), None], dtype=object)[:-1],
    "a matrix of objects": lambda: V.astype(object),
    "integers": lambda: V * 8,
    "tensor": lambda: torch.tensor(V),
    "tensor with a gradient": lambda: torch.tensor(V, requires_grad=True),
    "bfloat16": lambda: torch.tensor(V).bfloat16(),
    "list of tensors": lambda: [torch.tensor(row, requires_grad=True) for row in V],
    "list of arrays": lambda: list(V),
    "lists": lambda: V.tolist(),
    "text": lambda: np.array([str(row) for row in V.tolist()]),
    "iterator of rows": lambda: iter(V),
    "iterator of batches": _batches,
    "iterator of tensors": lambda: (torch.tensor(batch) for batch in _batches()),
    "list of Arrow's rows": lambda: [pa.array(row) for row in V],
    "Arrow array": lambda: pa.array(V.tolist()),
    "chunked array": lambda: pa.chunked_array([V[:1].tolist(), V[1:].tolist()]),
    "masked": lambda: np.ma.masked_invalid(V),
}
WITH_IDS: dict[str, Callable[[], Any]] = {
    "pairs": _pairs,
    "table": table,
    "batch": lambda: table().to_batches()[0],
    "batches": lambda: iter(table().to_batches(max_chunksize=3)),
    "Arrow's protocol": lambda: Foreign(table()),
    "reader": lambda: table().to_reader(),
    "rows as dicts": lambda: table().to_pylist(),
    "an iterator of rows": lambda: iter(table().to_pylist()),
    "rows of tensors": lambda: ({"id": id_, "embedding": torch.tensor(row)} for id_, row in zip(IDS, V, strict=True)),
    "named tuples": lambda: [Row(id_, row) for id_, row in zip(IDS, V, strict=True)],
    "models": lambda: [Point(id=id_, payload={"a": 1}, vector=row) for id_, row in zip(IDS, V.tolist(), strict=True)],
    "batches of columns": lambda: [{"id": list(IDS[:3]), "emb": V[:3]}, {"id": IDS[3:], "emb": V[3:].tolist()}],
    "columns as a dict": lambda: {"ids": list(IDS), "embeddings": V, "documents": None, "included": ["x"]},
    "vectors by their ids": lambda: dict(zip(IDS, V.tolist(), strict=True)),
}


@pytest.mark.parametrize("held", HELD)
def test_vectors_are_taken_as_they_are_held(held: str) -> None:
    # Given the same vectors in another object, with ids beside them of which one is missing
    corpus = as_corpus(HELD[held](), ids=["a", None, 3, float("nan")])
    # When it is a corpus, Then it has these vectors, however often it is read
    for _ in range(2):
        (batch,) = corpus.batches(10)
        np.testing.assert_array_equal(batch.embeddings, V * (8 if held == "integers" else 1))
        assert batch.ids == ("a", None, "3", None)
    assert corpus.bad.without_id == 2
    assert corpus.fingerprint == as_corpus(HELD[held](), ids=["a", None, 3, None]).fingerprint


@pytest.mark.parametrize("held", WITH_IDS)
def test_ids_come_along_with_their_vectors(held: str) -> None:
    (batch,) = corpus_from_array(WITH_IDS[held]()).batches(10)
    np.testing.assert_array_equal(batch.embeddings, V)
    assert batch.ids == IDS


def test_one_vector_is_a_corpus_of_one_row() -> None:
    for vector in (V[0], V[0].tolist(), torch.tensor(V[0]), tuple(V[0].tolist())):
        corpus = corpus_from_array(vector)
        assert (corpus.rows, corpus.dim) == (1, 3)


def test_rows_in_memory_that_are_no_vectors_cost_nothing_but_themselves() -> None:
    # Given rows of which some are None, empty, of another length or of text
    rows = [V[0], None, [], [1.0], "x", *V[1:].tolist()]
    for held in (
        rows,
        np.array(rows, dtype=object),
        iter(rows),
        pa.array([None if row is None or isinstance(row, str) else list(row) for row in rows]),
    ):
        # When they are read, Then these rows are not finite, and counted
        corpus = corpus_from_array(held)
        (batch,) = corpus.batches(10)
        assert np.isfinite(batch.embeddings).all(axis=1).tolist() == [True, *[False] * 4, *[True] * 3]
        assert len(corpus.bad) == 4


def test_quantised_arrays_are_read_with_a_stated_meaning() -> None:
    assert next(corpus_from_array(np.array([[-3, 5]], np.int8)).batches(1)).embeddings.tolist() == [[-3, 5]]
    read = corpus_from_array(np.array([[125, 133]], np.uint8), cells=Coding.UINT8)
    assert next(read.batches(1)).embeddings.tolist() == [[-3, 5]]
    bits = corpus_from_array(np.array([[0b10000001]], np.uint8), cells=Coding.BINARY)
    assert (bits.dim, next(bits.batches(1)).embeddings.tolist()) == (8, [[1, *[-1] * 6, 1]])
    assert "expect half of the words" in bits.notes[0]
    with pytest.raises(CorpusError, match=r"uint8 values.*--cells"):
        corpus_from_array(np.array([[125, 133]], np.uint8))


@pytest.mark.parametrize(
    ("held", "says"),
    [
        (np.zeros((2, 2, 2)), r"shape \(2, 2, 2\)"),
        (5, "not int"),
        ("text.parquetx", "does not exist"),
        ([[1.0], "x", None, [2.0, 3.0]], None),
        ([True, False], "row 0 is True, no vector"),
    ],
)
def test_what_is_no_corpus_is_refused_in_one_line(held: Any, says: str | None) -> None:
    if says is None:
        assert as_corpus(held).dim in (1, 2)
        return
    with pytest.raises(CorpusError, match=says):
        as_corpus(held)


def test_series_and_frames_of_pandas_are_read() -> None:
    pd = pytest.importorskip("pandas", reason="pandas is no dependency: it hands its frames over by itself")
    series = [pd.Series(list(V)), pd.Series(V.tolist(), dtype=object), pd.Series([*V, None])[:4]]
    frame = pd.DataFrame({"id": pd.Categorical(IDS), "embedding": list(V), "mixed": [1, "x", None, [2]]})
    for held in (*series, frame, frame.set_index("id"), pd.DataFrame(np.tile(V, (1, 3)))):
        (batch,) = corpus_from_array(held).batches(10)
        np.testing.assert_array_equal(batch.embeddings[:, :3], V)
        assert batch.ids == (IDS if "id" in [*getattr(held, "columns", []), held.index.name] else None)
    # And rows that were picked from a frame keep their index
    assert next(corpus_from_array(frame[["embedding"]].iloc[2:]).batches(10)).ids == ("2", "3")


def test_series_and_frames_of_polars_are_read() -> None:
    pl = pytest.importorskip("polars", reason="Polars is no dependency: it hands its frames over by itself")
    ids = pl.Series("id", IDS, dtype=pl.Categorical)
    for vectors in (pl.Series("embedding", V.tolist()), pl.Series("embedding", V, dtype=pl.Array(pl.Float32, 3))):
        np.testing.assert_array_equal(next(corpus_from_array(vectors).batches(10)).embeddings, V)
        (batch,) = corpus_from_array(pl.DataFrame([ids, vectors])).batches(10)
        np.testing.assert_array_equal(batch.embeddings, V)
        assert batch.ids == IDS
