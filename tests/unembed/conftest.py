"""A server for the client: the real API over real HTTP, on SQLite and Redis, and a worker that needs no decoder."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import uvicorn

from tests.builders import DIM
from tests.unembed.both_clients import KINDS, Play, made
from unembed.api.app import create_app
from unembed.cli import main
from unembed.client import Client
from unembed.corpus import ReferenceReader, decode_payload
from unembed.generations import from_rows
from unembed.models.database import create_engine
from unembed.models.decoder.config import CheckpointConfig, NetworkConfig
from unembed.models.parts import Parts, part_uri
from unembed.models.payloads import Payloads
from unembed.models.settings import Settings
from unembed.models.store import Store
from unembed.roots import Roots
from unembed.schemas import BatchState, Generation, RowStatus, Timings, batch_id_of

DECODER = "toy"

ServeWith = Callable[..., str]


@pytest.fixture
def database_url(_sqlite_template: Path, tmp_path: Path) -> str:
    """The face knows no database: one kind is enough here."""
    path = tmp_path / "unembed.db"
    path.write_bytes(_sqlite_template.read_bytes())
    return f"sqlite:///{path}"


@pytest.fixture
def server_settings(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    folder = tmp_path / "decoders" / DECODER
    folder.mkdir(parents=True)
    config = CheckpointConfig(name=DECODER, network=NetworkConfig(embedding_dim=DIM), encoder="toy-encoder")
    (folder / "config.json").write_text(config.model_dump_json())
    for name in ("model.safetensors", "tokenizer.json", "sketch.json"):
        (folder / name).write_bytes(b"")
    monkeypatch.setenv("UNEMBED_DECODERS", str(folder.parent))
    changes = {
        "decoders": folder.parent,
        "max_batch_rows": 100,
        "corpus_roots": (f"file://{tmp_path / 'corpora'}",),
        "results_roots": (f"file://{tmp_path / 'texts'}",),
    }
    return settings.model_copy(update=changes)


@contextmanager
def _serving(settings: Settings) -> Iterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(create_app(settings), log_level="error", lifespan="on")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def url(server_settings: Settings) -> Iterator[str]:
    """Where the API answers."""
    with _serving(server_settings) as url:
        yield url


@pytest.fixture
def serve_with(server_settings: Settings) -> Iterator[ServeWith]:
    """Starts an API whose settings differ from the usual ones; where it answers."""
    with ExitStack() as servers:
        yield lambda **changes: servers.enter_context(_serving(server_settings.model_copy(update=changes)))


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, retries=1) as client:
        yield client


@pytest.fixture(params=KINDS)
def play(url: str, request: pytest.FixtureRequest) -> Play:
    """Plays a scenario with a client of one kind, and then of the other."""

    def play(scenario: Callable[[Any], Awaitable[None]]) -> None:
        async def played() -> None:
            async with made(request.param, url, retries=1) as client:
                await scenario(client)

        asyncio.run(played())

    return play


class Hand:
    """Does a worker's work by hand: each row becomes "text N", and one that is not finite an error row.

    A vector that begins below -0.9 counts as off the manifold.
    """

    def __init__(self, settings: Settings) -> None:
        self._engine = create_engine(settings.database_url)
        self._store = Store(self._engine, settings)
        self._payloads = Payloads.at(settings.payload_redis_url, settings.payload_ttl)
        self._references = ReferenceReader(Roots.of(settings.corpus_roots))
        self._parts = Parts(settings.results_roots)
        self._stop = threading.Event()
        self._unstarted = threading.Lock()
        self._thread = threading.Thread(target=self._work_on, daemon=True)

    def work(self, limit: int | None = None) -> int:
        """Decodes what is queued now, `limit` batches at most; how many they were."""
        queued = [
            batch.id
            for job in self._store.jobs.page().jobs
            for batch in self._store.jobs.batches(job.id)
            if batch.state is BatchState.QUEUED
        ]
        return sum(self._decode(batch_id) for batch_id in queued[:limit])

    def fail(self, ordinal: int) -> None:
        """The newest job's batch of this ordinal is dead."""
        (job,) = self._store.jobs.page(limit=1).jobs
        claim = self._store.attempts.claim(batch_id_of(job.id, ordinal), "hand", 30)
        assert claim is not None
        self._store.attempts.fail(claim.batch.id, claim.attempt, "decode_failed", "it went wrong", final=True)

    def lose_payload(self, batch_id: str) -> None:
        self._payloads.delete([batch_id])

    def find_payloads_lost(self) -> None:
        """What the sweeper does."""
        self._store.sweeping.fail_missing_payloads(self._store.sweeping.queued() - self._payloads.batch_ids())

    def start(self) -> None:
        """Decodes whatever comes, until the test ends. Told again, or by several threads at once, it goes on."""
        if self._unstarted.acquire(blocking=False):
            self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10)
        self._payloads.close()
        self._references.close()
        self._engine.dispose()

    def _work_on(self) -> None:
        while not self._stop.wait(0.02):
            self.work()

    def _decode(self, batch_id: str) -> bool:
        claim = self._store.attempts.claim(batch_id, "hand", 30)
        if claim is None:
            return False
        if reference := claim.batch.reference:
            rows = self._references.read(reference, claim.batch.rows, DIM)
        else:
            rows = decode_payload(self._payloads.get(batch_id, claim.batch.sha256))
        found = [
            _row(claim.batch.first_index + i, vector, rows.ids[i] if rows.ids else None)
            for i, vector in enumerate(rows.embeddings)
        ]
        rows, part = from_rows(found), None
        if (folder := claim.job.results_uri) is not None:
            part = self._parts.write(part_uri(folder, batch_id, claim.attempt), rows)
        return self._store.attempts.finish(
            batch_id, claim.attempt, rows, Timings(load_ms=1, decode_ms=20), device="cpu", part=part
        )


def _row(index: int, vector: np.ndarray, id_: str | None) -> Generation:
    if not np.isfinite(vector).all():
        return Generation(index=index, id=id_, status=RowStatus.ERROR, error_code="not_finite", error="has NaN")
    return Generation(
        index=index,
        id=id_,
        text=f"text {index}",
        status=RowStatus.OK,
        source=DECODER,
        tokens=2,
        overall_quality=0.5,
        off_manifold=bool(vector[0] < -0.9),
    )


@pytest.fixture
def hand(server_settings: Settings) -> Iterator[Hand]:
    hand = Hand(server_settings)
    yield hand
    hand.close()


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs the command line in this process, in a folder of its own; its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNEMBED_HOME", str(tmp_path / "home"))

    def run(*args: object) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        code = ended.value.code
        assert isinstance(code, int)
        return Ran(code, *capsys.readouterr())

    return run
