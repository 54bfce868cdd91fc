"""A job is cancelled while some of its batches are done, some run, and some wait."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Fault
from tests.faults.rig import Site
from tests.worker.processes import await_
from unembed.schemas import BatchState, JobState

SEEN_WITHIN = 3.0  # seconds; two on a machine that is not busy


@pytest.mark.fault("T12 cancel")
def test_a_cancelled_job_stops_soon_and_keeps_what_is_done(site: Site, fault: Fault) -> None:
    # Given a job of which two batches are done, two run, and two wait
    load = site.submit(batches=6, rows=80, seconds=[0.01, 0.01, 0.3, 0.3, 0.3, 0.3])
    counts = {BatchState.DONE: 2, BatchState.RUNNING: 2, BatchState.QUEUED: 2}
    await_(lambda: all(len(site.batches(load, state)) == count for state, count in counts.items()), 30, "they run")
    # When it is cancelled
    fault.strikes_now(*site.batches(load, BatchState.RUNNING, BatchState.QUEUED))
    site.client.cancel(load.job_id)
    # Then it stops soon, though its batches would go on for six seconds, and what is done stays
    fault.ends_well(load)
    assert site.store.job(load.job_id).state is JobState.CANCELLED
    assert [len(site.batches(load, state)) for state in (BatchState.DONE, BatchState.CANCELLED)] == [2, 4]
    assert max(fault.recoveries) < SEEN_WITHIN
