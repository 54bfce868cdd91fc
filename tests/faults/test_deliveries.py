"""A message comes more than once."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Fault
from tests.faults.rig import Site
from tests.worker.processes import await_
from unembed.schemas import BatchState


@pytest.mark.fault("T6 message delivered five times")
def test_five_messages_and_three_workers_write_one_set_of_rows(site: Site, fault: Fault) -> None:
    # Given a batch that waits, and whose message was never sent
    site.mend(ready=len(site.workers))
    load = site.queue_without_message(rows=8, seconds=0.3)
    (batch,) = site.batches(load)
    # When its message is sent five times to workers that wait
    fault.strikes_now(batch, strikes=5)
    for _ in range(5):
        site.publish(batch.id)
    # Then each has got one, and one of them decodes
    await_(lambda: all(batch.id in worker.log.read_text() for worker in site.workers), 60, "each got one")
    fault.ends_well(load)
    # And the other four messages came to nothing
    await_(lambda: site.logged("not claimed", batch.id) == 4, 60, "four messages too many")
    assert [attempt for _, attempt in site.commits(load)] == [1]


@pytest.mark.fault("T7 visibility timeout shorter than the task", on="postgresql")
def test_a_message_that_comes_back_while_its_batch_is_decoded_changes_nothing(site: Site, fault: Fault) -> None:
    # Given a worker that believes a message lost when it was not acknowledged within a second
    impatient = site.worker("impatient", FAULTS_VISIBILITY_TIMEOUT="1")
    impatient.start()
    await_(lambda: impatient.is_ready, 60, "the worker is ready")
    site.workers.append(impatient)
    try:
        # When a batch takes longer than that
        load = site.submit(batches=1, rows=8, seconds=1.4)
        _, batch = site.busy(load)
        fault.strikes_now(batch)
        # Then its message comes again while it is decoded
        await_(lambda: site.logged("not claimed", batch.id), 60, "the message came again")
        assert site.batches(load, BatchState.RUNNING)
        # And all is well, with one attempt that was committed
        fault.ends_well(load, gone_too=[impatient])
        assert [attempt for _, attempt in site.commits(load)] == [1]
    finally:
        site.workers.remove(impatient)
        impatient.kill()
