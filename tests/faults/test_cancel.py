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
    # Given a job four of whose batches are done, while some run and the others wait. All workers are there: one that is
    # still starting would keep a short batch until long ones are done.
    site.mend(ready=len(site.workers))
    load = site.submit(batches=9, rows=80, seconds=[*[0.01] * 4, *[0.3] * 5])
    await_(lambda: len(site.batches(load, BatchState.DONE)) == 4, 60, "four are done")
    await_(lambda: site.batches(load, BatchState.RUNNING), 60, "another one runs")
    assert site.batches(load, BatchState.QUEUED)
    # When it is cancelled
    fault.strikes_now(*site.batches(load, BatchState.RUNNING, BatchState.QUEUED))
    site.client.cancel(load.job_id)
    # Then it stops soon, though its batches would go on for six seconds, and what is done stays
    fault.ends_well(load)
    assert site.store.jobs.get(load.job_id).state is JobState.CANCELLED
    assert [len(site.batches(load, state)) for state in (BatchState.DONE, BatchState.CANCELLED)] == [4, 5]
    assert max(fault.recoveries) < SEEN_WITHIN
