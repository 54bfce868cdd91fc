"""What a browser asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.builders import add_batches, make_job
from unembed.api.pages.shell import COOKIE
from unembed.generations import from_rows
from unembed.models.store import ClientLimits, Store
from unembed.models.store.keys import new_secret
from unembed.schemas import Generation, Job, KeyRole, RowStatus, Timings

HTML = {"Accept": "text/html,application/xhtml+xml"}
SCRIPT = "<script>alert(1)</script>"
ESCAPED = "&lt;script&gt;alert(1)&lt;/script&gt;"


@pytest.fixture
def browser(api: TestClient) -> TestClient:
    """The application's client, which asks for pages as a browser does."""
    api.headers.update(HTML)
    return api


@pytest.fixture
def browse(serve: Callable[..., TestClient]) -> Callable[..., TestClient]:
    """The same, of an application whose settings differ from the usual ones."""

    def start(**changes: Any) -> TestClient:
        client = serve(**changes)
        client.headers.update(HTML)
        client.follow_redirects = False
        return client

    return start


def sign_in(client: TestClient, store: Store, name: str, role: KeyRole = KeyRole.SUBMITTER) -> None:
    """The browser has the cookie of a new key of this name, of which the jobs have the client `key:NAME`."""
    secret = new_secret()
    store.keys.add(name, role, ClientLimits(), secret)
    client.cookies.set(COOKIE, secret)


def scripted_job(store: Store) -> Job:
    """An ended job of which everything that its client or its corpus decides is a script."""
    job = make_job(store, name=SCRIPT, labels={"kind": SCRIPT}, idempotency_key=SCRIPT)
    (batch,) = add_batches(store, job, (2,))
    claim = store.attempts.claim(batch.id, "cpu0@here", 60.0)
    assert claim is not None
    text = Generation(index=0, id=SCRIPT, text=SCRIPT, status=RowStatus.OK, overall_quality=0.5)
    error = Generation(index=1, id=SCRIPT, status=RowStatus.ERROR, error_code="not_finite", error=SCRIPT)
    assert store.attempts.finish(batch.id, claim.attempt, from_rows([text, error]), Timings())
    return store.jobs.get(job.id)


def assert_escaped(page: str, times: int) -> None:
    """The script stands there as text, so many times at least, and nowhere as one."""
    assert "<script>alert" not in page
    assert page.count(ESCAPED) >= times, page.count(ESCAPED)
