"""Engines: what they promise, and what they say when the database is not there."""

from __future__ import annotations

import os
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import Engine, select, text

from tests.builders import make_job
from unembed.errors import InputError, StoreUnavailableError
from unembed.models import postgresql, sqlite
from unembed.models.clock import now, seconds_between
from unembed.models.database import create_engine, open_engine, transaction, upgrade
from unembed.models.settings import Settings
from unembed.models.sqlite import sqlite_url
from unembed.models.store import Store
from unembed.schemas import Job


@pytest.mark.parametrize("url", ["postgresql://u@h/d", "postgres://u@h/d", "postgresql+psycopg://u@h/d"])
def test_every_spelling_of_postgresql_is_psycopg(url: str) -> None:
    assert create_engine(url).url.drivername == "postgresql+psycopg"


@pytest.mark.parametrize(("url", "named"), [("mysql://u:secret@h/d", "'mysql'"), ("nonsense", "cannot be read")])
def test_another_database_is_refused_without_its_password(url: str, named: str) -> None:
    with pytest.raises(InputError, match=named) as refused:
        create_engine(url)
    assert "secret" not in str(refused.value)
    assert "expected sqlite:///FILE or postgresql://" in str(refused.value)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_postgresql_that_is_down_is_named_without_its_password() -> None:
    # Given a port where nobody listens
    url = f"postgresql://user:secret@127.0.0.1:{_free_port()}/unembed"
    engine = create_engine(url)
    # When the store is used
    with pytest.raises(StoreUnavailableError) as raised:
        Store(engine, Settings()).ping()
    engine.dispose()
    # Then the error says where and why
    assert url.replace("secret", "***").replace("postgresql:", "postgresql+psycopg:") in raised.value.message
    assert "refused" in raised.value.message
    assert "secret" not in raised.value.message


def test_a_pooler_is_known_by_the_process_that_answers() -> None:
    # Given a connection that was told of the process 7, When another one answers, Then a pooler is between the two
    connection = SimpleNamespace(info=SimpleNamespace(backend_pid=7))
    for pid, pooled in ((7, False), (8, True)):
        connection.execute = lambda _, pid=pid: SimpleNamespace(fetchone=lambda: (pid,))
        assert postgresql.is_pooled(connection) is pooled  # type: ignore[arg-type]


@pytest.mark.parametrize("pooled", [False, True])
def test_behind_a_pooler_nothing_outlives_its_transaction(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, pooled: bool
) -> None:
    # Given a PostgreSQL, behind a pooler that gives each transaction another of its processes, or not
    if pooled:
        monkeypatch.setattr(postgresql, "is_pooled", lambda _: True)
    engine = create_engine(request.getfixturevalue("_postgres_migrated"))
    # When the same statement is sent more often than it takes psycopg to prepare it
    for _ in range(8):
        with transaction(engine) as connection:
            connection.execute(select(now())).scalar_one()
            limit = connection.exec_driver_sql("SHOW lock_timeout").scalar_one()
    # Then the limits hold in each transaction; but what was prepared, and the limits, stay only without a pooler
    with engine.connect() as connection:
        raw = connection.connection.dbapi_connection
        prepared = raw.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()  # type: ignore[union-attr]
        left = raw.execute("SHOW lock_timeout").fetchone()  # type: ignore[union-attr]
    engine.dispose()
    assert limit == "30s"
    assert (prepared == (0,), left == ("0",)) == (pooled, pooled)


def test_an_sqlite_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/no/such/folder.db")
    with pytest.raises(StoreUnavailableError, match=r"no/such/folder\.db cannot be used: unable to open"):
        Store(engine, Settings()).ping()


def test_a_database_without_tables_says_what_to_do(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url)
    with pytest.raises(StoreUnavailableError, match="run `unembed db upgrade`"):
        Store(engine, Settings()).jobs.page()
    engine.dispose()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_store_comes_back_when_its_connections_were_cut(database_url: str, settings: Settings) -> None:
    # Given a store with a connection in its pool
    engine, other = create_engine(database_url), create_engine(database_url)
    store = Store(engine, settings)
    store.ping()
    # When the server cuts it, as it does when it restarts
    with other.begin() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'unembed' AND pid <> pg_backend_pid()"
            )
        )
    # Then the next call notices and connects anew
    store.ping()
    engine.dispose()
    other.dispose()


