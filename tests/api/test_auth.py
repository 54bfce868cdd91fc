from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from tests.api.conftest import DECODER, assert_problem
from tests.builders import DIM
from unembed.api.app import create_app
from unembed.errors import InputError
from unembed.models.settings import Settings

SPEC = {"decoder": DECODER, "embedding_dim": DIM}
Serve = Callable[..., TestClient]

# Nothing here depends on which database it is.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def locked(serve: Serve) -> TestClient:
    return serve(api_keys=(SecretStr("first-key"), SecretStr("second-key")))


@pytest.mark.parametrize("key", ["first-key", "second-key"])
def test_each_of_the_keys_opens(locked: TestClient, key: str) -> None:
    # Given a server with two keys, When one of them is sent, Then the request is answered
    assert locked.get("/v1/jobs", headers=bearer(key)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/jobs"),
        ("GET", "/v1/jobs"),
        ("GET", "/v1/jobs/a"),
        ("POST", "/v1/jobs/a/seal"),
        ("POST", "/v1/jobs/a/cancel"),
        ("PUT", "/v1/jobs/a/batches/0?first_index=0"),
        ("GET", "/v1/jobs/a/batches"),
        ("GET", "/v1/jobs/a/results"),
        ("GET", "/v1/decoders"),
        ("GET", "/metrics"),
    ],
)
def test_without_one_of_the_keys_nothing_opens(locked: TestClient, method: str, path: str) -> None:
    # Given a server with keys
    body = {"json": {**SPEC, "batches": 1, "rows": 1}} if method == "POST" else {}
    for headers in ({}, bearer("wrong"), bearer("first-ke"), bearer(""), {"Authorization": "Basic Zmlyc3Q="}):
        # When a request has none of them
        answer = locked.request(method, path, headers=headers, **body)
        # Then it is told so
        assert_problem(answer, 401, "auth", "key")
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json"])
def test_whether_it_lives_may_be_asked_without_a_key(locked: TestClient, path: str) -> None:
    # Given a server with keys, When a supervisor asks whether it lives, Then it needs none
    assert locked.get(path).status_code == 200


def test_two_keys_are_two_clients_to_an_idempotency_key(locked: TestClient) -> None:
    # Given the same idempotency key from two clients, for different work
    first, second = (
        locked.post("/v1/jobs", json={**SPEC, "fingerprint": key}, headers={**bearer(key), "Idempotency-Key": "k"})
        for key in ("first-key", "second-key")
    )
    # When both create a job, Then neither meets the other's
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] != second.json()["id"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_a_host_that_others_reach_needs_keys(api_settings: Settings, host: str) -> None:
    # Given a host that is not loopback, and no key, When the application is made, Then it refuses and says what to set
    with pytest.raises(InputError, match=rf"{host}.*UNEMBED_API_KEYS"):
        create_app(api_settings.model_copy(update={"host": host}))


def test_a_host_that_others_reach_starts_with_a_key(api_settings: Settings) -> None:
    # Given a key, When the host is open, Then the application is made
    create_app(api_settings.model_copy(update={"host": "0.0.0.0", "api_keys": (SecretStr("k"),)})).state.deps.close()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "[fe80::1]:8765"])
def test_without_keys_a_request_by_another_name_is_refused(api: TestClient, host: str) -> None:
    # Given a server without keys, When a page of another site reaches it through a name of its own
    answer = api.get("/v1/jobs", headers={"Host": host})
    # Then it is not answered
    assert_problem(answer, 401, "auth", "UNEMBED_API_KEYS")


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost", "LOCALHOST:1", "[::1]:8765", "[::1]"])
def test_without_keys_this_machine_is_answered(api: TestClient, host: str) -> None:
    # Given a server without keys, When it is called by a name of this machine, Then it answers
    assert api.get("/v1/jobs", headers={"Host": host}).status_code == 200


def test_without_keys_a_socket_that_others_reach_is_not_answered(api_settings: Settings) -> None:
    # Given an application for loopback that was bound to another address all the same
    app = create_app(api_settings)
    with TestClient(app, base_url="http://192.168.1.5:8765") as client:
        # When a request arrives at that address, whatever name it says, Then it is refused
        assert_problem(client.get("/v1/jobs", headers={"Host": "localhost"}), 401, "auth")


def test_a_key_with_letters_beyond_ascii_is_only_wrong(locked: TestClient) -> None:
    # Given a key in Latin letters with accents, When it is sent, Then it is refused, not an error of ours
    headers: dict[Any, Any] = {b"Authorization": "Bearer clé".encode("latin-1")}
    assert_problem(locked.get("/v1/jobs", headers=headers), 401, "auth")
