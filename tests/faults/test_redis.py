"""Redis is full, emptied, killed, or drops everybody."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx2
import pytest
import redis

from tests.faults.conftest import Fault
from tests.faults.rig import Site
from tests.worker.processes import await_
from unembed.client import Client
from unembed.schemas import BatchState

# Of nine batches. A busy machine may take as long to send them all as three workers take for short ones.
SLOW_FIRST = [0.6] * 3 + [0.05] * 6


class Watched(httpx2.HTTPTransport):
    """Keeps the requests that were made, with the status of their answers."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, int, httpx2.Headers]] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        response = super().handle_request(request)
        self.seen.append((request.method, response.status_code, response.headers))
        return response

    def answers(self, method: str) -> list[int]:
        return [status for name, status, _ in self.seen if name == method]


@contextmanager
def full(*servers: redis.Redis) -> Iterator[None]:
    """They have no room for anything more."""
    for server in servers:
        server.config_set("maxmemory", int(server.info("memory")["used_memory"]) - 1)
    try:
        yield
    finally:
        for server in servers:
            server.config_set("maxmemory", 0)


@pytest.mark.fault("T4 Redis at maxmemory", on="sqlite")
def test_a_redis_that_is_full_refuses_batches_and_loses_none(site: Site, fault: Fault) -> None:
    # Given a job that several workers decode
    load = site.submit(batches=6, seconds=0.15)
    site.busy(load)
    mains = [worker.pid for worker in site.workers]
    transport = Watched()
    with Client(site.api.url, retries=30, transport=transport) as client, ThreadPoolExecutor(1) as pool:
        # When Redis has no room for anything more, and another job is sent
        with full(site.queue, site.payloads):
            fault.strikes_now(*site.batches(load, BatchState.RUNNING, BatchState.QUEUED))
            sending = pool.submit(site.submit, batches=2, seconds=0.05, client=client)
            # Then its batches are refused for now, and the client is told when to come again
            await_(lambda: 429 in transport.answers("PUT"), 60, "a batch is refused")
            assert all("Retry-After" in headers for _, status, headers in transport.seen if status == 429)
        # And once there is room, the client has sent it by itself
        other = sending.result(60)
    assert transport.answers("PUT").count(201) == 2
    # And all is well, with the workers that there were
    fault.ends_well(load, other)
    assert all(worker.runs for worker in site.workers)
    assert [worker.pid for worker in site.workers] == mains


@pytest.mark.fault("T5a FLUSHALL of the queue alone", on="sqlite")
def test_a_queue_that_is_emptied_fills_again(site: Site, fault: Fault) -> None:
    # Given a job whose batches wait in the queue, behind three that take long
    load = site.submit(batches=9, seconds=SLOW_FIRST)
    site.busy(load)
    # When the queue's Redis is emptied
    waiting = site.batches(load, BatchState.QUEUED)
    assert len(waiting) >= 3
    fault.strikes_now(*waiting)
    site.queue.flushall()
    # Then all is well
    fault.ends_well(load)


@pytest.mark.fault("T5b FLUSHALL with the payloads", on="sqlite")
def test_payloads_that_are_lost_end_their_batches_and_are_sent_again_by_the_same_submit(
    site: Site, fault: Fault
) -> None:
    # Given a job whose batches wait in the queue, behind three that take long, submitted under a key
    key = uuid.uuid4().hex
    load = site.submit(batches=9, seconds=SLOW_FIRST, key=key)
    site.busy(load)
    # When the queue and the payloads are lost
    lost = site.batches(load, BatchState.QUEUED)
    assert len(lost) >= 3
    site.payloads.flushall()
    site.queue.flushall()
    # Then the batches that waited are dead, and say why; a worker that had its payload already has gone on
    await_(lambda: site.store.jobs.get(load.job_id).state.is_ended, 60, "the job ends")
    dead = site.batches(load, BatchState.DEAD)
    assert {batch.id for batch in dead} <= {batch.id for batch in lost}
    assert dead
    assert {batch.error_code for batch in dead} == {"payload_missing"}
    # And the same submit sends exactly these
    fault.strikes_now(*dead)
    transport = Watched()
    with Client(site.api.url, transport=transport) as client:
        again = site.submit(batches=9, seconds=SLOW_FIRST, key=key, client=client)
    assert again.job_id == load.job_id
    assert len(transport.answers("PUT")) == len(dead)
    # And all is well
    fault.ends_well(load)


@pytest.mark.fault("T5c Redis killed with -9", on="postgresql")
def test_a_redis_that_is_killed_comes_back_with_what_it_had(site: Site, fault: Fault) -> None:
    # Given a job that several workers decode
    load = site.submit(batches=6, seconds=0.1)
    site.busy(load)
    # When both servers are killed with -9, and started again
    fault.strikes_now(*site.batches(load, BatchState.RUNNING, BatchState.QUEUED), strikes=2)
    for server in (site.queue_server, site.payload_server):
        server.kill()
    for server in (site.queue_server, site.payload_server):
        server.start()
    # Then all is well
    fault.ends_well(load)


@pytest.mark.fault("T5d every connection cut", on="postgresql")
def test_connections_that_are_cut_are_made_again(site: Site, fault: Fault) -> None:
    # Given a job that several workers decode
    load = site.submit(batches=8, seconds=0.12)
    site.busy(load)
    # When every connection to Redis is cut, and again, and again
    for _ in range(3):
        fault.strikes_now(*fault.not_hit_yet(site.batches(load, BatchState.RUNNING)))
        for server in (site.queue, site.payloads):
            for kind in ("normal", "pubsub"):
                server.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        time.sleep(0.3)  # under load: between two cuts some are made again, and some are about to be
    # Then all is well
    fault.ends_well(load)
