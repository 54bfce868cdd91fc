"""The application on this test's database and Redis, with a decoder that has a config and no weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.api.honesty import hold_to_its_description
from tests.builders import DIM
from unembed.api.app import create_app
from unembed.corpus import encode_payload
from unembed.models.decoder.config import CheckpointConfig, NetworkConfig
from unembed.models.settings import Settings
from unembed.schemas import ARROW_STREAM, PROBLEM_JSON

DECODER = "toy"
LOOPBACK = "http://127.0.0.1:8765"
ARROW = {"Content-Type": ARROW_STREAM}


@pytest.fixture
def decoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of decoders, in use: it has the one that DECODER names."""
    folder = write_decoder(tmp_path / "decoders")
    monkeypatch.setenv("UNEMBED_DECODERS", str(folder))
    return folder


def write_decoder(folder: Path) -> Path:
    config = CheckpointConfig(name=DECODER, network=NetworkConfig(embedding_dim=DIM), encoder="toy-encoder")
    (folder / DECODER).mkdir(parents=True)
    (folder / DECODER / "config.json").write_text(config.model_dump_json())
    return folder


@pytest.fixture
def api_settings(settings: Settings, decoders: Path) -> Settings:
    return settings.model_copy(update={"decoders": decoders, "max_batch_rows": 100, "max_batch_bytes": 16 * 1024})


@pytest.fixture
def api(api_settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(api_settings), base_url=LOOPBACK) as client:
        hold_to_its_description(client)
        yield client


@pytest.fixture
def serve(api_settings: Settings) -> Iterator[Callable[..., TestClient]]:
    """A client of an application whose settings differ from the usual ones."""
    clients: list[TestClient] = []

    def start(**changes: Any) -> TestClient:
        app = create_app(api_settings.model_copy(update=changes))
        clients.append(TestClient(app, base_url=LOOPBACK, raise_server_exceptions=False))
        hold_to_its_description(clients[-1])
        return clients[-1].__enter__()

    yield start
    for client in clients:
        client.__exit__(None, None, None)


def vectors(rows: int = 2, dim: int = DIM, dtype: str = "float32") -> np.ndarray:
    return np.linspace(-1, 1, rows * dim, dtype=dtype).reshape(rows, dim)


def payload(rows: int = 2, dim: int = DIM, ids: list[str] | None = None) -> bytes:
    return encode_payload(vectors(rows, dim), ids)


def new_job(client: TestClient, **spec: Any) -> str:
    answer = client.post("/v1/jobs", json={"decoder": DECODER, "embedding_dim": DIM, **spec})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def put(client: TestClient, job: str, ordinal: int = 0, first_index: int = 0, **request: Any) -> Any:
    """PUT a batch: the payload of two rows in Arrow, unless told otherwise."""
    request = {"content": payload(), "headers": ARROW, **request}
    params = {"first_index": first_index, **request.pop("params", {})}
    return client.put(f"/v1/jobs/{job}/batches/{ordinal}", params=params, **request)


def assert_problem(answer: Any, status: int, code: str, *says: str) -> dict[str, Any]:
    """A problem document of this status and code whose detail contains all of `says`."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM_JSON), answer.text
    document: dict[str, Any] = answer.json()
    assert (document["status"], document["code"]) == (status, code), document
    assert document["title"]
    assert document["instance"] == answer.request.url.path
    for each in says:
        assert each in document["detail"], document["detail"]
    return document
