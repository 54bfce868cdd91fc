"""What /metrics says of what was ever done, and of the API's own requests."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import ARROW, new_job, payload, put
from tests.api.test_health import sampled
from tests.api.test_results import finish
from tests.builders import add_batches, make_job
from unembed.models.store import Store

REQUESTS, SECONDS = "unembed_http_requests_total", "unembed_http_request_duration_seconds_count"


def test_what_was_done_is_told_by_decoder_and_by_worker(api: TestClient, store: Store) -> None:
    # Given a worker that finished one batch and failed at another
    store.workers.check_in("gpu0@host", "host", 1, "cuda:0", "bfloat16", "graph", 80_000)
    good, bad = add_batches(store, make_job(store, decoder="toy"), [3, 4])
    finish(store, good, errors=(1,), worker="gpu0@host")
    claim = store.attempts.claim(bad.id, "gpu0@host", 60)
    assert claim is not None
    store.attempts.fail(bad.id, claim.attempt, "decode_failed", "it broke", final=True)
    # When the metrics are read
    found = sampled(api)
    # Then the decoder's totals have both
    assert found["unembed_decoded_rows_total", ("toy", "ok")] == 2
    assert found["unembed_decoded_rows_total", ("toy", "error")] == 1 + 4
    assert found["unembed_batch_outcomes_total", ("", "toy", "done")] == 1
    assert found["unembed_batch_outcomes_total", ("decode_failed", "toy", "dead")] == 1
    assert found["unembed_off_manifold_rows_total", ("toy",)] == 0
    # And the worker's
    assert found["unembed_worker_batch_outcomes_total", ("decode_failed", "toy", "dead", "gpu0@host")] == 1
    assert found["unembed_worker_decoded_rows_total", ("toy", "gpu0@host")] == 3
    assert found["unembed_worker_gpu_memory_bytes", ("gpu0@host",)] == 80_000
    assert found["unembed_workers", ("alive",)] == 1
    # And each histogram has every bucket, counted from below
    assert found["unembed_row_decode_seconds_count", ("toy",)] == 3
    for name in ("unembed_batch_wait_seconds", "unembed_batch_age_seconds"):
        assert found[f"{name}_count", ("toy",)] == found[f"{name}_bucket", ("toy", "+Inf")] == 1
        assert found[f"{name}_bucket", ("toy", "86400.0")] == 1
    quality = [found["unembed_overall_quality_bucket", ("toy", str(bound / 10))] for bound in range(1, 11)]
    assert quality == sorted(quality)
    assert quality[-1] == found["unembed_overall_quality_count", ("toy",)] == 2


def test_nothing_done_is_told_as_zero_where_it_can_be(api: TestClient) -> None:
    # Given an idle server, When it is asked, Then what has a fixed set of labels is there
    found = sampled(api)
    assert [found["unembed_workers", (state,)] for state in ("alive", "silent", "ended")] == [0, 0, 0]
    assert found["unembed_sweeper_actions_total", ("sweep",)] == 0
    assert [found["unembed_ready", (check,)] for check in ("database", "migrations", "queue", "payloads")] == [1] * 4
    assert found["unembed_redis_use_limit_ratio", ()] == 0.7


@pytest.mark.parametrize(
    ("request_", "route", "status"),
    [
        ({"method": "GET", "url": "/healthz"}, "/healthz", "200"),
        ({"method": "HEAD", "url": "/healthz"}, "/healthz", "200"),
        ({"method": "GET", "url": "/v1/jobs/nope"}, "/v1/jobs/{job_id}", "404"),
        ({"method": "GET", "url": "/v1/jobs/nope/batches/7"}, "/v1/jobs/{job_id}/batches/{ordinal}", "404"),
        ({"method": "POST", "url": "/v1/jobs:estimate", "json": {}}, "/v1/jobs:estimate", "422"),
        ({"method": "GET", "url": "/openapi.json"}, "/openapi.json", "200"),
        ({"method": "GET", "url": "/made/up/by/somebody"}, "other", "404"),
        ({"method": "DELETE", "url": "/v1/jobs"}, "/v1/jobs", "405"),
    ],
)
def test_a_request_is_counted_by_its_route_and_not_by_its_path(
    api: TestClient, request_: dict[str, Any], route: str, status: str
) -> None:
    # Given a request, When it was answered, Then it is counted once, by a name that a client cannot choose
    api.request(**request_)
    found = sampled(api)
    assert found[REQUESTS, (request_["method"], route, status)] == 1
    assert found[SECONDS, (request_["method"], route)] == 1


def test_packed_bodies_and_refused_ones_are_counted_too(api: TestClient) -> None:
    # Given a batch that comes packed, and one that is too large
    job = new_job(api)
    assert (
        put(api, job, content=gzip.compress(payload()), headers=ARROW | {"Content-Encoding": "gzip"}).status_code == 201
    )
    assert put(api, job, 1, content=b"x" * 20_000).status_code == 413
    # Then both are counted; the second was refused before anybody asked for its route
    found = sampled(api)
    assert found[REQUESTS, ("PUT", "/v1/jobs/{job_id}/batches/{ordinal}", "201")] == 1
    assert found[REQUESTS, ("PUT", "other", "413")] == 1


def test_a_method_that_somebody_made_up_makes_no_series(api: TestClient) -> None:
    api.request("BREW", "/healthz")
    assert {labels[0] for name, labels in sampled(api) if name == REQUESTS} <= {"other", "GET"}


def test_an_error_that_nobody_foresaw_is_counted_as_one(serve: Any) -> None:
    # Given a route with a defect, When it is met, Then it is a 500
    client = serve()
    client.app.add_api_route("/defect", lambda: 1 / 0)
    client.get("/defect")
    assert sampled(client)[REQUESTS, ("GET", "/defect", "500")] == 1
