"""Texts with their embeddings, from whatever holds them."""

from __future__ import annotations

import gzip
import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from tests.models.decoder.toy import DIM, TEXTS, vectors
from unembed.errors import InputError
from unembed.models.evaluation.text_sets import Library, Read, TextSet, read_set, shown_word

VECTORS = vectors()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(word: str, rows: int | None = None) -> tuple[Read, list[str]]:
    """The set that a word names, and what was said of it."""
    said: list[str] = []
    return read_set(TextSet.parse(word), said.append, rows), said


def table(text: str = "text", embedding: str = "embedding", **more: Any) -> pa.Table:
    columns = {"id": range(len(TEXTS)), text: TEXTS, embedding: list(VECTORS), **more}
    return pa.table({name: pa.array(values) for name, values in columns.items()})


def are_the_toys(found: Read) -> bool:
    return found.texts == TEXTS and found.vectors is not None and bool(np.allclose(found.vectors, VECTORS, atol=1e-3))


def test_texts_and_vectors_are_columns_of_one_file(here: Path) -> None:
    pq.write_table(table(), here / "docs.parquet")
    feather.write_feather(table(), here / "docs.arrow")  # type: ignore[no-untyped-call]
    lines = [json.dumps({"text": text, "embedding": one.tolist()}) for text, one in zip(TEXTS, VECTORS, strict=True)]
    (here / "docs.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    (here / "shards").mkdir()
    for part in (0, 1):
        pq.write_table(table().slice(part * 18, 18), here / "shards" / f"part-{part}.parquet")
    for word in ("docs.parquet", "docs.arrow", "docs.jsonl.gz", "shards", "shards/*.parquet", "file.parquet=shards"):
        found, said = read(word)
        assert are_the_toys(found), word
        assert "texts from 'text', vectors from 'embedding'" in said[0], word


def test_they_are_found_by_other_names_too_and_named_where_they_cannot_be(here: Path) -> None:
    # Given columns of unusual names, beside others that might be meant
    others = {"summary": [f"of {text}" for text in TEXTS], "small": [[1.0]] * len(TEXTS)}
    pq.write_table(table("wording", "ada", **others), here / "odd.parquet")
    # When they are not named, Then it is said what there is, and how to name it
    with pytest.raises(InputError, match=r"no column of texts that could be found; .*'wording'.*SOURCE:TEXT_COLUMN"):
        read("odd.parquet")
    with pytest.raises(InputError, match=r"2 columns of vectors, 'ada', 'small': name one with :COLUMN after"):
        read("odd.parquet:wording")
    with pytest.raises(InputError, match="has no column 'worded' for the texts; its columns are 'id', 'wording'"):
        read("odd.parquet:worded:ada")
    # When they are named, Then they are read
    assert are_the_toys(read("odd.parquet:wording:ada")[0])
    # And the only column of texts need not be named
    pq.write_table(table("wording", "ada"), here / "odd.parquet")
    assert are_the_toys(read("odd.parquet")[0])


def test_the_text_may_lie_within_a_payload(here: Path) -> None:
    payloads = [json.dumps({"page": 1, "text": text}) for text in TEXTS]
    pq.write_table(table("payload").set_column(1, "payload", pa.array(payloads)), here / "points.parquet")
    found, said = read("points.parquet")
    assert are_the_toys(found)
    assert "texts from 'payload.text'" in said[0]


def test_a_file_of_lines_has_its_vectors_beside_it_in_any_file(here: Path) -> None:
    (here / "t.txt").write_text("\n".join(TEXTS) + "\n")
    np.save(here / "t.npy", VECTORS.astype(np.float64))
    pq.write_table(table(), here / "docs.parquet")
    for word in ("t.txt,t.npy", "t.txt,docs.parquet", "t.txt,docs.parquet:embedding", "docs.parquet:text,t.npy"):
        found, _ = read(f"mine={word}")
        assert are_the_toys(found), word
        assert found.vectors is not None
        assert found.vectors.dtype == np.float32, word


def test_a_query_of_a_database_is_part_of_the_word(here: Path) -> None:
    with sqlite3.connect(here / "docs.db") as database:
        database.execute("create table docs (id integer, body text, embedding blob)")
        rows = [(id_, text, one.tobytes()) for id_, (text, one) in enumerate(zip(TEXTS, VECTORS, strict=True))]
        database.executemany("insert into docs values (?, ?, ?)", rows)
    database.close()
    assert are_the_toys(read("mine=sqlite:docs.db#select body, embedding from docs order by id")[0])
    # And without one, the message says where it goes
    with pytest.raises(InputError, match="is read by a query, such as #'select id, embedding from docs'"):
        read("mine=sqlite:docs.db")


def test_a_collection_is_part_of_the_word_and_its_payload_has_the_texts(here: Path) -> None:
    # Given a folder of Qdrant's local client
    qdrant = pytest.importorskip("qdrant_client", reason="needs the extra qdrant")
    client = qdrant.QdrantClient(path=str(here / "points"))
    size = qdrant.models.VectorParams(size=DIM, distance=qdrant.models.Distance.DOT)
    client.create_collection("docs", vectors_config=size)
    rows = enumerate(zip(TEXTS, VECTORS, strict=True))
    points = [qdrant.models.PointStruct(id=at, vector=one.tolist(), payload={"text": text}) for at, (text, one) in rows]
    client.upsert("docs", points)
    client.close()
    # Then its only collection, or the one that is named, is a set
    for word in ("qdrant:points", "qdrant:points#docs", "qdrant:points#docs:payload.text:vector"):
        assert are_the_toys(read(word)[0]), word


def test_a_bad_row_costs_itself_and_is_counted(here: Path) -> None:
    # Given rows of which one has no text, one a blank one, one no vector, one a NaN, and one none but zeros
    texts, rows = list[str | None](TEXTS), [*map(list, VECTORS.tolist())]
    texts[1], texts[2] = None, " "
    rows[3], rows[4][0], rows[5] = None, float("nan"), [0.0] * DIM  # type: ignore[call-overload]
    pq.write_table(pa.table({"text": texts, "embedding": rows}), here / "docs.parquet")
    # When they are read, Then the others are there
    found, said = read("docs.parquet")
    assert found.texts == [TEXTS[0], *TEXTS[6:]]
    assert found.vectors is not None
    assert np.array_equal(found.vectors, VECTORS[[0, *range(6, len(TEXTS))]])
    # And it is said how many are not
    assert "docs: leaving out 5 of 36 rows: 2 hold no text, 3 hold no vector" in said


def test_an_empty_line_is_left_out_with_its_vector(here: Path) -> None:
    (here / "t.txt").write_text("\n".join([TEXTS[0], "", *TEXTS[2:]]) + "\n\n\n")
    np.save(here / "t.npy", VECTORS)
    found, said = read("mine=t.txt,t.npy")
    assert found.texts == [TEXTS[0], *TEXTS[2:]]
    assert found.vectors is not None
    assert np.array_equal(found.vectors, VECTORS[[0, *range(2, len(TEXTS))]])
    assert "mine: leaving out 1 of 36 rows: 1 hold no text" in said


def test_only_what_ends_a_line_everywhere_ends_a_text(here: Path) -> None:
    (here / "t.txt").write_text("one\u2028more\ntwo\x0cpages\n", encoding="utf-8")
    assert read("t.txt")[0].texts == ["one\u2028more", "two\x0cpages"]


def test_line_breaks_within_a_cell_become_spaces(here: Path) -> None:
    pq.write_table(pa.table({"text": ["one\ntwo", "three "], "embedding": list(VECTORS[:2])}), here / "docs.parquet")
    assert read("docs.parquet")[0].texts == ["one two", "three"]


def test_vectors_in_a_plain_file_are_mapped_and_not_read_into_memory(here: Path) -> None:
    (here / "t.txt").write_text("\n".join(TEXTS) + "\n")
    np.save(here / "t.npy", VECTORS.astype(np.float16))
    found, _ = read("t.txt,t.npy")
    assert isinstance(found.vectors, np.memmap)
    assert found.vectors.dtype == np.float16
    # And those of one set are not copied
    _, together = Library(None, None, lambda _: None).read_all([TextSet.parse("t.txt,t.npy")])
    assert isinstance(together, np.memmap)


def test_of_the_first_rows_no_others_are_read(here: Path) -> None:
    pq.write_table(table(), here / "docs.parquet")
    (here / "t.txt").write_text("\n".join(TEXTS) + "\n")
    np.save(here / "t.npy", VECTORS)
    for word in ("docs.parquet", "t.txt,t.npy"):
        found, _ = read(word, rows=5)
        assert found.texts == TEXTS[:5]
        assert found.vectors is not None
        assert np.array_equal(found.vectors, VECTORS[:5])


def test_texts_without_vectors_are_for_the_encoder(here: Path) -> None:
    pq.write_table(table().drop_columns(["embedding"]), here / "docs.parquet")
    found, said = read("docs.parquet")
    assert found.texts == TEXTS
    assert found.vectors is None
    assert said == ["docs: texts from 'text', no vectors"]
    with pytest.raises(InputError, match="docs has texts but no embeddings; expected embeddings or an encoder"):
        Library(None, None, said.append).read(TextSet.parse("docs.parquet"))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("mine=", "cannot read the set 'mine='|names 'mine=', which does not exist"),
        ("mine=gone.txt", "the set 'mine=gone.txt' names 'gone.txt', which does not exist; expected \\[NAME=\\]TEXTS"),
        ("mine=t.txt,", "cannot read the set 'mine=t.txt,'"),
        ("mine=t.txt,few.npy", "36 texts need embeddings of shape \\(36, dim\\), not float32 of shape \\(3, 16\\)"),
        ("latin.txt", "latin.txt is no UTF-8 text \\(byte 3 is 0xe9\\)"),
        ("few.npy", "few.npy is an array, which has no columns"),
        ("t.txt,docs.parquet:text:embedding", "is of embeddings alone, but 2 columns are named"),
        ("docs.parquet:text:embedding,few.npy", "names the embeddings of 'docs.parquet' twice"),
        ("blank.txt", "blank has no row with a text, of 2"),
    ],
)
def test_what_cannot_be_a_set_is_refused_in_one_line(here: Path, word: str, message: str) -> None:
    (here / "t.txt").write_text("\n".join(TEXTS) + "\n")
    (here / "latin.txt").write_bytes(b"caf\xe9\n")
    (here / "blank.txt").write_text("\n \n")
    np.save(here / "few.npy", VECTORS[:3])
    pq.write_table(table(), here / "docs.parquet")
    with pytest.raises(InputError, match=message):
        read(word)


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("docs=postgresql://me:secret@h/db#select a, b from c", "docs=postgresql://me@h/db#select a, b from c"),
        ("t.txt,postgresql://me:secret@h/db?x=secret#select b", "t.txt,postgresql://me@h/db#select b"),
        ("mine=t.txt,v.npy", "mine=t.txt,v.npy"),
    ],
)
def test_no_password_is_shown(here: Path, word: str, shown: str) -> None:
    assert shown_word(word) == shown
    with pytest.raises(InputError) as refused:
        TextSet.parse("gone.txt,postgresql://me:secret@h/db")
    assert "secret" not in str(refused.value)


def test_sets_of_two_embedders_are_not_put_together(here: Path) -> None:
    (here / "t.txt").write_text("\n".join(TEXTS) + "\n")
    for dim in (16, 24):
        np.save(here / f"{dim}.npy", vectors(dim=dim))
    sets = [TextSet.parse(f"a=t.txt,{dim}.npy") for dim in (16, 24)]
    with pytest.raises(InputError, match="a has embeddings of 24 dimensions, but a of 16"):
        Library(None, None, lambda _: None).read_all(sets)
