"""What is answered while a part is down. The parts are real; their addresses lead nowhere."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from fastapi.testclient import TestClient
from pydantic import SecretStr

from tests import services
from tests.api.conftest import DECODER, assert_problem, new_job, payload, put
from tests.api.test_health import sampled
from tests.builders import DIM
from unembed.models.payloads import Payloads
from unembed.models.settings import Settings
from unembed.models.store import Store

Serve = Callable[..., TestClient]


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which nobody listens: ours, bound, and not listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def down(port: int) -> dict[str, str]:
    return {"database_url": f"postgresql://user:secret@127.0.0.1:{port}/unembed"}


@pytest.mark.parametrize(
    ("method", "path", "request_"),
    [
        ("POST", "/v1/jobs", {"json": {"decoder": DECODER, "embedding_dim": DIM}}),
        ("GET", "/v1/jobs", {}),
        ("GET", "/v1/jobs/a", {}),
        ("GET", "/v1/jobs/a/results", {}),
        ("POST", "/v1/jobs/a/cancel", {}),
        ("PUT", "/v1/jobs/a/batches/0?first_index=0", {"headers": {"Content-Type": "application/octet-stream"}}),
        ("GET", "/metrics", {}),  # whether it needs a key cannot be told
    ],
)
def test_a_database_that_is_down_is_a_problem_to_try_again(
    serve: Serve, closed_port: int, method: str, path: str, request_: dict[str, Any]
) -> None:
    # Given a database that does not answer, When anything that needs it is asked
    answer = serve(**down(closed_port)).request(method, path, **request_)
    # Then the problem names it, without its password, and says when to come back
    document = assert_problem(answer, 503, "store_unavailable", str(closed_port))
    assert int(answer.headers["retry-after"]) > 0
    assert "secret" not in document["detail"]


def test_a_database_file_that_cannot_be_opened_is_a_database_that_is_down(serve: Serve, tmp_path: Path) -> None:
    # Given a database in a folder that there is not, When it is needed, Then the problem names the file
    answer = serve(database_url=f"sqlite:///{tmp_path}/gone/unembed.db").get("/v1/jobs")
    assert_problem(answer, 503, "store_unavailable", "gone/unembed.db")


def test_readiness_names_the_database_that_is_down(serve: Serve, closed_port: int) -> None:
    # Given a database that does not answer, When it is asked whether it is ready
    client = serve(**down(closed_port))
    document = assert_problem(client.get("/readyz"), 503, "unavailable", "database")
    # Then it is the database that failed, not Redis; and the process lives
    assert (document["checks"]["queue"], document["checks"]["database"] == "ok") == ("ok", False)
    assert "secret" not in str(document)
    assert client.get("/healthz").status_code == 200


def test_metrics_say_which_part_is_down(serve: Serve, closed_port: int) -> None:
    # Given a database that does not answer, When the metrics are read with a key that is not in it
    client = serve(**down(closed_port), api_keys=(SecretStr("of-prometheus"),))
    client.headers["Authorization"] = "Bearer of-prometheus"
    found = sampled(client)
    # Then they say so, and have what there is
    assert [found["unembed_ready", (check,)] for check in ("database", "migrations", "queue", "payloads")] == [
        0,
        0,
        1,
        1,
    ]
    assert found["unembed_redis_memory_used_bytes", ("payloads",)] > 0
    assert not any(name == "unembed_batches" for name, _ in found)


def test_metrics_say_that_redis_is_down(serve: Serve, closed_port: int) -> None:
    # Given a Redis that does not answer, When the metrics are read, Then what SQL knows is there all the same
    found = sampled(serve(redis_url=f"redis://127.0.0.1:{closed_port}/0"))
    assert (found["unembed_ready", ("queue",)], found["unembed_ready", ("database",)]) == (0, 1)
    assert found["unembed_batches", ("queued",)] == 0
    assert not any(name == "unembed_redis_memory_used_bytes" for name, _ in found)


def test_a_batch_is_not_accepted_while_redis_is_down(serve: Serve, closed_port: int) -> None:
    # Given a job, and a Redis that does not answer
    client = serve(redis_url=f"redis://:secret@127.0.0.1:{closed_port}/0")
    job = new_job(client)
    # When a batch arrives
    answer = put(client, job)
    # Then the problem names Redis, without its password, and no row says that the batch was accepted
    document = assert_problem(answer, 503, "queue_unavailable", str(closed_port))
    assert "secret" not in document["detail"]
    assert int(answer.headers["retry-after"]) > 0
    assert client.get(f"/v1/jobs/{job}/batches").json()["batches"] == []


def test_readiness_names_the_redis_that_is_down(serve: Serve, api_settings: Settings, closed_port: int) -> None:
    # Given a queue that does not answer beside payloads that do, When it is asked, Then the one is named
    client = serve(redis_url=f"redis://127.0.0.1:{closed_port}/0", payload_url=api_settings.redis_url)
    document = assert_problem(client.get("/readyz"), 503, "unavailable", "queue")
    assert (document["checks"]["queue"] == "ok", document["checks"]["payloads"]) == (False, "ok")
    assert document["checks"]["database"] == "ok"


def test_a_batch_whose_message_could_not_be_sent_is_accepted_all_the_same(
    serve: Serve, api_settings: Settings, store: Store, closed_port: int
) -> None:
    # Given payloads that are kept by one Redis, and a queue in another that is down
    client = serve(redis_url=f"redis://127.0.0.1:{closed_port}/0", payload_url=api_settings.redis_url)
    # When a batch arrives
    answer = put(client, new_job(client))
    # Then it is accepted, its payload is kept, and the sweeper finds it as one that has to be published
    assert answer.status_code == 201, answer.text
    batch = answer.json()
    with redis.Redis.from_url(api_settings.redis_url) as connection:
        assert Payloads(connection, 60).get(batch["id"], batch["sha256"]) == payload()
    assert store.sweeping.sweep(0).publish == [batch["id"]]


def test_a_redis_that_is_full_refuses_the_batch(serve: Serve) -> None:
    # Given a Redis with as good as no memory left, that evicts nothing
    with services.redis_server() as url, redis.Redis.from_url(url) as connection:
        connection.config_set("maxmemory", 1)
        client = serve(redis_url=url)
        # When a batch arrives, Then it is refused for now, and was not recorded
        job = new_job(client)
        answer = put(client, job)
        assert_problem(answer, 429, "busy", "of 1 bytes", "70%")
        assert int(answer.headers["retry-after"]) > 0
        assert client.get(f"/v1/jobs/{job}/batches").json()["batches"] == []


def test_an_error_that_nobody_foresaw_tells_nothing_of_our_insides(serve: Serve) -> None:
    # Given a route with a defect
    client = serve()
    client.app.add_api_route("/defect", lambda: 1 / 0)  # type: ignore[attr-defined]
    # When it is met, Then the answer is a problem, and its cause is in the log alone
    document = assert_problem(client.get("/defect"), 500, "unembed")
    assert "division" not in str(document)


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nope", 404), ("DELETE", "/v1/jobs", 405)])
def test_a_path_or_method_that_there_is_not_is_a_problem_too(
    api: TestClient, method: str, path: str, status: int
) -> None:
    # Given no such route, When it is called, Then the framework's own error has our shape
    assert_problem(api.request(method, path), status, "not_found" if status == 404 else "input")
