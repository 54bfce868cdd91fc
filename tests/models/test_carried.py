"""What a job carries is kept beside its rows, read with them, and gone with them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import Engine, func, select

from tests.builders import DIM, generations, make_job
from tests.models.test_plans import recording
from unembed.carried import require_small, schema_of, written_names
from unembed.errors import InputError
from unembed.generations import SCHEMA, rows_of
from unembed.models.store import Store
from unembed.models.store.carried import TOGETHER
from unembed.models.store.sql import CARRIED_ROWS
from unembed.schemas import MAX_CARRIED_BYTES, CarriedKind, Job, Timings

CARRY = {"title": CarriedKind.STRING, "year": CarriedKind.INTEGER, "text": CarriedKind.STRING}
ROWS = (TOGETHER + 10, 3)


def carried(first: int, rows: int) -> pa.RecordBatch:
    indices = range(first, first + rows)
    columns = {
        "title": [f"title {index}" for index in indices],
        "year": [None if index == 1 else index for index in indices],
        "text": ["\0 and <b>"] * rows,
    }
    return pa.RecordBatch.from_pydict(columns, schema=schema_of(CARRY))


@pytest.fixture
def job(store: Store) -> Job:
    """Of two batches that are done, the first of more rows than are kept together."""
    job, first = make_job(store, carry=CARRY), 0
    for ordinal, rows in enumerate(ROWS):
        batch, _ = store.jobs.add_batch(
            job.id, ordinal, first, rows, rows * DIM * 4, str(ordinal), carried=carried(first, rows)
        )
        claim = store.attempts.claim(batch.id, "worker", 5.0)
        assert claim is not None
        assert store.attempts.finish(batch.id, claim.attempt, generations(batch), Timings())
        first += rows
    return store.jobs.seal(job.id, 2, first)


def test_rows_come_back_with_what_they_carry_in_whatever_order(store: Store, job: Job) -> None:
    # Given a job of two batches, When its rows are read, all of them or some
    rows = store.results.page(job.id).rows
    for some in (rows, rows.slice(TOGETHER - 1, 3), rows.take(pa.array([TOGETHER + 11, 0, 300 - 40]))):
        found = store.carried.beside(job.id, some)
        # Then each has its own, behind the results; what is called like one of those has another name
        assert found.schema.names == [*SCHEMA.names, "title", "year", "source_text"]
        indices = some.column("index").to_pylist()
        assert found.column("title").to_pylist() == [f"title {index}" for index in indices]
        assert found.column("year").to_pylist() == [None if index == 1 else index for index in indices]
        assert found.select(SCHEMA.names).equals(some)
    # And of one row they are a value
    first = next(rows_of(store.carried.beside(job.id, rows.slice(0, 1))))
    assert first.carried == {"title": "title 0", "year": 0, "source_text": "\0 and <b>"}
    assert first.text == "text 0"


def test_it_goes_with_the_texts(store: Store, job: Job) -> None:
    def kept() -> Any:
        with store.engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(CARRIED_ROWS))

    assert kept() == 3
    store.jobs.remove(job.id)
    assert kept() == 0


def test_a_job_that_carries_nothing_pays_one_look(store: Store, engine: Engine) -> None:
    job = make_job(store)
    rows = generations(store.jobs.add_batch(job.id, 0, 0, 2, 32, "x")[0])
    with recording(engine) as statements:
        assert store.carried.beside(job.id, rows) is rows
    assert [each for each in statements if "carried" in str(each)] == []


def test_the_batches_of_an_older_server_have_nothing_to_give_back(store: Store) -> None:
    # Given a job that carries, with a batch that came to a server which knew nothing of that
    job = make_job(store, carry={"title": "string"})
    rows = generations(store.jobs.add_batch(job.id, 0, 0, 2, 32, "x")[0])
    # When its rows are read, Then the column is there, and empty
    assert store.carried.beside(job.id, rows).column("title").to_pylist() == [None, None]


def test_a_row_that_carries_too_much_is_named() -> None:
    fits = "é" * ((MAX_CARRIED_BYTES - 8) // 2)
    schema = schema_of({"note": CarriedKind.STRING, "n": CarriedKind.NUMBER})
    require_small(pa.RecordBatch.from_pydict({"note": [fits, None], "n": [1.0, None]}, schema=schema), 0)
    with pytest.raises(InputError, match=r"row 8 carries 4,097 bytes, 4,089 of them in 'note'; expected at most 4,096"):
        require_small(pa.RecordBatch.from_pydict({"note": ["", fits + "x"], "n": [1.0, 2.0]}, schema=schema), 7)


def test_no_two_columns_are_called_alike() -> None:
    assert written_names(["text", "source_text", "a"], ["text"]) == ["source_source_text", "source_text", "a"]
