"""The id of a request: taken if it came with one, made if not, and wherever the request is spoken of."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import new_job, put
from unembed.models import logs

# Nothing here depends on which database it is.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_an_id_that_came_is_echoed_and_a_problem_carries_it(api: TestClient) -> None:
    # Given a request with an id / When it meets a problem, Then header and problem have the id
    answer = api.get("/v1/jobs/none", headers={"X-Request-ID": "nightly-7/3"})
    assert answer.headers["X-Request-ID"] == answer.json()["request_id"] == "nightly-7/3"


@pytest.mark.parametrize("bad", ["", "x" * 129, 'a"b', "a b", "\u00e9"])
def test_an_id_that_could_not_stand_in_a_log_is_replaced(api: TestClient, bad: str) -> None:
    # Given an id with other characters than ids have, or none / When it is sent, Then the answer has one of ours
    answer = api.get("/healthz", headers={"X-Request-ID": bad.encode("latin-1")})
    assert answer.status_code == 200
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-ID"])


def test_what_nobody_foresaw_has_the_id_as_well(
    serve: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a route that breaks
    api = serve()
    monkeypatch.setattr("unembed.api.routes.jobs.look", lambda *_: 1 / 0)
    # When it is called, Then the answer says by which id its log can be searched
    answer = api.get(f"/v1/jobs/{new_job(api)}", headers={"X-Request-ID": "mine"})
    assert answer.status_code == 500
    assert answer.headers["X-Request-ID"] == answer.json()["request_id"] == "mine"


def test_a_line_of_the_log_within_a_request_names_it_and_its_batch(
    api: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a batch that is sent under an id
    caplog.set_level(logging.INFO)
    caplog.handler.setFormatter(logs.TextLines())
    job = new_job(api)
    api.headers["X-Request-ID"] = "mine"
    assert put(api, job, 0, 0).status_code == 201
    # When the log is read, Then the line of its acceptance names the batch and the request
    (line,) = (line for line in caplog.text.splitlines() if "accepted" in line)
    assert f"[batch={job}-0 request_id=mine]" in line
