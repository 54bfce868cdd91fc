from __future__ import annotations

import time
from typing import Any

from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from tests.api.conftest import assert_problem
from tests.api.test_results import finish
from tests.builders import add_batches, make_job
from unembed.models import database
from unembed.models.store import Store


def sampled(api: TestClient) -> dict[tuple[str, tuple[str, ...]], float]:
    """The metrics by name and the values of their labels, which come in the order of the labels' names."""
    answer = api.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(answer.text)
    return {
        (sample.name, tuple(sample.labels.values())): sample.value for family in families for sample in family.samples
    }


def test_a_server_with_all_its_parts_is_ready(api: TestClient) -> None:
    # Given a database at the newest revision, and Redis, When it is asked
    answer = api.get("/readyz")
    # Then it is ready, and says what it looked at
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "checks": {"database": "ok", "migrations": "ok", "queue": "ok", "payloads": "ok"},
    }


def test_a_server_that_lives_says_so(api: TestClient) -> None:
    assert (api.get("/healthz").status_code, api.get("/healthz").json()) == (200, {"status": "ok"})


def test_an_empty_database_is_not_ready(serve: Any, empty_database_url: str) -> None:
    # Given a database without a table, When it is asked
    answer = serve(database_url=empty_database_url).get("/readyz")
    # Then the migrations are what failed, and the error says what to run
    document = assert_problem(answer, 503, "unavailable", "unembed db upgrade")
    assert document["checks"]["migrations"] != "ok"
    assert document["checks"]["queue"] == "ok"


def test_the_revision_is_asked_anew_each_time(api: TestClient, engine: Any) -> None:
    # Given a server that was ready
    assert api.get("/readyz").status_code == 200
    # When the tables are taken away, Then it is not any more; and when they are back, it is again
    database.downgrade(engine)
    assert_problem(api.get("/readyz"), 503, "unavailable", "migrations")
    database.upgrade(engine)
    assert api.get("/readyz").status_code == 200


def test_the_metrics_of_an_idle_server_are_zeros_not_absent(api: TestClient) -> None:
    # Given nothing to do, When the metrics are read
    found = sampled(api)
    # Then each state is there, so that no alert waits for a series to appear
    for state in ("queued", "running", "dead"):
        assert found["unembed_batches", (state,)] == 0
    for status in ("ok", "fallback", "error"):
        assert found["unembed_rows", (status,)] == 0
    assert found["unembed_oldest_queued_seconds", ()] == 0
    assert found["unembed_jobs", ("succeeded",)] == 0


def test_the_metrics_are_those_of_the_store(api: TestClient, store: Store) -> None:
    # Given a batch of each state, and a worker
    batches = add_batches(store, make_job(store), [3, 4, 5, 6])
    store.workers.check_in("gpu0@host", "host", 1, "cuda:0", "bfloat16", "torch")
    finish(store, batches[0], errors=(1,), worker="gpu0@host")
    assert store.attempts.claim(batches[1].id, "gpu0@host", 60) is not None
    dying = store.attempts.claim(batches[2].id, "gpu0@host", 60)
    assert dying is not None
    store.attempts.fail(batches[2].id, dying.attempt, "boom", "it broke", final=True)
    # When the metrics are read
    found = sampled(api)
    # Then they count them
    assert found["unembed_batches", ("queued",)] == 1
    assert found["unembed_batches", ("running",)] == 1
    assert found["unembed_batches", ("dead",)] == 1
    assert found["unembed_queued_rows", ()] == 6
    assert found["unembed_oldest_queued_seconds", ()] > 0
    assert found["unembed_rows", ("ok",)] == 2
    assert found["unembed_rows", ("error",)] == 1 + 5  # one of a batch that is done, and all of the one that is dead
    assert found["unembed_jobs", ("running",)] == 1
    assert found["unembed_worker_rows_total", ("gpu0@host",)] == 3
    assert found["unembed_worker_batches_total", ("gpu0@host",)] == 1
    assert abs(found["unembed_worker_last_seen_timestamp_seconds", ("gpu0@host",)] - time.time()) < 60
    assert found["unembed_worker_info", ("cuda:0", "torch", "bfloat16", "gpu0@host")] == 1


def test_two_applications_in_one_process_keep_their_metrics_apart(serve: Any, empty_database_url: str) -> None:
    # Given two applications, one of them on a database without tables
    broken, working = serve(database_url=empty_database_url), serve()
    working.get("/healthz")
    # When both are scraped, Then the one fails and the other does not
    assert_problem(broken.get("/metrics"), 503, "store_unavailable")
    found = sampled(working)
    # And it has counted its own requests alone
    assert found["unembed_http_requests_total", ("GET", "/healthz", "200")] == 1
    assert ("unembed_http_requests_total", ("GET", "/metrics", "503")) not in found
