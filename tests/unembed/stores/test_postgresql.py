from __future__ import annotations

import uuid

import numpy as np
import psycopg
import pytest

from tests.unembed.stores.rows import DIM, IDS, ROWS, TEXTS, VECTORS, column_of, corpus_in
from unembed.corpus.stores import store_table
from unembed.errors import CorpusError, StorageUnavailableError


@pytest.fixture(scope="module")
def database(postgres_url: str) -> str:
    """A table of vectors as PostgreSQL itself can hold them."""
    name = f"stores_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"create database {name}")  # type: ignore[call-overload]
    url = postgres_url.replace("/postgres?", f"/{name}?")
    with psycopg.connect(url) as connection:
        connection.execute(
            "create table docs (id text, body text, reals real[], doubles float8[], bytes bytea, json jsonb, "
            "words text, number bigint, key uuid, price numeric, bits bit(8), mood text, created timestamptz)"
        )
        for i in range(ROWS):
            values = VECTORS[i].tolist()
            row = (
                IDS[i],
                TEXTS[i],
                values,
                values,
                VECTORS[i].tobytes(),
                str(values),
                str(values),
                i,
                uuid.UUID(int=i),
            )
            connection.execute(
                "insert into docs values "
                "(%s, %s, %s, %s, %s, %s, %s, %s, %s, 1.50, B'10110000', 'ok', '2026-01-02 03:04Z')",
                row,
            )
    return url


@pytest.fixture(scope="module")
def with_pgvector(database: str) -> str:
    with psycopg.connect(database) as connection:
        found = connection.execute("select true from pg_available_extensions where name = 'vector'").fetchone()
        if found is None:
            pytest.skip("this PostgreSQL has no pgvector")
        connection.execute("create extension if not exists vector")
        connection.execute(
            f"create table if not exists vectors as select id, reals::vector({DIM}) as embedding, "  # type: ignore[arg-type]
            f"reals::halfvec({DIM}) as half, reals::vector({DIM})::sparsevec as sparse from docs"
        )
    return database


@pytest.mark.parametrize("column", ["reals", "doubles", "bytes", "json", "words"])
def test_arrays_bytes_json_and_text_are_vectors(database: str, column: str) -> None:
    table = store_table(database, query=f"select id, body, {column} as embedding from docs order by number;")

    vectors, ids = corpus_in(table)

    assert np.allclose(vectors, VECTORS, atol=1e-6)
    assert ids == IDS
    assert table.rows == ROWS
    assert column_of(table, "body") == TEXTS


@pytest.mark.parametrize(("column", "dtype"), [("embedding", np.float32), ("half", np.float16), ("sparse", np.float32)])
def test_vectors_of_pgvector_are_read_without_its_package(with_pgvector: str, column: str, dtype: type) -> None:
    vectors, ids = corpus_in(store_table(with_pgvector, query=f"select id, {column} from vectors order by id"), column)

    assert vectors.dtype == dtype
    assert np.allclose(vectors, VECTORS, atol=1e-3)
    assert ids == IDS


def test_a_null_vector_and_a_null_in_a_vector_cost_only_their_row(database: str) -> None:
    query = (
        "select number, case number when 1 then null when 2 then array[1, null, 3, 4]::real[] else reals end "
        "as embedding from docs order by number"
    )
    vectors, _ = corpus_in(store_table(database, query=query))

    assert np.isnan(vectors[1]).all()
    assert np.isnan(vectors[2]).any()
    assert np.array_equal(vectors[[0, 3, 4]], VECTORS[[0, 3, 4]])


def test_values_of_every_type_can_be_carried(database: str) -> None:
    table = store_table(
        database, query="select key, number, price, bits, mood, created, json from docs order by number"
    )

    first = {name: column_of(table, name)[0] for name in table.schema.names}

    assert first["key"] == str(uuid.UUID(int=0))
    assert first["number"] == 0
    assert first["price"] == "1.50"
    assert first["bits"] == b"\xb0"
    assert first["mood"] == "ok"
    assert first["created"] == "2026-01-02T03:04:00+00:00"
    assert first["json"].startswith("[0.1")


def test_rows_come_from_one_snapshot_and_the_same_rows_have_the_same_digest(database: str) -> None:
    query = "select id, reals as embedding from docs order by number"
    before = store_table(database, query=query)
    with psycopg.connect(database) as connection:
        connection.execute("update docs set reals = '{9,9,9,9}' where number = 1")
    changed = store_table(database, query=query)
    with psycopg.connect(database) as connection:
        connection.execute("update docs set reals = %s where number = 1", [VECTORS[1].tolist()])
    again = store_table(database, query=query)

    assert np.array_equal(corpus_in(before)[0], VECTORS)
    assert before.digest() == again.digest() != changed.digest()


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (None, "is read by a query, such as --query 'select id, embedding from docs'; its tables are 'docs'"),
        ("select * from nope", 'relation "nope" does not exist'),
        ("select id, id from docs", "two columns the name 'id'"),
        ("delete from docs", "syntax error"),
        (
            "with gone as (delete from docs returning *) select * from gone",
            "must not contain data-modifying statements",
        ),
        ("select pg_advisory_lock(1), nextval('numbers')", "read-only transaction"),
        ("select 1; delete from docs", "multiple commands"),
        ("select 1 / (number - 3) from docs", "division by zero"),
    ],
)
def test_a_query_that_does_not_select_is_one_line(database: str, query: str | None, said: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("create sequence if not exists numbers")

    with pytest.raises(CorpusError, match=said) as raised:
        store_table(database, query=query)

    assert "\n" not in raised.value.message
    assert store_table(database, query="table docs").rows == ROWS


def test_a_server_that_is_not_there_is_one_line_without_the_password() -> None:
    with pytest.raises(StorageUnavailableError, match=r"postgresql://me@127\.0\.0\.1:1/db cannot be reached") as raised:
        store_table("postgresql://me:secret@127.0.0.1:1/db", query="select 1")
    assert "secret" not in raised.value.message
    assert "\n" not in raised.value.message


def test_a_url_that_libpq_does_not_read_is_not_repeated() -> None:
    with pytest.raises(CorpusError, match="is no URL that PostgreSQL reads") as raised:
        store_table("postgresql://me:sec%zzret@127.0.0.1:1/db", query="select 1")
    assert "sec" not in raised.value.message
