"""Everything at once, for a while: workers and their children are killed every few seconds, and Redis twice."""

from __future__ import annotations

import itertools
import signal
import time
from datetime import UTC, datetime

import pytest

from tests.faults.conftest import Fault
from tests.faults.parts import Worker
from tests.faults.rig import Load, Site
from unembed.schemas import BatchState

BETWEEN = 3.0  # seconds from one kill to the next


@pytest.mark.fault("T14 soak", until="queued again", once=True)
@pytest.mark.timeout(3600)
def test_a_long_job_under_steady_fire_ends_whole(site: Site, fault: Fault, soak_batches: int) -> None:
    # Given a job of many batches
    load = site.submit(batches=soak_batches, rows=8, seconds=0.1)
    restarts = [soak_batches // 3, soak_batches * 2 // 3]  # batches done when Redis is killed
    targets = itertools.cycle((worker, how) for how in (Worker.kill, _kill_child) for worker in site.workers)
    # When a worker or a child is killed every few seconds, and Redis twice, while it runs
    next_kill = time.monotonic() + BETWEEN / 2
    while not (job := site.store.jobs.get(load.job_id)).state.is_ended:
        if restarts and job.batches.done >= restarts[0]:
            restarts.pop(0)
            _restart_redis(site, load, fault)
        if time.monotonic() > next_kill:
            next_kill = time.monotonic() + BETWEEN
            worker, how = next(targets)
            if worker.is_ready:
                at = datetime.now(UTC)  # before: the batch may wait again before anybody can look
                how(worker)
                fault.strikes_now(*site.held_by(worker, load), at=at)
        fault.observe()
        for worker in site.workers:
            if not worker.runs:
                worker.start()
        time.sleep(0.05)
    # Then every batch is done, or dead after as many attempts as it has, and all else is well
    dead = site.batches(load, BatchState.DEAD)
    assert all(batch.attempt == batch.max_attempts for batch in dead)
    fault.ends_well(load, dead=[batch.id for batch in dead])
    assert not restarts
    assert fault.strikes > 2


def _kill_child(worker: Worker) -> None:
    worker.signal_child(signal.SIGKILL)


def _restart_redis(site: Site, load: Load, fault: Fault) -> None:
    fault.strikes_now(strikes=2)
    for server in (site.queue_server, site.payload_server):
        server.kill()
        server.start()
