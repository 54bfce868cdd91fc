from __future__ import annotations

import datetime
import os
import pickle
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unembed.stores.rows import DIM, ROWS, TEXTS, VECTORS, column_of, corpus_in
from unembed.corpus.stores import StoreRequest, store_table
from unembed.corpus.table import Table
from unembed.errors import CorpusError, StorageUnavailableError

qdrant_client = pytest.importorskip("qdrant_client", reason="the extra `qdrant`")
models = qdrant_client.models

KEYS: list[Any] = [0, 1, 2, 3, str(uuid.UUID(int=4))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of one vector without a name, and one of several with names."""
    path = tmp_path_factory.mktemp("qdrant")
    dense = models.VectorParams(size=DIM, distance=models.Distance.DOT)
    several = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    many = models.VectorParams(size=DIM, distance=models.Distance.DOT, multivector_config=several)
    with closing(qdrant_client.QdrantClient(path=str(path))) as client:
        client.create_collection("docs", dense)
        points = [
            models.PointStruct(id=KEYS[i], vector=VECTORS[i].tolist(), payload={"t": TEXTS[i]}) for i in range(ROWS)
        ]
        client.upsert("docs", points)
        sparse = {"words": models.SparseVectorParams()}
        client.create_collection("named", {"text": dense, "title": dense, "tokens": many}, sparse_vectors_config=sparse)
        client.upsert("named", [models.PointStruct(id=1, vector={"text": VECTORS[1].tolist()})])
        client.upsert("named", [models.PointStruct(id=2, vector={"title": VECTORS[2].tolist()})])
    return path


def by_folder(folder: Path, **asked: str) -> Table:
    return store_table(f"qdrant:{folder}", **asked)


def by_client(folder: Path, **asked: str) -> Table:
    """As a server is read; the client is that of the folder, whose answers are of the same kind."""
    from unembed.corpus.stores.qdrant_server import read_client

    with closing(qdrant_client.QdrantClient(path=str(folder))) as client:
        return read_client(client, StoreRequest("http://localhost:6333", "qdrant:http://localhost:6333", **asked))


@pytest.fixture(params=[by_folder, by_client])
def read(request: pytest.FixtureRequest, folder: Path) -> Callable[..., Table]:
    return lambda **asked: request.param(folder, **asked)


def test_points_are_rows_of_id_vector_and_payload(read: Callable[..., Table]) -> None:
    table = read(collection="docs")

    vectors, ids = corpus_in(table)

    assert np.array_equal(vectors, VECTORS)
    assert ids == [str(key) for key in KEYS]
    assert table.rows == ROWS
    assert column_of(table, "payload") == [f'{{"t": "{text}"}}' for text in TEXTS]


@pytest.mark.parametrize("column", ["text", "vector.text"])
def test_a_point_without_the_vector_that_is_meant_is_a_row_without_one(read: Callable[..., Table], column: str) -> None:
    vectors, ids = corpus_in(read(collection="named", column=column), column)

    assert ids == ["1", "2"]
    assert np.array_equal(vectors[0], VECTORS[1])
    assert np.isnan(vectors[1]).all()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "has 2 collections, .*: name one with --collection"),
        ({"collection": "nope"}, "has no collection 'nope'; its collections are "),
        ({"collection": "named"}, "has 2 vectors, 'text', 'title': name one with --column"),
        ({"collection": "named", "column": "nope"}, "has no vector 'nope'; its vectors are 'text', 'title'"),
        ({"collection": "named", "column": "tokens"}, "is sparse, or several to a point"),
        ({"collection": "named", "column": "words"}, "is sparse, or several to a point"),
    ],
)
def test_what_cannot_be_told_is_asked(read: Callable[..., Table], asked: dict[str, str], said: str) -> None:
    with pytest.raises(CorpusError, match=said):
        read(**asked)


class _Harm:
    def __reduce__(self) -> Any:
        return os.mkdir, (os.environ["HARM"],)


def test_a_point_cannot_run_code(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a folder in which a point is a pickle that makes a folder when it is loaded
    monkeypatch.setenv("HARM", str(tmp_path / "harm"))
    (tmp_path / "meta.json").write_text((folder / "meta.json").read_text())
    (tmp_path / "collection" / "docs").mkdir(parents=True)
    with closing(sqlite3.connect(tmp_path / "collection" / "docs" / "storage.sqlite")) as database, database:
        database.execute("create table points (id text primary key, point blob)")
        database.execute("insert into points values ('1', ?)", [pickle.dumps(_Harm())])

    # When it is read, then it is refused, and nothing was made
    with pytest.raises(
        CorpusError, match=r"point 0 of the collection 'docs' of .* it calls posix\.mkdir, and nothing in it is called"
    ):
        store_table(f"qdrant:{tmp_path}", collection="docs")
    assert not (tmp_path / "harm").exists()


def test_times_and_uuids_in_a_payload_are_read(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text((folder / "meta.json").read_text())
    (tmp_path / "collection" / "docs").mkdir(parents=True)
    payload = {"at": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), "key": uuid.UUID(int=1)}
    point = models.PointStruct.model_construct(id=1, vector=VECTORS[0].tolist(), payload=payload)
    with closing(sqlite3.connect(tmp_path / "collection" / "docs" / "storage.sqlite")) as database, database:
        database.execute("create table points (id text primary key, point blob)")
        database.execute("insert into points values ('1', ?)", [pickle.dumps(point)])

    (said,) = column_of(store_table(f"qdrant:{tmp_path}", collection="docs"), "payload")

    assert "2026-01-02 00:00:00+00:00" in said
    assert str(uuid.UUID(int=1)) in said


def test_a_snapshot_and_the_storage_of_a_server_say_that_a_server_reads_them(tmp_path: Path) -> None:
    (tmp_path / "docs.snapshot").write_bytes(b"tar")
    (tmp_path / "storage" / "collections").mkdir(parents=True)

    for name in ("docs.snapshot", "storage"):
        with pytest.raises(CorpusError, match="start Qdrant with it, and name the server"):
            store_table(f"qdrant:{tmp_path / name}")


def test_a_folder_of_something_else_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"has no meta.json; expected the folder of a local Qdrant client"):
        store_table(f"qdrant:{tmp_path}")


def test_a_server_that_is_not_there_is_one_line() -> None:
    with pytest.raises(StorageUnavailableError, match=r"qdrant:http://127\.0\.0\.1:1 cannot be reached: .*refused"):
        store_table("qdrant:http://127.0.0.1:1")
