from __future__ import annotations

import hashlib
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.unembed.stores.rows import IDS, ROWS, TEXTS, VECTORS, column_of, corpus_in
from unembed.corpus.stores import store_table
from unembed.errors import CorpusError, StorageUnavailableError

chromadb = pytest.importorskip("chromadb", reason="the extra `chroma` (60 packages), tried by hand")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "chroma"
    with closing(chromadb.PersistentClient(str(path))) as client:
        docs = client.create_collection("docs", embedding_function=None)
        docs.add(IDS, VECTORS, documents=TEXTS, metadatas=[{"n": i} for i in range(ROWS)])
        client.create_collection("other", embedding_function=None)
    return path


def contents(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_records_are_rows_of_id_embedding_document_and_metadata(folder: Path) -> None:
    before = contents(folder)

    table = store_table(f"chroma:{folder}", collection="docs")

    vectors, ids = corpus_in(table)
    assert np.array_equal(vectors, VECTORS)
    assert ids == IDS
    assert column_of(table, "document") == TEXTS
    assert column_of(table, "metadata") == [f'{{"n": {i}}}' for i in range(ROWS)]
    assert contents(folder) == before  # the client writes into what it opens; here, into a copy


def test_what_cannot_be_told_is_asked(folder: Path) -> None:
    with pytest.raises(CorpusError, match="has 2 collections, 'docs', 'other': name one with --collection"):
        store_table(f"chroma:{folder}")
    with pytest.raises(CorpusError, match="has no collection 'nope'"):
        store_table(f"chroma:{folder}", collection="nope")


def test_a_folder_of_something_else_is_named_and_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"has no chroma\.sqlite3"):
        store_table(f"chroma:{tmp_path}")
    assert not list(tmp_path.iterdir())


def test_a_server_that_is_not_there_is_one_line() -> None:
    with pytest.raises(
        StorageUnavailableError, match=r"chroma:http://127\.0\.0\.1:1 cannot be read: Could not connect"
    ):
        store_table("chroma:http://127.0.0.1:1")
