"""What an application holds: bodies, a few at once; connections, until it is closed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis
from fastapi.testclient import TestClient

from tests.api.conftest import ARROW, new_job, payload, put
from tests.worker.processes import await_
from unembed.api import uploads
from unembed.api.app import create_app
from unembed.api.deps import UPLOADS_AT_ONCE
from unembed.models.settings import Settings

# Nothing here depends on which database it is.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def request_of(job: str, ordinal: int) -> dict[str, Any]:
    """The scope of a PUT of a batch."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "PUT",
        "scheme": "http",
        "path": f"/v1/jobs/{job}/batches/{ordinal}",
        "raw_path": b"",
        "query_string": f"first_index={ordinal * 2}".encode(),
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1"), *((k.lower().encode(), v.encode()) for k, v in ARROW.items())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8765),
    }


def test_no_more_bodies_are_read_at_once_than_may_be_held(api: TestClient, api_settings: Settings) -> None:
    # Given more uploads at once than there are places, whose bodies do not come yet
    job = new_job(api)
    asked: list[int] = []
    statuses: list[int] = []

    async def main() -> None:
        app = create_app(api_settings)
        may_send = asyncio.Event()

        async def upload(ordinal: int) -> None:
            async def receive() -> dict[str, Any]:
                asked.append(ordinal)
                await may_send.wait()
                return {"type": "http.request", "body": payload(), "more_body": False}

            async def send(message: dict[str, Any]) -> None:
                if message["type"] == "http.response.start":
                    statuses.append(message["status"])

            await app(request_of(job, ordinal), receive, send)

        tasks = [asyncio.create_task(upload(ordinal)) for ordinal in range(2 * UPLOADS_AT_ONCE)]
        while len(asked) < UPLOADS_AT_ONCE:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        # Then only as many are read as there are places
        assert len(asked) == UPLOADS_AT_ONCE
        # And when those have come, the others are read, too
        may_send.set()
        await asyncio.gather(*tasks)
        app.state.deps.close()

    asyncio.run(main())
    assert len(set(asked)) == 2 * UPLOADS_AT_ONCE
    assert statuses == [201] * 2 * UPLOADS_AT_ONCE


def test_a_body_that_does_not_come_gives_its_place_back(
    api: TestClient, api_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a body that never comes, and little patience
    monkeypatch.setattr(uploads, "BODY_WITHIN", 0.01)
    job = new_job(api)
    messages: list[dict[str, Any]] = []

    async def main() -> None:
        app = create_app(api_settings)

        async def send(message: dict[str, Any]) -> None:
            messages.append(message)

        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            raise AssertionError

        await app(request_of(job, 0), receive, send)
        # Then it is refused, and its place is free again
        assert app.state.deps.uploads.borrowed_tokens == 0
        app.state.deps.close()

    asyncio.run(main())
    assert messages[0]["status"] == 408
    assert b"the batch did not arrive within 0 s" in messages[1]["body"]


def clients_of(watching: redis.Redis) -> set[str]:
    """The connections that are open, by their numbers; those of tests before may still be on the list."""
    return {client["id"] for client in watching.client_list()}


def test_an_application_that_is_closed_leaves_no_connection_open(api_settings: Settings, redis_url: str) -> None:
    # Given an application that has used its queue, its payloads and its database
    with redis.Redis.from_url(redis_url) as watching:
        before = clients_of(watching)
        with TestClient(create_app(api_settings), base_url="http://127.0.0.1:8765") as client:
            assert put(client, new_job(client)).status_code == 201
            assert client.get("/readyz").status_code == 200
            assert clients_of(watching) - before
            deps = client.app.state.deps  # type: ignore[attr-defined]
        # When it has ended, Then Redis has none of its clients, and the database's pool is empty
        await_(lambda: not clients_of(watching) - before)  # Redis hears of it a little later
        assert deps.engine.pool.checkedout() == 0


def test_one_part_that_cannot_be_closed_keeps_no_other_open(
    api_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    deps = create_app(api_settings).state.deps
    closed: list[str] = []
    monkeypatch.setattr(deps.queue, "close", lambda: closed.append("queue"))
    monkeypatch.setattr(deps.payloads, "close", lambda: 1 / 0)
    monkeypatch.setattr(deps.celery, "close", lambda: closed.append("celery"))
    with pytest.raises(ZeroDivisionError):
        deps.close()
    assert closed == ["celery", "queue"]
