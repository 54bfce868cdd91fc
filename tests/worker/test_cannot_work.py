"""A worker whose device is not there says so and ends, and a stack of nothing but such workers gives up."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.builders import add_batches, make_job, run_job
from unembed.errors import CannotWorkError
from unembed.models.clock import now
from unembed.models.settings import Settings
from unembed.models.store import Store
from unembed.models.tables import BatchRow
from unembed.worker import process
from unembed.worker.launch import Stack
from unembed.worker.stillborn import Stillborn


def test_a_child_whose_device_is_not_there_ends_its_worker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, settings: Settings
) -> None:
    # Given a device that no machine has
    monkeypatch.setenv("UNEMBED_DEVICE", "cuda:99")
    monkeypatch.setenv("UNEMBED_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("UNEMBED_DATABASE_URL", settings.database_url)
    monkeypatch.setattr(process, "_opened", [])
    sent: list[int] = []
    monkeypatch.setattr(os, "kill", lambda _pid, number: sent.append(number))
    before = signal.getsignal(process.HAND_BACK)
    # When the child starts
    process.start("cpu0@here")
    signal.signal(process.HAND_BACK, before)
    store = process.context().store
    (told,) = store.workers.all()
    store.engine.dispose()
    # Then it tells its main process why, before it asks it to end, and the log has the reason
    assert sent == [process.CANNOT_WORK, signal.SIGTERM]
    assert "device 'cuda:99' is not available here" in caplog.text
    # And so has whoever waits for a worker
    assert "device 'cuda:99' is not available here" in str(told.ended_with)


class Supervised:
    """A supervisor of workers of which some are hopeless."""

    def __init__(self, *hopeless: str) -> None:
        self._hopeless = hopeless

    def is_hopeless(self, name: str) -> bool:
        return name in self._hopeless

    def last_words(self, _name: str) -> str:
        return "device 'cuda' is not available here"


@pytest.mark.parametrize("hopeless", [(), ("worker-gpu0",), ("worker-gpu1",)])
def test_a_stack_goes_on_while_one_worker_may_work(tmp_path: Path, hopeless: tuple[str, ...]) -> None:
    stack = Stack(tmp_path)
    stack.workers = ("gpu0", "gpu1")
    stack._supervisor = Supervised(*hopeless)  # type: ignore[assignment]
    stack.check()


def test_a_stack_whose_workers_are_all_hopeless_gives_up_with_their_last_words(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    stack.workers = ("gpu0", "gpu1")
    stack._supervisor = Supervised("worker-gpu0", "worker-gpu1")  # type: ignore[assignment]
    with pytest.raises(CannotWorkError, match="no worker can work: device 'cuda' is not available here"):
        stack.check()


def test_processes_that_die_before_they_claim_anything_are_counted() -> None:
    # Given a worker whose child dies each time before it is ready
    stillborn = Stillborn(lambda: False)
    # When the third is dead, Then they are too many
    assert [stillborn.are_too_many([pid]) for pid in (1, 1, 2, 3, 4)] == [False, False, False, False, True]


def test_a_worker_that_has_decoded_is_well_whatever_becomes_of_its_children() -> None:
    stillborn = Stillborn(lambda: True)
    assert not any(stillborn.are_too_many([pid]) for pid in range(10))


def test_whether_a_worker_has_claimed_since_it_started_is_in_sql(store: Store) -> None:
    # Given a worker that has claimed nothing, Then a batch of an earlier life of it does not count, but a new one does
    job = make_job(store)
    first, second = add_batches(store, job)
    store.attempts.claim(first.id, "cpu0@here", 60.0)
    with store.engine.begin() as connection:
        connection.execute(update(BatchRow).values(claimed_at=now(-60)))
    store.workers.check_in("cpu0@here", "here", 1, None, None)
    assert not store.workers.has_claimed("cpu0@here")
    store.attempts.claim(second.id, "cpu0@here", 60.0)
    assert store.workers.has_claimed("cpu0@here")


def test_a_worker_has_claimed_what_it_finished_even_if_the_job_is_gone(store: Store) -> None:
    job = make_job(store)
    add_batches(store, job)
    store.workers.check_in("worker", "here", 1, None, None)
    run_job(store, job)
    store.jobs.remove(job.id)
    assert store.workers.has_claimed("worker")
