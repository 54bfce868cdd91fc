from __future__ import annotations

import socket
import time

import pytest
import sqlalchemy

from tests.builders import add_batches, make_job
from unembed.models.clock import now
from unembed.models.settings import Settings
from unembed.models.store import Store
from unembed.models.store.sql import WORKERS
from unembed.schemas import BatchState
from unembed.worker import liveness


def test_a_worker_that_was_seen_just_now_is_alive(store: Store) -> None:
    # Given a worker of one host, When each host is asked, Then only that one has a worker that lives
    store.workers.check_in("worker@here", "here", 1, None, None)
    assert (liveness.is_alive(store, "here"), liveness.is_alive(store, "elsewhere")) == (True, False)


def test_a_worker_that_was_silent_for_long_is_not(store: Store, engine: sqlalchemy.Engine) -> None:
    # Given a worker whose last heartbeat was long ago
    store.workers.check_in("worker@here", "here", 1, None, None)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE workers SET last_seen = '2026-01-01 00:00:00.000000'"))
    # When its host is asked, Then it does not live
    assert liveness.is_alive(store, "here") is False


@pytest.fixture
def impatient(settings: Settings, engine: sqlalchemy.Engine, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store for which 50 ms are a long time to wait."""
    monkeypatch.setattr(liveness, "PATIENCE", 0.05)
    return Store(engine, settings.model_copy(update={"republish_after": 0.01, "sweep_interval": 0.01}))


def seen_long_ago(store: Store, engine: sqlalchemy.Engine) -> None:
    """A worker that started long ago and still says that it is there."""
    store.workers.check_in("worker@here", "here", 1, None, None)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE workers SET started_at = '2026-01-01 00:00:00.000000'"))


def test_a_worker_that_takes_nothing_while_batches_wait_is_deaf(impatient: Store, engine: sqlalchemy.Engine) -> None:
    # Given a worker that shows itself, and a batch that has waited for long
    seen_long_ago(impatient, engine)
    assert liveness.is_alive(impatient, "here")
    first, second = add_batches(impatient, make_job(impatient))
    time.sleep(0.1)
    # When its host is asked, Then it does not live, whatever its process says
    assert liveness.is_alive(impatient, "here") is False
    # And with a batch in its hands it does, though another one waits
    impatient.attempts.claim(first.id, "worker@here", 60)
    assert liveness.is_alive(impatient, "here")
    # And when it is another worker that has it, it does not
    impatient.attempts.release(first.id, 1)
    impatient.attempts.claim(first.id, "worker@elsewhere", 60)
    time.sleep(0.1)
    assert liveness.is_alive(impatient, "here") is False
    assert second.state is BatchState.QUEUED


def test_a_worker_that_has_just_started_is_given_time(store: Store, engine: sqlalchemy.Engine) -> None:
    # Given a batch that has waited for long while no worker was there
    add_batches(store, make_job(store))
    seen_long_ago(store, engine)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE batches SET queued_at = '2026-01-01 00:00:00.000000'"))
    assert liveness.is_alive(store, "here") is False
    # When another process takes the worker's place, Then it lives
    store.workers.check_in("worker@here", "here", 2, None, None)
    assert liveness.is_alive(store, "here")


def test_the_exit_code_says_it(settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given the environment of a worker that was not seen yet
    monkeypatch.setenv("UNEMBED_DATABASE_URL", settings.database_url)
    assert liveness.main() == 1
    # When it was, Then the code is 0
    store.workers.check_in("worker@here", socket.gethostname(), 1, None, None)
    assert liveness.main() == 0


def test_a_database_that_is_down_is_no_proof_of_life(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a database that cannot be opened, When the worker is asked for, Then the code is 1, and one line says why
    monkeypatch.setenv("UNEMBED_DATABASE_URL", "sqlite:////nonexistent/unembed.db")
    assert liveness.main() == 1
    assert "nonexistent" in capsys.readouterr().err


def test_it_is_the_clock_of_the_database_that_tells(store: Store, engine: sqlalchemy.Engine) -> None:
    # Given a worker that was last seen 100 seconds ago, by the clock of the database
    store.workers.check_in("worker@here", "here", 1, None, None)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.update(WORKERS).values(last_seen=now(-100)))
    # When its host is asked, Then it was seen within 200 seconds and not within 50, whatever this machine's clock says
    assert store.workers.recently_seen("here", 200) == ["worker@here"]
    assert store.workers.recently_seen("here", 50) == []
    assert store.workers.recently_seen("elsewhere", 200) == []
