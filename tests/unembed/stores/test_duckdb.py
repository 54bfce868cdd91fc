from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unembed.stores.rows import DIM, IDS, ROWS, TEXTS, VECTORS, column_of, corpus_in
from unembed.corpus.stores import store_table
from unembed.errors import CorpusError

duckdb = pytest.importorskip("duckdb", reason="the extra `duckdb`")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "docs.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"create table docs (id text, body text, embedding float[{DIM}], list double[])")
        rows = [(IDS[i], TEXTS[i], VECTORS[i].tolist(), VECTORS[i].tolist()) for i in range(ROWS)]
        connection.executemany("insert into docs values (?, ?, ?, ?)", rows)
    return path


@pytest.mark.parametrize("column", ["embedding", "list as embedding"])
def test_arrays_and_lists_are_vectors(database: Path, column: str) -> None:
    table = store_table(f"duckdb:{database}", query=f"select id, body, {column} from docs order by id;")

    vectors, ids = corpus_in(table)

    assert np.allclose(vectors, VECTORS, atol=1e-7)
    assert ids == IDS
    assert table.rows == ROWS
    assert column_of(table, "body") == TEXTS


def test_files_are_read_without_a_database(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": IDS, "embedding": VECTORS.tolist()}), tmp_path / "docs.parquet")

    table = store_table("duckdb:", query=f"select * from '{tmp_path}/docs.parquet' where id <> 'row-0' order by id")

    assert corpus_in(table)[1] == IDS[1:]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (None, "such as --query 'select id, embedding from docs'; its tables are 'docs'"),
        ("select * from nope", "nope does not exist"),
        ("select id, id from docs", "gives two columns the name 'id'"),
        ("delete from docs", "is DELETE, but a corpus is read by one SELECT"),
        ("copy docs to 'copy.parquet'", "is COPY, but a corpus is read by one SELECT"),
        ("select 1; select 2", "is SELECT and SELECT, but"),
    ],
)
def test_a_query_that_does_not_select_is_one_line(database: Path, query: str | None, said: str) -> None:
    with pytest.raises(CorpusError, match=said) as raised:
        store_table(f"duckdb:{database}", query=query)
    assert "\n" not in raised.value.message


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "docs.duckdb").write_bytes(b"no database at all" * 100)
    with pytest.raises(CorpusError, match="cannot be read: "):
        store_table(f"duckdb:{tmp_path / 'docs.duckdb'}", query="select 1")
