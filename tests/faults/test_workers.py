"""Workers die: the main process, its child, or one that has just been given a message."""

from __future__ import annotations

import signal
import time

import pytest

from tests.faults.conftest import Fault
from tests.faults.rig import Load, Site
from tests.worker.processes import await_


@pytest.mark.fault("T1 worker killed with -9")
def test_a_worker_killed_in_the_middle_of_a_batch_costs_time_and_nothing_else(site: Site, fault: Fault) -> None:
    # Given a job that two workers decode
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
    # Given a job that two workers decode
    load = site.submit(batches=5, seconds=0.2)
    worker, batch = site.busy(load)
    # When the child of one is killed with -9
    fault.strikes_now(batch)
    worker.signal_child(signal.SIGKILL)
    # Then all is well
    fault.ends_well(load)


@pytest.mark.fault("T3 message lost with its worker")
def test_a_message_that_dies_with_its_worker_is_sent_again(site: Site, fault: Fault) -> None:
    # Given workers that are stopped while they wait for messages, and as many batches, whose messages Redis hands them
    load, taken = _hand_out_to_the_stopped(site)
    batches = site.batches(load)
    # When they are killed with -9
    fault.strikes_now(*batches, strikes=len(site.workers))
    for worker in site.workers:
        worker.kill()
    # Then the messages are gone: they wait nowhere, nor does Redis know of any that was not acknowledged
    assert site.messages() == (0, taken)
    # And once there are workers again, all is well
    site.mend()
    fault.ends_well(load)


def _hand_out_to_the_stopped(site: Site) -> tuple[Load, int]:
    """The job, and how many messages were not acknowledged before. A worker asks for a message for a second, and then
    anew: one that is stopped just between gets none, so it may take a few trials."""
    for _ in range(20):
        taken = site.messages()[1]
        for worker in site.workers:
            worker.signal(signal.SIGSTOP)
        load = site.submit(batches=len(site.workers), seconds=0.02)
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            if site.messages() == (0, taken):
                return load, taken
            time.sleep(0.01)
        for worker in site.workers:
            worker.signal(signal.SIGCONT)
        await_(lambda load=load: site.store.job(load.job_id).state.is_ended, 30, "the job ends")
        await_(lambda taken=taken: site.messages() == (0, taken), 30, "its messages are acknowledged")
    raise AssertionError("in no trial was every message handed out")
