"""Workers die: the main process, its child, or one that has just been given a message."""

from __future__ import annotations

import signal
import sqlite3
import time
from contextlib import closing

import pytest

from tests.faults.conftest import Fault
from tests.faults.parts import Worker
from tests.faults.rig import Load, Site
from tests.worker.processes import await_


@pytest.mark.fault("T1 worker killed with -9")
def test_a_worker_killed_in_the_middle_of_a_batch_costs_time_and_nothing_else(site: Site, fault: Fault) -> None:
    # Given a job that several workers decode
    load = site.submit(batches=5, seconds=0.2)
    worker, batch = site.busy(load)
    # When one of them is killed with -9, and started again as any supervisor would
    fault.strikes_now(batch)
    worker.kill()
    worker.start()
    # Then all is well
    fault.ends_well(load)


@pytest.mark.fault("T2 worker's child killed with -9")
def test_a_child_killed_in_the_middle_of_a_batch_costs_time_and_nothing_else(site: Site, fault: Fault) -> None:
    # Given a job that several workers decode
    load = site.submit(batches=5, seconds=0.2)
    worker, batch = site.busy(load)
    # When the child of one is killed with -9
    fault.strikes_now(batch)
    worker.signal_child(signal.SIGKILL)
    # Then all is well
    fault.ends_well(load)


@pytest.mark.fault("T3 message lost with its worker")
def test_a_message_that_dies_with_its_worker_is_sent_again(site: Site, fault: Fault) -> None:
    # Given workers that are stopped, one of them while it waits for a message, and a batch whose message it is given
    worker = next(worker for worker in site.workers if worker.is_ready)
    load, taken = _hand_out_to_the_stopped(site, worker)
    # When it is killed with -9
    fault.strikes_now(*site.batches(load))
    worker.kill()
    # Then the message is gone: it waits nowhere, nor does Redis know of one that was not acknowledged
    assert site.messages() == (0, taken)
    # And once there are workers again, all is well
    for other in site.workers:
        if other is not worker:
            other.signal(signal.SIGCONT)
    fault.ends_well(load)


def _hand_out_to_the_stopped(site: Site, worker: Worker) -> tuple[Load, int]:
    """The job, and how many messages were not acknowledged before. On a busy machine the second for which a worker
    waits may be over before the message comes: then once more."""
    for _ in range(10):
        taken = _stop(site, worker)
        load = site.submit(batches=1, seconds=0.02) if _can_be_written(site) else None
        if load and site.messages() == (0, taken):
            return load, taken
        for each in site.workers:
            each.signal(signal.SIGCONT)
        if load:
            await_(lambda load=load: site.store.jobs.get(load.job_id).state.is_ended, 60, "the job ends")
    raise AssertionError("in no trial was the message handed out")


def _stop(site: Site, worker: Worker) -> int:
    """Stops all workers, this one at the beginning of the second for which it waits for a message; how many messages
    are taken and not acknowledged."""
    site.mend(ready=len(site.workers))
    for each in site.workers:
        each.signal(signal.SIGSTOP)
    await_(lambda: _waiting(site) == 0, 60, "nobody waits for a message")
    worker.signal(signal.SIGCONT)
    deadline = time.monotonic() + 30
    while _waiting(site) == 0:  # without a pause: that second runs
        assert time.monotonic() < deadline, "the worker waits for a message"
    worker.signal(signal.SIGSTOP)
    return site.messages()[1]


def _can_be_written(site: Site) -> bool:
    """False where one of the stopped was in the middle of a write to SQLite: it holds the lock for as long."""
    if site.database != "sqlite":
        return True
    with closing(sqlite3.connect(site.database_url.removeprefix("sqlite:///"), timeout=0.2)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        connection.rollback()
        return True


def _waiting(site: Site) -> int:
    """How many connections are blocked until a message comes."""
    return sum("b" in client["flags"] for client in site.queue.client_list())
