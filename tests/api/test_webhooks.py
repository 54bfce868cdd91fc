"""Webhooks that are asked for over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import DECODER, assert_problem, new_job
from tests.builders import DIM
from tests.models.test_webhooks import SECRET, URL

SPEC = {"decoder": DECODER, "embedding_dim": DIM}

# Nothing here depends on which database it is.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_a_webhook_is_shown_without_its_secret(api: TestClient) -> None:
    # Given a job with a webhook, When it is looked at, Then its state is there, and its secret nowhere
    job = new_job(api, webhook={"url": URL, "secret": SECRET})
    answer = api.get(f"/v1/jobs/{job}/webhook")
    assert answer.json() == {
        "url": URL,
        "event": None,
        "attempts": 0,
        "next_at": None,
        "delivered_at": None,
        "error": None,
    }
    assert SECRET not in api.get(f"/v1/jobs/{job}").text
    # And when it is cancelled, then its end is to be told
    api.post(f"/v1/jobs/{job}/cancel")
    assert api.get(f"/v1/jobs/{job}/webhook").json()["next_at"] is not None
    # And a job without one has none
    assert_problem(api.get(f"/v1/jobs/{new_job(api)}/webhook"), 404, "not_found", "no webhook")


@pytest.mark.parametrize(
    ("webhook", "status", "says"),
    [
        ({"url": URL, "secret": "whsec_abc"}, 422, "body.webhook.secret is set, but not usable"),
        ({"url": "https://169.254.169.254/latest", "secret": SECRET}, 400, "no public address"),
        ({"url": "http://example.org/", "secret": SECRET}, 400, "https://"),
        ({"url": "nowhere", "secret": SECRET}, 422, "body.webhook.url is 'nowhere'"),
        ({"url": URL}, 422, "body.webhook.secret is missing"),
    ],
)
def test_a_webhook_that_cannot_be_is_refused(api: TestClient, webhook: Any, status: int, says: str) -> None:
    answer = api.post("/v1/jobs", json={**SPEC, "webhook": webhook})
    assert_problem(answer, status, "input", says)
    assert "whsec_" not in answer.text.replace("whsec_ and 24", "")


def test_a_private_host_may_be_allowed(serve: Callable[..., TestClient]) -> None:
    client = serve(webhook_hosts=("hooks.internal",))
    assert new_job(client, webhook={"url": "http://hooks.internal:8080/x", "secret": SECRET})
