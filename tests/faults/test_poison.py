"""A batch that kills whoever decodes it, and a row that cannot be decoded."""

from __future__ import annotations

import pytest

from tests.builders import read
from tests.faults.conftest import Fault
from tests.faults.rig import Site
from tests.faults.stand_in import Kind
from tests.worker.processes import await_
from unembed.schemas import BatchState, JobState


@pytest.mark.fault("T8a batch that kills its worker")
def test_a_batch_that_kills_its_worker_is_given_up_and_the_others_are_decoded(site: Site, fault: Fault) -> None:
    # Given a job one of whose rows kills the process that decodes it
    load = site.submit(batches=3, seconds=0.05, kinds={10: Kind.KILLS})
    # When it has ended
    await_(lambda: site.store.jobs.get(load.job_id).state.is_ended, 60, "the job ends")
    # Then that batch has used up its attempts and has kept the last error; the others are done
    (dead,) = site.batches(load, BatchState.DEAD)
    fault.strikes_now(strikes=dead.attempt)
    assert (dead.ordinal, dead.attempt, dead.max_attempts) == (1, 4, 4)
    assert dead.error_code in ("worker_lost", "lease_expired")
    assert dead.error
    assert site.store.jobs.get(load.job_id).state is JobState.PARTIAL
    # And the workers take what comes next
    fault.ends_well(load, site.submit(batches=2, seconds=0.02), dead=[dead.id])


@pytest.mark.fault("T8b row that makes the decoder fail")
def test_a_row_that_makes_the_decoder_fail_is_the_only_error_row(site: Site, fault: Fault) -> None:
    # Given a job with a row that the decoder cannot read
    load = site.submit(batches=3, seconds=0.02, kinds={13: Kind.RAISES})
    fault.strikes_now()
    # When it has ended / Then that row is an error row, and every other one is there
    fault.ends_well(load, errors=[13])
    (row,) = (row for row in read(site.store, load.job_id) if row.index == 13)
    assert row.error_code == "decode_failed"
