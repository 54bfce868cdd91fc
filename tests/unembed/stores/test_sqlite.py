from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.unembed.stores.rows import IDS, ROWS, TEXTS, VECTORS, column_of, corpus_in
from unembed.corpus.stores import store_table
from unembed.errors import CorpusError


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A table of blobs, as sqlite-vec writes them, and of JSON."""
    path = tmp_path / "docs.db"
    rows = [(IDS[i], TEXTS[i], VECTORS[i].tobytes(), json.dumps(VECTORS[i].tolist())) for i in range(ROWS)]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("create table docs (id text, body text, embedding blob, as_json text)")
        connection.executemany("insert into docs values (?, ?, ?, ?)", rows)
    return path


@pytest.mark.parametrize("column", ["embedding", "as_json as embedding"])
@pytest.mark.parametrize("scheme", ["sqlite:", "sqlite:///"])
def test_blobs_and_json_are_vectors(database: Path, column: str, scheme: str) -> None:
    table = store_table(f"{scheme}{database}", query=f"select id, body, {column} from docs;")

    vectors, ids = corpus_in(table)

    assert np.array_equal(vectors, VECTORS)
    assert ids == IDS
    assert table.rows == ROWS
    assert column_of(table, "body") == TEXTS


def test_the_same_rows_have_the_same_digest_and_others_another(database: Path) -> None:
    query = "select id, embedding from docs"
    before = store_table(f"sqlite:{database}", query=query).digest()
    assert store_table(f"sqlite:{database}", query=query).digest() == before

    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("update docs set embedding = zeroblob(16) where id = 'row-3'")

    assert store_table(f"sqlite:{database}", query=query).digest() != before


def test_what_is_written_afterwards_is_not_read(database: Path) -> None:
    table = store_table(f"sqlite:{database}", query="select id, embedding from docs")

    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("delete from docs")

    assert corpus_in(table)[1] == IDS


def test_a_column_of_many_types_has_one_that_fits_all_of_its_values(tmp_path: Path) -> None:
    path = tmp_path / "mixed.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("create table docs (id, number, empty, bytes)")
        connection.execute("insert into docs values (1, 1, null, x'ff'), ('two', 2.5, null, 'text')")
        connection.execute("insert into docs values (null, null, null, null)")

    table = store_table(f"sqlite:{path}", query="select * from docs")

    assert column_of(table, "id") == ["1", "two", None]
    assert column_of(table, "number") == [1.0, 2.5, None]
    assert column_of(table, "empty") == [None, None, None]
    assert column_of(table, "bytes") == [b"\xff", b"text", None]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (None, "is read by a query, such as --query 'select id, embedding from docs'; its tables are 'docs'"),
        ("  ; ", "is read by a query"),
        ("select * from nope", "no such table: nope"),
        ("delete from docs", "syntax error"),
        ("drop table docs", "syntax error"),
        ("select * from docs; delete from docs", "cannot be read"),
    ],
)
def test_a_query_that_does_not_select_is_one_line(database: Path, query: str | None, said: str) -> None:
    with pytest.raises(CorpusError, match=said) as raised:
        store_table(f"sqlite:{database}", query=query)

    assert "\n" not in raised.value.message
    assert corpus_in(store_table(f"sqlite:{database}", query="select id, embedding from docs"))[1] == IDS


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(b"no database at all" * 100), "file is not a database"),
        (lambda path: (path.unlink(), path.mkdir()), "is a folder; expected an SQLite database"),
    ],
)
def test_a_file_that_is_no_database_is_one_line(database: Path, damage: Callable[[Path], object], said: str) -> None:
    damage(database)
    with pytest.raises(CorpusError, match=said):
        store_table(f"sqlite:{database}", query="select 1")
