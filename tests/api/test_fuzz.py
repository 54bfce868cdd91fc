"""Whatever a request says, the answer is one that is described, and no error of the server.

The requests come from schemathesis, which makes them of the API's own description. `make fuzz-api` makes more of them.
"""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.conftest import LOOPBACK, new_job, put
from tests.api.test_results import finish
from tests.builders import add_batches, make_job
from unembed.models.store import Store

schemathesis = pytest.importorskip("schemathesis", reason="it is 30 MB; `make fuzz-api` installs it")

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

# Headers that belong to the connection, and no client can send with any value.
_NOT_SENT = {"content-length", "transfer-encoding", "connection", "host", "expect"}


@pytest.fixture
def jobs(api: TestClient, store: Store) -> list[str]:
    """One that receives, one that is queued, one that has ended with an error row, and one that there is not."""
    receiving = new_job(api)
    assert put(api, receiving).status_code == 201
    queued = make_job(store)
    add_batches(store, queued)
    ended = make_job(store)
    (batch,) = add_batches(store, ended, [3])
    finish(store, batch, errors=(1,))
    return [receiving, queued.id, ended.id, "nope"]


@pytest.mark.timeout(3600)
def test_no_request_is_an_error_of_the_server(api: TestClient, jobs: list[str], pytestconfig: pytest.Config) -> None:
    # Given every operation that is described, by a server that keeps nobody waiting
    api.app.state.deps.leaving.set()  # type: ignore[attr-defined]
    described = schemathesis.openapi.from_dict(api.app.openapi())  # type: ignore[attr-defined]
    examples = pytestconfig.getoption("--fuzz-examples")
    asked = 0
    for found in described.get_all_operations():
        operation = found.ok()

        # When requests of all kinds are made of it, valid and not
        @settings(
            max_examples=examples,
            derandomize=examples <= 5,  # the short form is the same each time
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(), job=st.sampled_from(jobs))
        def ask(case: Any, job: str) -> None:
            nonlocal asked
            if "job_id" in (case.path_parameters or {}):
                case.path_parameters["job_id"] = job
            asked += 1
            answer = _send(api, case)
            # Then it is answered as it is described (tests/api/honesty.py), and never by an error of the server
            assert answer.status_code < 500, (case.method, str(answer.request.url), answer.text)

        ask()
    assert asked > 30


def _send(api: TestClient, case: Any) -> Any:
    """As requests would send it, which schemathesis is made for."""
    import requests

    wanted = ("method", "url", "headers", "files", "data", "json", "params", "cookies")
    made = {name: value for name, value in case.as_transport_kwargs(base_url=LOOPBACK).items() if name in wanted}
    ready = requests.Request(**made).prepare()
    headers = [
        (name.encode("latin-1", "replace"), value if isinstance(value, bytes) else value.encode("latin-1", "replace"))
        for name, value in ready.headers.items()
        if name.lower() not in _NOT_SENT
    ]
    return api.request(str(ready.method), str(ready.url), headers=headers, content=ready.body)