def test_the_clock_is_utc_and_moves_by_its_offset(engine: Engine) -> None:
    with engine.connect() as connection:
        early, late = connection.execute(select(now(-1.5), now(3600.25))).one()
        between = connection.scalar(select(seconds_between(now(-1.5), now(3600.25))))
    assert early.tzinfo is UTC
    assert (late - early).total_seconds() == pytest.approx(3601.75, abs=0.5)
    assert between == pytest.approx(3601.75, abs=0.5)
    assert abs((datetime.now(UTC) - early).total_seconds() - 1.5) < 60.0


def test_times_are_compared_as_times(engine: Engine) -> None:
    with engine.connect() as connection:
        for offset in (-0.001, -1.0, -1e6):
            assert connection.scalar(select(now(offset) < now()))
            assert connection.scalar(select(now(-offset) > now()))


def test_sqlite_is_set_up_for_several_processes(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/a.db")
    with engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    engine.dispose()
    assert pragmas == {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1, "busy_timeout": 15_000}


@pytest.mark.parametrize("spelt", ["FULL", "full"])
def test_sqlite_can_be_told_to_flush_every_commit_to_the_disk(tmp_path: Path, spelt: str) -> None:
    # Given a URL that asks for it, When the database is opened, Then it does, and the file is the one that was named
    engine = create_engine(f"sqlite:///{tmp_path / 'file.db'}?synchronous={spelt}")
    with transaction(engine) as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    engine.dispose()
    assert (tmp_path / "file.db").exists()


def test_the_file_of_a_database_may_have_a_name_of_any_bytes(tmp_path: Path) -> None:
    # Given folders whose names are no UTF-8, or would mean something in a URL
    for name in (b"caf\xe9", b"a#b?c %41", "ü".encode()):
        file = tmp_path / os.fsdecode(name) / "unembed.db"
        file.parent.mkdir()
        # When a database is made in each, Then it is there, under that name
        with open_engine(sqlite_url(file)) as engine:
            upgrade(engine)
        assert file.stat().st_size > 0
    assert len(list(tmp_path.iterdir())) == 3


def test_how_sqlite_flushes_is_one_of_two_words() -> None:
    with pytest.raises(InputError, match="synchronous=OFF; expected NORMAL or FULL"):
        create_engine("sqlite:///file.db?synchronous=off")


def test_a_reader_does_not_wait_for_a_writer(store: Store, engine: Engine) -> None:
    # Given a writer in the middle of its transaction
    job = make_job(store)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE jobs SET name = 'changed'"))
        # When others read, then they see the last commit, at once
        found: list[Job] = []
        reader = threading.Thread(target=lambda: found.append(store.jobs.get(job.id)))
        reader.start()
        reader.join(5.0)
        assert [each.name for each in found] == [None]
    assert store.jobs.get(job.id).name == "changed"


def test_a_writer_waits_for_another(store: Store, engine: Engine) -> None:
    # Given a writer that has the job
    job = make_job(store)
    cancelled = threading.Event()

    def cancel() -> None:
        store.jobs.cancel(job.id)
        cancelled.set()

    with transaction(engine) as connection:
        connection.execute(text("UPDATE jobs SET name = 'changed'"))
        # When another comes, then it waits
        other = threading.Thread(target=cancel)
        other.start()
        assert not cancelled.wait(0.2)
    # And goes on once the first has committed
    other.join(10.0)
    assert cancelled.is_set()


def test_a_lock_that_is_never_given_back_is_an_error_that_says_so(
    database_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given little patience, and a writer that hangs
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(postgresql, "LOCK_TIMEOUT_SECONDS", 1)
    engine, other = create_engine(database_url), create_engine(database_url)
    store = Store(engine, settings)
    job = make_job(store)
    with transaction(other) as connection:
        connection.execute(text("UPDATE jobs SET name = 'changed'"))
        with pytest.raises(StoreUnavailableError, match="lock"):
            store.jobs.cancel(job.id)
    engine.dispose()
    other.dispose()


def test_an_error_rolls_everything_back(store: Store, engine: Engine) -> None:
    job = make_job(store)

    def fail_late() -> None:
        with transaction(engine) as connection:
            connection.execute(text("DELETE FROM jobs"))
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail_late()
    assert store.jobs.get(job.id) == job
