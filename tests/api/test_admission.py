"""What is refused for now, so that what was accepted has room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis
from fastapi.testclient import TestClient
from pydantic import SecretStr

from tests import services
from tests.api.conftest import ARROW, DECODER, DIM, assert_problem, new_job, payload, put
from tests.builders import generations
from unembed.models.settings import Settings
from unembed.models.store import Store
from unembed.schemas import Timings

Serve = Callable[..., TestClient]
BYTES = len(payload())  # of a batch of two rows
MIB = 1024**2


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        ({"max_queued_rows": 3}, ("2 rows are queued", "2 more", "limit of 3")),
        ({"max_queued_bytes": 2 * BYTES - 1}, (f"{BYTES} bytes are queued", f"limit of {2 * BYTES - 1}")),
        ({"max_client_rows": 3}, ("2 rows of this client", "limit of 3")),
        ({"max_client_bytes": 2 * BYTES - 1}, (f"{BYTES} bytes of this client",)),
    ],
)
def test_past_a_limit_a_batch_is_refused_until_there_is_room(
    serve: Serve, store: Store, limit: dict[str, int], says: tuple[str, ...]
) -> None:
    # Given a queue that is as good as full
    client = serve(**limit)
    job = new_job(client)
    batch = store.jobs.batches(job)[0] if put(client, job).status_code == 201 else None
    assert batch is not None
    # When another batch arrives, Then it is refused for now, the problem names the numbers, and nothing was recorded
    answer = put(client, job, 1, 2)
    assert_problem(answer, 429, "busy", *says)
    assert int(answer.headers["retry-after"]) > 0
    assert len(store.jobs.batches(job)) == 1
    # And while the first one runs it still counts
    claim = store.attempts.claim(batch.id, "w", 60)
    assert claim is not None
    assert put(client, job, 1, 2).status_code == 429
    # And once it is done there is room
    store.attempts.finish(batch.id, claim.attempt, generations(batch), Timings())
    assert put(client, job, 1, 2).status_code == 201


def test_a_batch_larger_than_the_limit_is_let_in_when_nothing_waits(serve: Serve) -> None:
    # Given a limit of one row, When a batch of two arrives, Then it is not refused for ever
    client = serve(max_queued_rows=1)
    assert put(client, new_job(client)).status_code == 201


def test_one_client_s_limit_leaves_the_others_alone(serve: Serve) -> None:
    # Given two clients, of which one has used what a client may
    client = serve(api_keys=(SecretStr("one"), SecretStr("two")), max_client_rows=2)

    def send(key: str) -> Any:
        headers = {"Authorization": f"Bearer {key}"}
        spec = {"decoder": DECODER, "embedding_dim": DIM}
        job = client.post("/v1/jobs", json=spec, headers=headers).json()["id"]
        return put(client, job, headers=headers | ARROW)

    assert send("one").status_code == 201
    # When both send more / Then it is the one that is refused
    assert_problem(send("one"), 429, "busy", "rows of this client")
    assert send("two").status_code == 201


def test_redis_keeps_room_for_messages(serve: Serve, store: Store) -> None:
    # Given a Redis that may use 32 MiB
    with services.redis_server() as url, redis.Redis.from_url(url) as connection:
        client = serve(redis_url=url)
        job = new_job(client)
        connection.config_set("maxmemory", 32 * MIB)
        assert put(client, job).status_code == 201
        # When seven tenths of it are used
        connection.setrange("other", 22 * MIB, b"x")
        # Then a batch is refused for now, and is let in when there is room again
        assert_problem(put(client, job, 1, 2), 429, "busy", "Redis at unix://", "70%")
        connection.delete("other")
        assert put(client, job, 1, 2).status_code == 201
    assert len(store.jobs.batches(job)) == 2


def test_a_queue_of_its_own_keeps_room_too(serve: Serve, api_settings: Settings) -> None:
    # Given payloads elsewhere, and a queue whose Redis is full
    with services.redis_server() as url, redis.Redis.from_url(url) as connection:
        connection.config_set("maxmemory", 1)
        client = serve(redis_url=url, payload_url=api_settings.redis_url)
        # When a batch arrives, Then it is refused for now
        assert_problem(put(client, new_job(client)), 429, "busy", "of 1 bytes")
