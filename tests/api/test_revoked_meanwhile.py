"""A key that is revoked while an answer is still coming: it ends."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import assert_problem
from tests.api.test_keys_by_name import add, submit
from tests.worker.processes import await_
from unembed.api.deps import Deps
from unembed.api.pages.shell import COOKIE
from unembed.models.store import Store

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

WAIT = 30  # seconds: a stream goes on for a quarter of an hour, a long poll for a minute


@pytest.fixture
def deps(api: TestClient) -> Deps:
    found: Deps = api.app.state.deps  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("is_last", [False, True], ids=["one of two keys", "the last key"])
@pytest.mark.parametrize("path", ["/v1/jobs/{job}/events", "/jobs/{job}/events", "/events"])
def test_a_stream_ends_when_its_key_is_revoked(
    api: TestClient, store: Store, deps: Deps, path: str, is_last: bool
) -> None:
    # Given somebody who follows a job, or all that happens, with a key, for programs or in a browser
    key = add(store, "mine")
    if not is_last:
        add(store, "another")
    job = submit(api, key)
    api.cookies.set(COOKIE, key["Authorization"].removeprefix("Bearer "))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(api.get, path.format(job=job), headers=key)
        await_(lambda: deps.waiters.are_some, 60, "it is followed")
        # When the key is revoked, Then the stream ends, long before it would by itself
        store.keys.revoke("mine")
        got = answer.result(WAIT)
    assert got.status_code == 200
    assert "event: end" not in got.text
    assert not deps.waiters.are_some


def test_a_long_poll_is_refused_when_its_key_is_revoked(api: TestClient, store: Store, deps: Deps) -> None:
    # Given somebody who waits for the end of a job
    key = add(store, "mine")
    add(store, "another")
    job = submit(api, key)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(api.get, f"/v1/jobs/{job}", headers={**key, "Prefer": "wait=60"})
        await_(lambda: deps.waiters.are_some, 60, "it is waited for")
        # When the key is revoked, Then they are told so, and nothing of the job
        store.keys.revoke("mine")
        assert_problem(answer.result(WAIT), 401, "auth", "revoked")
