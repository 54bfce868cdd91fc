"""An index of a table that workers write to is built beside them, on PostgreSQL: SQLite has one writer at a time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, Engine, text

from tests.worker.processes import await_
from unembed.errors import StoreUnavailableError
from unembed.models.database import check, create_engine, open_engine, revision, upgrade

pytestmark = pytest.mark.parametrize("empty_database_url", ["postgresql"], indirect=True)

BEFORE = "0018"
INDEX = "ix_generations_batch_id_overall_quality_index"
_BUILDING = "FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'CREATE INDEX CONCURRENTLY%'"
WAIT = 60  # seconds


@pytest.fixture
def engine(empty_database_url: str) -> Iterator[Engine]:
    """Of a database of the revision before, with a batch that is decoded."""
    engine = create_engine(empty_database_url)
    upgrade(engine, BEFORE)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO jobs (id, state, client, decoder, embedding_dim, seed, options, batches_done, created_at) "
                "VALUES ('j', 'receiving', '', 'd', 4, 0, '{}', 0, CURRENT_TIMESTAMP)"
            )
        )
        connection.execute(
            text(
                "INSERT INTO batches (id, job_id, ordinal, first_index, rows, bytes, sha256, state, attempt, "
                "max_attempts, rows_ok, rows_fallback, rows_error, waited_ms, load_ms, decode_ms, score_ms, write_ms, "
                "queued_at) VALUES "
                "('b', 'j', 0, 0, 3, 48, 'x', 'queued', 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, CURRENT_TIMESTAMP)"
            )
        )
        _write(connection, 0)
    yield engine
    engine.dispose()


def _write(connection: Connection, row: int) -> None:
    values = f"'j', {row}, 'b', 'a text', 'ok'"
    connection.execute(text(f'INSERT INTO generations (job_id, "index", batch_id, text, status) VALUES ({values})'))


@contextmanager
def _held_up(engine: Engine) -> Iterator[None]:
    """Somebody reads for long, as pg_dump does: until they are done, no index is ready that was begun meanwhile."""
    with engine.connect() as reader:
        reader.execution_options(isolation_level="REPEATABLE READ")
        reader.execute(text("SELECT count(*) FROM jobs")).scalar()
        yield


def _is_building(engine: Engine) -> bool:
    with engine.connect() as connection:
        waiting = f"SELECT count(*) {_BUILDING} AND wait_event_type = 'Lock'"
        return connection.execute(text(waiting)).scalar() == 1


def _is_valid(engine: Engine) -> bool | None:
    """None: there is none."""
    with engine.connect() as connection:
        found = connection.execute(
            text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)"), {"name": INDEX}
        )
        return found.scalar()


def test_workers_write_while_the_index_is_built(engine: Engine, empty_database_url: str) -> None:
    with ThreadPoolExecutor(2) as pool, open_engine(empty_database_url) as other:
        # Given two processes that upgrade at once, and an index that takes long
        with _held_up(engine):
            upgrades = [pool.submit(upgrade, each) for each in (engine, other)]
            await_(lambda: _is_building(engine), WAIT, "the index is being built")
            # When a worker writes a row, Then it does not wait
            with engine.begin() as worker:
                worker.execute(text("SET LOCAL lock_timeout = '1s'"))
                _write(worker, 1)
            assert _is_valid(engine) is False
            assert not any(each.done() for each in upgrades)
        # And both processes end well, with the index
        for each in upgrades:
            each.result(WAIT)
    assert _is_valid(engine) is True
    check(engine)


def test_an_index_whose_build_was_interrupted_is_built_anew(engine: Engine) -> None:
    # Given an upgrade whose connection is cut while it builds
    with ThreadPoolExecutor(1) as pool, _held_up(engine):
        interrupted = pool.submit(upgrade, engine)
        await_(lambda: _is_building(engine), WAIT, "the index is being built")
        with engine.begin() as connection:
            connection.execute(text(f"SELECT pg_terminate_backend(pid) {_BUILDING} AND pid <> pg_backend_pid()"))
        with pytest.raises(StoreUnavailableError, match="cannot be used"):
            interrupted.result(WAIT)
    # Then the tables are as they were, but for an index that nobody uses
    assert (revision(engine), _is_valid(engine)) == (BEFORE, False)
    # And when it is upgraded again, the index is built anew
    upgrade(engine)
    assert _is_valid(engine) is True
    check(engine)


def test_an_index_that_is_there_is_not_built_again(engine: Engine) -> None:
    # Given an upgrade that ended between the index and the transaction
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(
            text(f'CREATE INDEX CONCURRENTLY {INDEX} ON generations (batch_id, overall_quality, "index")')
        )
        of_index = text(f"SELECT CAST('{INDEX}' AS regclass)::oid")
        before = connection.execute(of_index).scalar()
        # When it is upgraded again, Then the same index is used
        upgrade(engine)
        assert connection.execute(of_index).scalar() == before
    check(engine)
