"""What all stores share: how they are named, what goes with which, and what is never shown."""

from __future__ import annotations

import errno
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unembed.stores.rows import IDS, VECTORS
from unembed.corpus import open_corpus
from unembed.corpus.names import job_name
from unembed.corpus.store_names import is_store, shown_source
from unembed.corpus.stores import store_table
from unembed.errors import CorpusError, MissingExtraError


@pytest.mark.parametrize(
    "source",
    [
        "postgresql://me@host/db",
        "postgres://host/db",
        "postgresql+psycopg://host/db",
        "qdrant:./folder",
        "sqlite:docs.db",
        "qdrant:http://host:6333",
        "chroma:./folder",
        "lance:docs.lance",
        "faiss:docs.faiss",
        "duckdb:docs.duckdb",
    ],
)
def test_a_store_is_known_by_its_scheme(source: str) -> None:
    assert is_store(source)


@pytest.mark.parametrize(
    "source", ["corpus.parquet", "-", "s3://bucket/a.parquet", "C:\\corpus.npy", "my-sqlite:x", "sqlite"]
)
def test_files_and_their_urls_are_no_stores(source: str) -> None:
    assert not is_store(source)


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("postgresql://me:secret@host:5432/db?sslmode=require", "postgresql://me@host:5432/db"),
        ("postgresql+psycopg://me:secret@host/db", "postgresql+psycopg://me@host/db"),
        ("postgresql://host/db?user=me&password=secret", "postgresql://host/db"),
        ("postgresql://:secret@host/db", "postgresql://host/db"),
        ("qdrant:https://me:secret@host:6333", "qdrant:https://me@host:6333"),
        ("qdrant:https://host:6333?api_key=secret", "qdrant:https://host:6333"),
        ("sqlite:docs.db", "sqlite:docs.db"),
        ("corpus.parquet", "corpus.parquet"),
    ],
)
def test_a_password_is_not_shown(source: str, shown: str) -> None:
    assert shown_source(source) == shown


@pytest.mark.parametrize("password", ["sec@ret", "sec/ret@x", "sec?ret", "se:c@ret", "sec#ret"])
def test_a_password_with_signs_that_end_it_is_refused_and_not_shown(password: str) -> None:
    source = f"postgresql://me:{password}@localhost:1/db"

    with pytest.raises(CorpusError, match="PGPASSWORD") as raised:
        store_table(source, query="select 1")

    assert "sec" not in raised.value.message
    assert "ret" not in raised.value.message
    assert "ret" not in shown_source(source)


@pytest.mark.parametrize(
    ("source", "option", "said"),
    [
        ("qdrant:folder", {"query": "select 1"}, "--query does not go with qdrant:; it takes --collection"),
        ("sqlite:docs.db", {"collection": "docs"}, "--collection does not go with sqlite:; it takes --query"),
        ("faiss:docs.faiss", {"collection": "docs"}, "--collection does not go with faiss:"),
    ],
)
def test_an_option_of_another_store_is_refused(source: str, option: dict[str, str], said: str) -> None:
    with pytest.raises(CorpusError) as raised:
        store_table(source, **option)
    assert raised.value.message == said


@pytest.mark.parametrize(
    ("source", "package", "extra"),
    [
        ("postgresql://host/db", "psycopg", "postgres"),
        ("duckdb:docs.duckdb", "duckdb", "duckdb"),
        ("qdrant:http://localhost:1", "qdrant_client", "qdrant"),
        ("chroma:folder", "chromadb", "chroma"),
        ("lance:docs.lance", "lance", "lance"),
        ("faiss:docs.faiss", "faiss", "faiss"),
    ],
)
def test_a_missing_client_is_one_line_that_says_what_to_install(
    source: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(("unembed.corpus.stores.", f"{package}."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(MissingExtraError) as raised:
        store_table(source)

    assert raised.value.message.endswith(f"which is not installed: pip install 'unembed[{extra}]'")


@pytest.mark.parametrize("scheme", ["sqlite", "duckdb", "qdrant", "chroma", "lance", "faiss"])
def test_a_store_that_is_not_there_is_named(scheme: str) -> None:
    package = {"qdrant": "json", "sqlite": "sqlite3", "chroma": "chromadb"}.get(scheme, scheme)
    pytest.importorskip(package, reason=f"the extra `{scheme}`")
    with pytest.raises(CorpusError, match=f"{scheme}:/no/such/store does not exist; expected (a|the)"):
        store_table(f"{scheme}:/no/such/store")


def test_a_job_is_not_called_after_a_password() -> None:
    assert job_name(["postgresql://me:secret@host/db?sslmode=require"]) == "postgresql://me@host/db"
    assert job_name(["qdrant:./folder"]) == "qdrant:./folder"


@pytest.fixture
def database(tmp_path: Path) -> str:
    with closing(sqlite3.connect(tmp_path / "docs.db")) as connection, connection:
        connection.execute("create table docs (id text, embedding blob)")
        rows = [(id_, vector.tobytes()) for id_, vector in zip(IDS, VECTORS, strict=True)]
        connection.executemany("insert into docs values (?, ?)", rows)
    return f"sqlite:{tmp_path / 'docs.db'}"


def test_a_store_is_opened_as_a_file_is_and_tells_how_far_it_is(database: str) -> None:
    told: list[tuple[str, int, int | None]] = []

    corpus = open_corpus(database, query="select * from docs", progress=lambda *far: told.append(far))

    assert (corpus.what, corpus.rows, corpus.dim) == (database, len(IDS), VECTORS.shape[1])
    assert np.array_equal(np.concatenate([part.embeddings for part in corpus.batches(2)]), VECTORS)
    assert told[0][0] == database
    assert told[0][1] > 0


def test_a_full_disk_is_one_line_and_leaves_no_file(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a temporary folder on a disk that is full
    folder = tmp_path / "full"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pa.RecordBatchFileWriter, "write_batch", full)

    with pytest.raises(CorpusError, match="is full: set TMPDIR to a folder with more room"):
        store_table(database, query="select * from docs")
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("source", "options", "said"),
    [
        ("docs.parquet", {"query": "select 1"}, "docs.parquet takes no query and no collection; those of a store do"),
        (["sqlite:a.db", "sqlite:b.db"], {"query": "select 1"}, "sqlite:a.db and 1 more are named; expected one store"),
        ("sqlite:a.db", {"input_format": "csv"}, "a store is no file, so it has no input format 'csv'"),
    ],
)
def test_what_does_not_go_with_a_store_is_said(source: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(CorpusError, match=said):
        open_corpus(source, **options)


def test_an_export_of_pinecone_is_a_parquet_file(tmp_path: Path) -> None:
    export = {"id": IDS, "values": VECTORS.tolist(), "metadata": ["{}"] * len(IDS), "sparse_values": [None] * len(IDS)}
    pq.write_table(pa.table(export), tmp_path / "export.parquet")

    (part,) = open_corpus(tmp_path / "export.parquet").batches(len(IDS))

    assert np.allclose(part.embeddings, VECTORS)
    assert list(part.ids or ()) == IDS
