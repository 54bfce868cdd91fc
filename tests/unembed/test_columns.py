from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unembed.corpus import Corpus, corpus_from_array, open_corpus
from unembed.corpus.columns import choose_columns
from unembed.corpus.ids import read_ids
from unembed.corpus.json_text import array_of
from unembed.corpus.paths import Field, parse
from unembed.errors import CorpusError

VECTORS = [[0.5, 1.0, -1.5], [2.0, 2.5, 3.0]]


def lines(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def both(corpus: Corpus) -> tuple[list[list[float]], tuple[str | None, ...] | None]:
    (batch,) = corpus.batches(100)
    return batch.embeddings.tolist(), batch.ids


def openai(index: int) -> dict[str, Any]:
    data = [{"object": "embedding", "index": 0, "embedding": VECTORS[index]}]
    body = {"object": "list", "data": data, "model": "m", "usage": {"total_tokens": 3}}
    response = {"status_code": 200, "request_id": f"r{index}", "body": body}
    return {"id": f"batch_{index}", "custom_id": f"doc-{index}", "response": response, "error": None}


SHAPES: dict[str, tuple[list[Any], str, list[str | None] | None]] = {
    "OpenAI's batch output": ([openai(0), openai(1)], "response.body.data.0.embedding", ["doc-0", "doc-1"]),
    "OpenAI's answers": ([openai(i)["response"]["body"] for i in (0, 1)], "data.0.embedding", None),
    "a list of one object": ([{"data": [{"embedding": v}]} for v in VECTORS], "data.0.embedding", None),
    "Qdrant": ([{"id": i, "vector": v, "payload": {"t": 1}} for i, v in enumerate(VECTORS)], "vector", ["0", "1"]),
    "Qdrant, named": (
        [{"id": i, "vector": {"dense": v, "sparse": {"indices": [3], "values": [0.5]}}} for i, v in enumerate(VECTORS)],
        "vector.dense",
        ["0", "1"],
    ),
    "Pinecone": (
        [
            {"id": f"p{i}", "values": v, "sparse_values": {"indices": [1], "values": [0.1]}, "metadata": {"n": [1.5]}}
            for i, v in enumerate(VECTORS)
        ],
        "values",
        ["p0", "p1"],
    ),
    "Weaviate": (
        [{"uuid": f"u{i}", "vectors": {"default": v}} for i, v in enumerate(VECTORS)],
        "vectors.default",
        ["u0", "u1"],
    ),
    "Weaviate, GraphQL": (
        [{"text": "t", "_additional": {"id": f"w{i}", "vector": v}} for i, v in enumerate(VECTORS)],
        "_additional.vector",
        ["w0", "w1"],
    ),
    "Elasticsearch": (
        [{"_index": "i", "_id": f"e{i}", "_source": {"text": "t", "embedding": v}} for i, v in enumerate(VECTORS)],
        "_source.embedding",
        ["e0", "e1"],
    ),
    "MongoDB": ([{"_id": {"$oid": f"0{i}"}, "embedding": v} for i, v in enumerate(VECTORS)], "embedding", ["00", "01"]),
    "Milvus": ([{"pk": i, "vector": v, "$meta": {"n": 1}} for i, v in enumerate(VECTORS)], "vector", ["0", "1"]),
    "Chroma, a row a line": (
        [{"ids": f"c{i}", "embeddings": v} for i, v in enumerate(VECTORS)],
        "embeddings",
        ["c0", "c1"],
    ),
    "Cohere's answers": (
        [{"id": f"k{i}", "embeddings": {"float": [v]}} for i, v in enumerate(VECTORS)],
        "embeddings.float",
        ["k0", "k1"],
    ),
    "text": ([{"id": str(i), "embedding": json.dumps(v)} for i, v in enumerate(VECTORS)], "embedding", ["0", "1"]),
    "another name": ([{"id": i, "ada_v2": v, "tags": ["x"]} for i, v in enumerate(VECTORS)], "ada_v2", ["0", "1"]),
    "capitals": ([{"ID": i, "Embedding": v} for i, v in enumerate(VECTORS)], "Embedding", ["0", "1"]),
    "bare lists": (VECTORS, "embedding", None),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_shapes_that_are_common_are_found(tmp_path: Path, shape: str) -> None:
    # Given lines as a well-known system writes them
    rows, path, ids = SHAPES[shape]
    file = lines(tmp_path / "a.jsonl", rows)
    # When they are opened without a word, Then vectors and ids are found, and what was taken is said
    corpus = open_corpus(file)
    assert both(corpus) == (VECTORS, None if ids is None else tuple(ids))
    assert f"vectors from '{path}'" in corpus.notes[0]
    # And the path that was said leads there, too
    assert both(open_corpus(file, path))[0] == VECTORS


@pytest.mark.parametrize("shape", [name for name in SHAPES if name not in ("text", "bare lists")])
def test_they_are_found_in_columns_of_structs_as_in_json(tmp_path: Path, shape: str) -> None:
    rows, _, ids = SHAPES[shape]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert both(open_corpus(tmp_path / "a.parquet")) == (VECTORS, None if ids is None else tuple(ids))


def test_a_request_that_failed_is_an_error_row(tmp_path: Path) -> None:
    # Given a batch output with a request that has no response, one with an error as its body, and one of text
    failed = {"id": "b", "custom_id": "doc-x", "response": None, "error": {"code": "rate_limit"}}
    refused = {"id": "b", "custom_id": "doc-y", "response": {"status_code": 400, "body": {"error": {"message": "no"}}}}
    text = {"id": "b", "custom_id": "doc-z", "response": "<html>"}
    rows = [failed, openai(0), refused, openai(1), text]
    # When it is read, Then they are rows that are not finite, and the others are as they were
    corpus = open_corpus(lines(tmp_path / "a.jsonl", rows))
    (batch,) = corpus.batches(9)
    assert batch.ids == ("doc-x", "doc-0", "doc-y", "doc-1", "doc-z")
    np.testing.assert_array_equal(batch.embeddings[[1, 3]], VECTORS)
    assert np.isnan(batch.embeddings[[0, 2, 4]]).all()
    assert len(corpus.bad) == 3


def test_a_column_for_each_dimension_is_a_vector(tmp_path: Path) -> None:
    # Given a table of numbers, of which 12 are numbered
    rows = np.arange(36, dtype=np.float64).reshape(3, 12)
    columns = {f"dim_{at}": rows[:, at] for at in range(12)}
    pq.write_table(pa.table({"id": ["a", "b", "c"], "score": [1.0, 2.0, 3.0], **columns}), tmp_path / "a.parquet")
    # When it is opened, or they are named, Then they are the vectors, in the order of their numbers
    for named in (None, "dim_*"):
        corpus = open_corpus(tmp_path / "a.parquet", named)
        assert both(corpus) == (rows.tolist(), ("a", "b", "c"))
        assert "vectors from 'dim_*'" in corpus.notes[0]


def test_a_column_whose_name_has_dots_is_found_by_its_whole_name(tmp_path: Path) -> None:
    # Given a column `a.b` beside a struct `a` with a field `b`, and a field with dots
    table = pa.table({"a": [{"b": v, "c.d": v} for v in reversed(VECTORS)], "a.b": VECTORS})
    pq.write_table(table, tmp_path / "a.parquet")
    # When they are named, Then the column at the top wins
    assert both(open_corpus(tmp_path / "a.parquet", "a.b"))[0] == VECTORS
    assert both(open_corpus(tmp_path / "a.parquet", "a.c.d"))[0] == VECTORS[::-1]


@pytest.mark.parametrize(
    ("column", "path"),
    [
        (pa.array([{"b": {"c": 1}}, None, {"b": None}]), "b.c"),
        (pa.array([[{"c": 1}], [], [None]]), "0.c"),
        (pa.array([[{"c": 0}, {"c": 1}], [{"c": 5}], None]), "1.c"),
        (pa.array([[("c", 1)], [("d", 2)], None], pa.map_(pa.string(), pa.int64())), "c"),
        (pa.array(['{"b": {"c": 1}}', "{}", None]), "b.c"),
        (array_of([{"b": {"c": 1}}, {"b": "x"}, None]), "b.c"),
        (array_of([{"b": [7, 1]}, {"b": [7]}, "x"]), "b.1"),
        (
            pa.array([{"b": 1}, {"b": None}, None]).dictionary_encode() if False else pa.array([{"b": 1}, None, None]),
            "b",
        ),
    ],
)
def test_a_row_without_anything_at_a_path_is_null_there(column: Any, path: str) -> None:
    for first in (0, 1):
        rows = pa.record_batch({"a": column}).slice(first)
        field = parse(f"a.{path}", ["a"])
        assert field == Field("a", tuple(path.split(".")))
        assert field.of(rows).to_pylist() == [1, None, None][first:]


@pytest.mark.parametrize(
    ("data", "column", "says"),
    [
        ({"a": [{"b": [1.0]}]}, "a.c", "has a column 'a', but nothing at 'a.c': it has 'a.b'"),
        ({"a": [{"b": [1.0], "c": 1, "d": [2.0]}]}, "a", "has fields of its own: name one of 'a.b', 'a.d'"),
        ({"a": [{"vector": [1.0], "values": [2.0]}]}, None, "2 columns of vectors, 'a.vector', 'a.values': name one"),
        ({"x": [[1.0]], "y": [[2.0]]}, None, "2 columns of vectors, 'x', 'y': name one"),
        ({"n": [1]}, "n", "'n' of it is int64, but embeddings are lists of numbers"),
        ({"n": [1]}, "m", "it has no column 'm'; its columns are 'n'"),
        ({"n": [1]}, None, "it has no column named embedding or .*; its columns are 'n'"),
    ],
)
def test_columns_that_cannot_be_told_are_named(data: dict[str, list[Any]], column: str | None, says: str) -> None:
    with pytest.raises(CorpusError, match=says):
        choose_columns(pa.table(data).schema, column, None, "it")


IDS = {
    "integers": (pa.array([7, None]), ("7", None)),
    "floats": (pa.array([7.0, float("nan")]), ("7", None)),
    "floats that are not whole": (pa.array([0.5, None]), ("0.5", None)),
    "uuids": (pa.array([uuid.UUID(int=7).bytes, None], pa.uuid()), (str(uuid.UUID(int=7)), None)),
    "categories": (pa.array(["a", None]).dictionary_encode(), ("a", None)),
    "bytes of text": (pa.array([b"doc-1", None]), ("doc-1", None)),
    "other bytes": (pa.array([b"\xff\x00", None], pa.binary(2)), ("ff00", None)),
    "string views": (pa.array(["a" * 40, None], pa.string_view()), ("a" * 40, None)),
    "large strings": (pa.array(["é", None], pa.large_string()), ("é", None)),
    "decimals": (pa.array([7, None], pa.decimal128(20, 0)), ("7", None)),
    "dates": (pa.array([0, None], pa.date32()), ("1970-01-01", None)),
    "JSON": (array_of([7, "a", {"$oid": "b"}, [1], None, True]), ("7", "a", "b", None, None, None)),
    "what no database keeps": (pa.array(["a\0b", "a"]), (None, "a")),
    "half of a pair": (array_of(["\ud800", "a"]), (None, "a")),
}


@pytest.mark.parametrize("kind", IDS)
def test_ids_of_every_plain_type_are_strings(kind: str) -> None:
    column, expected = IDS[kind]
    assert read_ids(column) == expected
    assert read_ids(column[1:]) == expected[1:]


@pytest.mark.parametrize("values", [[True, False], [[1], [2]], [{"a": 1, "b": 2}] * 2])
def test_a_default_column_that_gives_no_ids_falls_away_and_is_named(tmp_path: Path, values: list[Any]) -> None:
    # Given a column `id` of an odd type, and another of a usual name
    table = pa.table({"id": values, "key": ["a", "b"], "embedding": VECTORS})
    pq.write_table(table, tmp_path / "a.parquet")
    # When nobody asked for it, Then the other is taken, which is said
    corpus = open_corpus(tmp_path / "a.parquet")
    assert both(corpus)[1] == ("a", "b")
    assert "the column 'id' is" in corpus.notes[1]
    # And when it was asked for, it is an error
    with pytest.raises(CorpusError, match="but ids are strings, integers"):
        open_corpus(tmp_path / "a.parquet", id_column="id")


def test_what_else_there_was_is_said(tmp_path: Path) -> None:
    table = pa.table({"id": [1, 2], "uuid": ["a", "b"], "embedding": VECTORS, "title_vec": VECTORS})
    pq.write_table(table, tmp_path / "a.parquet")
    said = open_corpus(tmp_path / "a.parquet").notes[0]
    assert said == "vectors from 'embedding', ids from 'id' (also there: vectors 'title_vec', ids 'uuid')"
    assert open_corpus(tmp_path / "a.parquet", id_column="").notes[0].startswith("vectors from 'embedding', no ids")


def test_what_was_passed_over_is_counted(tmp_path: Path) -> None:
    # Given answers of which one holds two embeddings
    rows = [{"data": [{"embedding": v} for v in vectors]} for vectors in (VECTORS[:1], VECTORS, VECTORS[1:])]
    corpus = open_corpus(lines(tmp_path / "a.jsonl", rows))
    # When they are read, Then it is the first of each, and the row with more of them is counted
    assert both(corpus)[0] == [VECTORS[0], VECTORS[0], VECTORS[1]]
    assert corpus.bad.with_more == 1


def test_floats_go_before_their_quantised_copies(tmp_path: Path) -> None:
    rows = [{"embeddings": {"int8": [1, 2, 3], "float": v}} for v in VECTORS]
    corpus = open_corpus(lines(tmp_path / "a.jsonl", rows))
    assert both(corpus)[0] == VECTORS
    assert "(also there: vectors 'embeddings.int8')" in corpus.notes[0]


def test_ids_of_a_column_of_uuids_are_written_with_dashes(tmp_path: Path) -> None:
    ids = [uuid.UUID(int=at) for at in (7, 8)]
    column = pa.array([id_.bytes for id_ in ids], pa.uuid())
    pq.write_table(pa.table({"id": column, "at": [{"id": 1}] * 2, "emb": VECTORS}), tmp_path / "a.parquet")
    assert both(open_corpus(tmp_path / "a.parquet"))[1] == tuple(map(str, ids))


def test_a_line_that_is_a_list_of_objects_is_a_document_of_rows(tmp_path: Path) -> None:
    corpus = open_corpus(lines(tmp_path / "a.jsonl", [[{"embedding": v} for v in VECTORS]]))
    assert corpus.rows == len(VECTORS)


def test_a_star_makes_a_row_of_every_element(tmp_path: Path) -> None:
    # Given answers with none, one and two embeddings, and a request that failed
    def answer(name: str, *vectors: list[float]) -> dict[str, Any]:
        data = [{"index": at, "embedding": v} for at, v in enumerate(vectors)]
        return {"custom_id": name, "response": {"body": {"data": data}}}

    failed = {"custom_id": "x", "response": None}
    rows = [answer("a", VECTORS[0]), failed, answer("b", *VECTORS), answer("c"), answer("d", VECTORS[1])]
    file = lines(tmp_path / "a.jsonl", rows)
    # When the path of the vectors has a star, Then each is a row, with the id of the row that it comes from
    corpus = open_corpus(file, "response.body.data.*.embedding")
    vectors, ids = both(corpus)
    assert ids == ("a", "x", "b", "b", "c", "d")
    assert [vectors[at] for at in (0, 2, 3, 5)] == [VECTORS[0], *VECTORS, VECTORS[1]]
    assert np.isnan([vectors[1], vectors[4]]).all()
    assert (corpus.rows, len(corpus.bad), corpus.bad.with_more) == (6, 2, 0)
    # And it is another corpus than that of the first of each
    assert corpus.fingerprint != open_corpus(file, "response.body.data.0.embedding").fingerprint


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_two_stars_go_through_their_lists_side_by_side(tmp_path: Path, name: str) -> None:
    # Given lists of ids beside lists of vectors, of which one is shorter
    rows = [{"ids": ["a", "b"], "embeddings": VECTORS, "n": 1}, {"ids": ["c"], "embeddings": VECTORS[::-1], "n": 2}]
    if name == "a.jsonl":
        lines(tmp_path / name, rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    corpus = open_corpus(tmp_path / name, "embeddings.*", "ids.*")
    assert both(corpus) == (VECTORS + VECTORS[::-1], ("a", "b", "c", None))


def test_many_elements_are_cut_into_pieces() -> None:
    # Given a row with 5,000 elements between two others
    column = [[[float(at)] for at in range(count)] for count in (1, 5000, 3)]
    table = pa.table({"id": ["a", "b", "c"], "v": column})
    corpus = corpus_from_array(table, column="v.*")
    # When they are opened up, Then none is lost, and their order is kept
    assert corpus.rows == 5004
    (batch,) = corpus.batches(9000)
    assert batch.embeddings[:, 0].tolist() == [0, *range(5000), 0, 1, 2]
    assert batch.ids == ("a", *["b"] * 5000, *["c"] * 3)


def test_a_star_that_stands_for_no_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"the star of 'a.\*.b' stands for the elements of a list, but 'a' is double"):
        corpus_from_array(pa.table({"a": [1.0]}), column="a.*.b")


@pytest.mark.parametrize(
    "document",
    [
        {f"doc-{at}": VECTORS[at % 2] for at in range(4)},
        {"vectors": {f"doc-{at}": {"values": VECTORS[at % 2], "metadata": {}} for at in range(4)}, "namespace": "n"},
        {"result": {f"doc-{at}": {"id": f"doc-{at}", "vector": VECTORS[at % 2]} for at in range(4)}},
    ],
)
def test_vectors_by_their_ids_are_rows(tmp_path: Path, document: dict[str, Any]) -> None:
    # Given a document whose keys are ids, as Pinecone's `fetch` answers, When it is opened, Then each is a row
    (tmp_path / "a.json").write_text(json.dumps(document))
    corpus = open_corpus(tmp_path / "a.json")
    for _ in range(2):
        assert both(corpus) == (VECTORS * 2, ("doc-0", "doc-1", "doc-2", "doc-3"))


def test_an_id_without_a_vector_is_an_error_row(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"a": VECTORS[0], "b": None, "c": VECTORS[1], "d": VECTORS[1]}))
    corpus = open_corpus(tmp_path / "a.json")
    assert both(corpus)[1] == ("a", "b", "c", "d")
    assert str(corpus.bad) == "row 1 is null or missing"


def test_an_object_with_two_vectors_is_one_row(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"title": VECTORS[0], "body": VECTORS[1], "id": "a"}))
    assert both(open_corpus(tmp_path / "a.json", "body")) == (VECTORS[1:], ("a",))
