"""Workers are told to stop, one after the other, as in a rolling update."""

from __future__ import annotations

import signal

import pytest

from tests.faults.conftest import Fault
from tests.faults.rig import MICRO_BATCH, Site
from tests.worker.processes import await_


@pytest.mark.fault("T9 rolling TERM", until="queued again")
def test_workers_that_are_told_to_stop_hand_their_batches_back(site: Site, fault: Fault) -> None:
    loads = []
    for worker in site.workers[:2]:
        # Given workers that are in the middle of a batch
        site.mend()
        await_(lambda worker=worker: worker.is_ready, 60, f"{worker.name} is ready")
        load = site.submit(batches=4, rows=3 * MICRO_BATCH, seconds=0.3)
        loads.append(load)
        await_(lambda worker=worker, load=load: site.held_by(worker, load), 60, f"{worker.name} decodes")
        # When one gets TERM, and is started again, and then another one
        fault.strikes_now(*site.held_by(worker, load))
        worker.signal(signal.SIGTERM)
        assert worker.await_end() == 0
        worker.start()
    # Then all is well, and no batch has lost an attempt, or waited for a lease to run out
    fault.ends_well(*loads)
    batches = [batch for load in loads for batch in site.batches(load)]
    assert {batch.max_attempts - batch.attempt for batch in batches} == {site.settings.max_attempts - 1}
    assert {batch.error_code for batch in batches} == {None}
    # And some were handed back
    assert max(batch.attempt for batch in batches) > 1
