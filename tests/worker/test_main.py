"""The main process watches over itself."""

from __future__ import annotations

import os

import pytest
import sqlalchemy

from tests.builders import add_batches, make_job
from unembed.models.store import Store
from unembed.worker import liveness
from unembed.worker.context import Context
from unembed.worker.main import _MainProcess


class EndedError(Exception):
    pass


@pytest.fixture
def main_process(context: Context, monkeypatch: pytest.MonkeyPatch) -> _MainProcess:
    """Of a worker that has no patience, and whose end is an exception."""

    def end(code: int) -> None:
        raise EndedError(code)

    monkeypatch.setattr(liveness, "PATIENCE", 0.0)
    monkeypatch.setattr(liveness, "REPUBLISHED", 0)
    monkeypatch.setattr(os, "_exit", end)
    return _MainProcess(context)


def test_a_worker_that_is_brought_nothing_while_batches_wait_ends(
    main_process: _MainProcess, store: Store, engine: sqlalchemy.Engine, context: Context
) -> None:
    # Given a worker that has been there for long, and has shown itself
    main_process._show_life()
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE workers SET started_at = '2026-01-01 00:00:00.000000'"))
    main_process._show_life()
    # When a batch waits that is not brought to it / Then it ends, so that another one is started in its place
    (batch,) = add_batches(store, make_job(store), (1,))
    with pytest.raises(EndedError):
        main_process._show_life()
    # And one that is at work goes on
    store.attempts.claim(batch.id, context.name, 60)
    add_batches(store, make_job(store), (1,))
    main_process._show_life()
