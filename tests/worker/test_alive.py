from __future__ import annotations

import socket

import pytest
import sqlalchemy

from models.settings import Settings
from models.store import Store
from worker import alive


def test_a_worker_that_was_seen_just_now_is_alive(store: Store) -> None:
    # Given a worker of one host, When each host is asked, Then only that one has a worker that lives
    store.worker_seen("worker@here", "here", 1, None, None)
    assert (alive.is_alive(store, "here"), alive.is_alive(store, "elsewhere")) == (True, False)


def test_a_worker_that_was_silent_for_long_is_not(store: Store, engine: sqlalchemy.Engine) -> None:
    # Given a worker whose last heartbeat was long ago
    store.worker_seen("worker@here", "here", 1, None, None)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE workers SET last_seen = '2026-01-01 00:00:00.000000'"))
    # When its host is asked, Then it does not live
    assert alive.is_alive(store, "here") is False


def test_the_exit_code_says_it(settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given the environment of a worker that was not seen yet
    monkeypatch.setenv("UNEMBED_DATABASE_URL", settings.database_url)
    assert alive.main() == 1
    # When it was, Then the code is 0
    store.worker_seen("worker@here", socket.gethostname(), 1, None, None)
    assert alive.main() == 0


def test_a_database_that_is_down_is_no_proof_of_life(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a database that cannot be opened, When the worker is asked for, Then the code is 1, and one line says why
    monkeypatch.setenv("UNEMBED_DATABASE_URL", "sqlite:////nonexistent/unembed.db")
    assert alive.main() == 1
    assert "nonexistent" in capsys.readouterr().err
