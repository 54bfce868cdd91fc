"""Processes die at the worst points."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from tests.faults import stand_in
from tests.faults.conftest import Fault
from tests.faults.rig import Site
from tests.worker.processes import await_
from unembed.client import Client
from unembed.errors import UnavailableError


@pytest.mark.fault("T10a crash between commit and acknowledgement")
def test_a_crash_after_the_commit_and_before_the_acknowledgement_repeats_nothing(site: Site, fault: Fault) -> None:
    loads = []
    for how in ("", stand_in.PARENT_TOO):
        # Given a child that dies when it has committed its rows, before anything else: alone, then with its worker
        site.arm(stand_in.AFTER_COMMIT, how)
        # When a job is decoded
        loads.append(site.submit(batches=3, seconds=0.05))
        await_(lambda: site.has_struck(stand_in.AFTER_COMMIT), 60, "somebody has died")
        fault.strikes_now()
    await_(lambda: not all(worker.runs for worker in site.workers), 60, "the worker has ended")
    site.mend()
    # Then all is well: no batch was committed twice, or decoded again after its commit
    fault.ends_well(*loads)
    for load in loads:
        committed = site.commits(load)
        for batch_id, _ in site.deaths(load):
            (batch,) = (batch for batch in site.batches(load) if batch.id == batch_id)
            assert (batch_id, batch.attempt) in committed


@pytest.mark.fault("T10b crash between row and message")
def test_a_crash_before_the_message_is_survived_by_the_client_s_retry(site: Site, fault: Fault) -> None:
    # Given an API that dies when it has recorded a batch, before its message
    site.arm(stand_in.BEFORE_PUBLISH)
    with ThreadPoolExecutor(1) as pool:
        # When a job is sent to it
        sending = pool.submit(site.submit, batches=3, seconds=0.02)
        await_(lambda: not site.api.runs, 60, "the API has died")
        site.api.start()
        # Then the client has sent all of it by itself
        load = sending.result(60)
    # And all is well
    fault.strikes_at(site.deaths(load))
    fault.ends_well(load)


@pytest.mark.fault("T10b crash between row and message")
def test_a_crash_before_the_message_is_survived_by_the_same_submit(site: Site, fault: Fault) -> None:
    # Given an API that dies when it has recorded a batch, and a client that gives up
    site.arm(stand_in.BEFORE_PUBLISH)
    key = uuid.uuid4().hex
    with Client(site.api.url, retries=0) as client, pytest.raises(UnavailableError):
        site.submit(batches=3, seconds=0.02, key=key, client=client)
    await_(lambda: not site.api.runs, 60, "the API has died")
    site.api.start()
    # When the same is submitted again
    load = site.submit(batches=3, seconds=0.02, key=key)
    # Then all is well
    fault.strikes_at(site.deaths(load))
    fault.ends_well(load)


@pytest.mark.fault("T11a worker killed within its commit")
def test_a_worker_that_dies_within_its_commit_has_written_nothing(site: Site, fault: Fault) -> None:
    # Given a worker that dies with its child when the rows are written, and not committed
    site.arm(stand_in.WITHIN_FINISH, stand_in.PARENT_TOO)
    # When a job is decoded
    load = site.submit(batches=4, seconds=0.05)
    await_(lambda: site.has_struck(stand_in.WITHIN_FINISH), 60, "a worker has died")
    await_(lambda: not all(worker.runs for worker in site.workers), 60, "the worker has ended")
    site.mend()
    # Then another attempt writes the batch, and all is well
    fault.strikes_at(site.deaths(load))
    fault.ends_well(load)
    ((batch_id, at),) = site.deaths(load)
    (batch,) = (batch for batch in site.batches(load) if batch.id == batch_id)
    assert batch.attempt > 1
    assert batch.finished_at > datetime.fromtimestamp(at, UTC)
