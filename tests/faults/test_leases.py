"""A worker is not dead, but slower than its lease."""

from __future__ import annotations

import signal

import pytest

from tests.faults.conftest import Fault
from tests.faults.rig import MICRO_BATCH, Site
from tests.worker.processes import await_
from unembed.schemas import BatchState


@pytest.mark.fault("T13 worker slower than its lease")
def test_an_attempt_that_outlives_its_lease_cannot_commit(site: Site, fault: Fault) -> None:
    # Given a batch that is decoded in one go
    load = site.submit(batches=1, rows=MICRO_BATCH, seconds=3.0)
    slow, batch = site.busy(load)
    # When its process is stopped for longer than its lease, and another worker finishes the batch
    fault.strikes_now(batch)
    slow.signal_child(signal.SIGSTOP)
    await_(lambda: site.batches(load, BatchState.DONE), what="another worker finishes it")
    slow.signal_child(signal.SIGCONT)
    # Then the first attempt comes to its end all the same, and is refused
    await_(lambda: ["fenced", batch.id, str(batch.attempt)] in site.journal(), what="the stale attempt is refused")
    # And all is well, with the rows of the second
    fault.ends_well(load)
    assert [attempt for _, attempt in site.commits(load)] == [batch.attempt + 1]
    assert site.holder(site.batches(load)[0]) is not slow
