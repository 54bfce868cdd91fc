"""The whole of it, for real: API, Redis, workers and Flower as processes of their own, and an untrained toy network."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.conftest import DATABASES
from tests.models.decoder import toy
from tests.unembed.conftest import Ran, Run
from unembed.cli import main
from unembed.client import Client
from unembed.schemas import DecodeOptions

if TYPE_CHECKING:
    from unembed.worker.launch import Stack

DECODER = "toy"

# For a job that is to be interrupted: greedily, the toy has decoded all of it before a busy machine's test looks.
SLOWLY = DecodeOptions(candidates=64)


@pytest.fixture(scope="session")
def decoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the decoder `toy`, the phrase bank `phrases`, and `both`."""
    from unembed.models.decoder.config import HybridConfig
    from unembed.models.decoder.hybrid import save_hybrid
    from unembed.models.decoder.phrase_bank import Bank

    folder = tmp_path_factory.mktemp("decoders")
    toy.random_checkpoint(folder / DECODER, DECODER)
    Bank.of(toy.TEXTS, toy.vectors(), name="phrases", threshold=0.9).save(folder / "phrases")
    both = HybridConfig(name="both", embedding_dim=toy.DIM, decoder=DECODER, bank="phrases", known_from=0.9)
    save_hybrid(folder / "both", both)
    return folder


def environment(decoders: Path) -> dict[str, str]:
    """What a stack of the tests runs with: waits short enough to wait for."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("UNEMBED_")}
    return kept | {
        "UNEMBED_DECODERS": str(decoders),
        "UNEMBED_CORPUS_ROOTS": str(decoders.parent),
        "UNEMBED_RESULTS_ROOTS": str(decoders.parent),
        "UNEMBED_DEVICE": "cpu",
        "UNEMBED_PRECISION": "float32",
        "UNEMBED_THREADS": "1",
        "UNEMBED_MICRO_BATCH": "64",
        "UNEMBED_LEASE": "6",
        "UNEMBED_HEARTBEAT": "1",
        "UNEMBED_SWEEP_INTERVAL": "0.5",
        "UNEMBED_REPUBLISH_AFTER": "2",
        "UNEMBED_BACKOFF": "0.2",
    }


@pytest.fixture(scope="session", params=DATABASES)
def stack(request: pytest.FixtureRequest, decoders: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything, with two workers; once on SQLite, once on PostgreSQL. Tests must leave it running."""
    from unembed.worker.launch import Stack

    url = None
    if request.param == "postgresql":
        maintenance, name = request.getfixturevalue("postgres_url"), f"flow_{uuid.uuid4().hex}"
        with psycopg.connect(maintenance, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        url = maintenance.replace("/postgres?", f"/{name}?")
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            patch.delenv(name)
        for name, value in environment(decoders).items():
            patch.setenv(name, value)
        home = tmp_path_factory.mktemp("home")
        running = Stack(home, flower_port=0, workers=2, database_url=url)
        running.__enter__()
    try:
        yield running
    finally:
        running.__exit__(None, None, None)


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with Client(stack.url) as client:
        yield client


@pytest.fixture
def variables(decoders: Path, empty_database_url: str, redis_url: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a cluster: a database without tables, and a Redis."""
    return environment(decoders) | {
        "UNEMBED_DATABASE_URL": empty_database_url,
        "UNEMBED_REDIS_URL": redis_url,
        "UNEMBED_HOME": str(tmp_path / "home"),
        "COLUMNS": "400",
    }


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a verb that ends by itself in this process: to start one takes longer than the verb."""

    def run(arguments: list[str], variables: dict[str, str]) -> Ran:
        capsys.readouterr()
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main(arguments)
        return Ran(int(ended.value.code or 0), *capsys.readouterr())

    return run
