"""A site to break: two Redis servers, a database, an API and workers, all real processes, each of which may be killed.

The queue and the payloads have a Redis each, so that either can be lost alone.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import psycopg
import redis
from celery import Celery
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests import services
from tests.faults import stand_in
from tests.faults.parts import Api, Process, Worker
from tests.faults.stand_in import DECODER, DIM, Kind, Rows
from tests.worker.processes import await_, is_alive
from unembed.client import Client
from unembed.corpus import encode_payload
from unembed.models.database import create_engine, upgrade
from unembed.models.decoder.config import CheckpointConfig, NetworkConfig
from unembed.models.payloads import Payloads
from unembed.models.settings import Settings
from unembed.models.store import Store
from unembed.schemas import GREEDY, Batch, BatchState, JobCreate
from unembed.worker.celery import QUEUE, make_app, publish

ROOT: Final = Path(__file__).resolve().parents[2]
MICRO_BATCH: Final = 4
PAYLOADS: Final = "unembed:payload:*"
SEED: Final = 5

Seconds = float | Sequence[float]  # of each batch, or of all

# Short enough to wait for, long enough for two busy cores.
SHORT_WAITS: Final = {
    "UNEMBED_LEASE": "3",
    "UNEMBED_HEARTBEAT": "0.5",
    "UNEMBED_SWEEP_INTERVAL": "0.3",
    "UNEMBED_REPUBLISH_AFTER": "1.5",
    "UNEMBED_BACKOFF": "0.1",
    "UNEMBED_MAX_ATTEMPTS": "4",
    "UNEMBED_MICRO_BATCH": str(MICRO_BATCH),
}


@dataclass(frozen=True)
class Load:
    """A job that was sent."""

    job_id: str
    vectors: Rows

    @property
    def texts(self) -> list[str]:
        return [stand_in.text_of(index, SEED, row) for index, row in enumerate(self.vectors)]


@dataclass
class Site:
    database: str
    folder: Path
    queue_server: services.Server
    payload_server: services.Server
    database_server: services.Server | None  # None: SQLite, a file
    database_url: str
    listening: socket.socket

    def __post_init__(self) -> None:
        (self.folder / "journal").touch()
        write_decoder(self.folder / "decoders")
        self.environment = self._environment()
        settings = {name.removeprefix("UNEMBED_").lower(): value for name, value in self.environment.items()}
        self.settings = Settings(**{name: settings[name] for name in Settings.model_fields if name in settings})
        self.engine = create_engine(self.database_url)
        upgrade(self.engine)
        self.store = Store(self.engine, self.settings)
        self.queue = _client_of(self.queue_server)
        self.payloads = _client_of(self.payload_server)
        self.celery: Celery = make_app(self.settings)
        self.api = Api(self.folder, self.environment, self.listening)
        self.workers = [self.worker(name) for name in ("one", "two", "three")]
        self.client = Client(self.api.url)

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("UNEMBED_")}
        return (
            kept
            | SHORT_WAITS
            | {
                "UNEMBED_DATABASE_URL": self.database_url,
                "UNEMBED_REDIS_URL": self.queue_server.url,
                "UNEMBED_PAYLOAD_URL": self.payload_server.url,
                "UNEMBED_DECODERS": str(self.folder / "decoders"),
                "FAULTS": str(self.folder),
                "PYTHONPATH": str(ROOT),
                "PYTHONUNBUFFERED": "1",
            }
        )

    def worker(self, name: str, **more: str) -> Worker:
        """Another worker, which is not started; further keywords are variables of its environment."""
        return Worker(name, self.folder, self.environment | more)

    # --- to have it run ----------------------------------------------------------------------------------------------

    def arm(self, point: str, how: str = "") -> None:
        """The next process that comes past this crash point dies there."""
        (self.folder / point).write_text(how)

    def has_struck(self, point: str) -> bool:
        return not (self.folder / point).exists()

    @property
    def processes(self) -> list[Process]:
        return [self.api, *self.workers]

    def mend(self, ready: int = 2) -> None:
        """Everything runs, and so many workers are ready; a third one may still be on its way."""
        for server in (self.queue_server, self.payload_server, self.database_server):
            if server is not None and not server.runs:
                server.start()

        def is_mended() -> bool:
            for process in self.processes:
                if not process.runs:
                    process.start()
            return sum(worker.is_ready for worker in self.workers) >= ready

        is_mended()
        for worker in self.workers:
            worker.go_on()
        await_(is_mended, 180, f"{ready} workers are ready")  # on a busy machine a worker takes a minute to start

    def clear(self) -> None:
        """No job is open, even if the last test has failed, and no payload is left of a batch that it left dead."""
        for point in stand_in.POINTS:
            (self.folder / point).unlink(missing_ok=True)
        for job in self.store.jobs.page(limit=1000).jobs:
            if not job.state.is_ended:
                self.store.jobs.cancel(job.id)
                await_(lambda job=job: self.store.jobs.get(job.id).state.is_ended, 60, "it is cancelled")
            self.store.jobs.remove(job.id)
        self.payloads.delete(*[f"{PAYLOADS[:-1]}{key}" for key in self.payload_keys()] or ["none"])

    def close(self) -> None:
        self.client.close()
        for process in self.processes:
            if process.runs:
                process.kill()
        for process in self.processes:
            gone(process.gone)
        self.queue.close()
        self.payloads.close()
        self.celery.close()
        self.engine.dispose()

    # --- to give it work ---------------------------------------------------------------------------------------------

    def submit(
        self,
        batches: int,
        *,
        rows: int = 8,
        seconds: Seconds = 0.1,
        kinds: Mapping[int, Kind] | None = None,
        key: str | None = None,
        name: str | None = None,
        client: Client | None = None,
    ) -> Load:
        """A job of so many batches with so many rows, a micro-batch of which takes so many seconds."""
        vectors = corpus(batches, rows, seconds, kinds or {})
        handle = (client or self.client).submit(
            vectors, decoder=DECODER, batch_size=rows, seed=SEED, options=GREEDY, idempotency_key=key, name=name
        )
        return Load(handle.id, vectors)

    def queue_without_message(self, rows: int, seconds: float) -> Load:
        """A job of one batch that waits, as far as anybody knows with a message on its way."""
        vectors = corpus(1, rows, seconds, {})
        data = encode_payload(vectors, None)
        job, _ = self.store.jobs.create(JobCreate(decoder=DECODER, embedding_dim=DIM, seed=SEED, options=GREEDY))
        digest = hashlib.sha256(data).hexdigest()
        Payloads(self.payloads, 600).put(f"{job.id}-0", data)
        batch, _ = self.store.jobs.add_batch(job.id, 0, 0, rows, len(data), digest)
        self.store.queue.mark_published([batch.id])
        self.store.jobs.seal(job.id, 1, rows)
        return Load(job.id, vectors)

    def batches(self, load: Load, *states: BatchState) -> list[Batch]:
        """Those of the job in these states; without states, all."""
        return [batch for batch in self.store.jobs.batches(load.job_id) if not states or batch.state in states]

    def publish(self, batch_id: str) -> None:
        publish(self.celery, batch_id)

    def busy(self, load: Load) -> tuple[Worker, Batch]:
        """A worker that is in the middle of a batch, as soon as there is one."""
        found: list[Batch] = []

        def runs() -> bool:
            found[:] = self.batches(load, BatchState.RUNNING)
            return bool(found)

        await_(runs, 60, "a batch runs")
        return self.holder(found[0]), found[0]

    def held_by(self, worker: Worker, load: Load) -> list[Batch]:
        """The batches of the job that this worker has, or had when it died."""
        return [batch for batch in self.batches(load, BatchState.RUNNING) if self.holder(batch) is worker]

    def holder(self, batch: Batch) -> Worker:
        (worker,) = (worker for worker in self.workers if worker.name == str(batch.worker).partition("@")[0])
        return worker

    # --- to look at it -----------------------------------------------------------------------------------------------

    def messages(self) -> tuple[int, int]:
        """How many wait in the queue, and how many were taken and not acknowledged."""
        return int(self.queue.llen(QUEUE)), int(self.queue.hlen("unacked"))

    def payload_keys(self) -> set[str]:
        """The batches that have a payload."""
        return {key.decode().rpartition(":")[2] for key in self.payloads.scan_iter(PAYLOADS, count=1000)}

    def journal(self) -> list[list[str]]:
        return [line.split() for line in (self.folder / "journal").read_text().splitlines()]

    def commits(self, load: Load) -> list[tuple[str, int]]:
        """Which attempts at the job's batches said that they had finished them; each once."""
        found = {(batch, int(attempt)) for what, batch, attempt in self.journal() if what == "finished"}
        return sorted(pair for pair in found if pair[0].startswith(load.job_id))

    def deaths(self, load: Load) -> list[tuple[str, float]]:
        """The batches at which somebody died at a crash point, and when."""
        died = [(batch, float(at)) for what, batch, at in self.journal() if what == "died"]
        return [each for each in died if each[0].startswith(load.job_id)]

    def logged(self, *words: str) -> int:
        """How many lines of the workers' logs hold all of these words."""
        logs = [worker.log.read_text(errors="replace") for worker in self.workers]
        return sum(all(word in line for word in words) for log in logs for line in log.splitlines())


def corpus(batches: int, rows: int, seconds: Seconds, kinds: Mapping[int, Kind]) -> Rows:
    each = [seconds] * batches if isinstance(seconds, float) else seconds
    assert len(each) == batches, f"{batches} batches have {len(each)} times"
    return np.array(
        [
            stand_in.embedding(index, each[index // rows], kinds.get(index, Kind.GOOD))
            for index in range(batches * rows)
        ],
        dtype=np.float32,
    )  # (N, DIM)


def write_decoder(folder: Path) -> None:
    """An entry of the catalogue, for the API to find; there are no weights."""
    config = CheckpointConfig(name=DECODER, network=NetworkConfig(embedding_dim=DIM), encoder=None)
    (folder / DECODER).mkdir(parents=True)
    (folder / DECODER / "config.json").write_text(config.model_dump_json())


def _client_of(server: services.Server) -> redis.Redis:
    """It connects anew after the server was killed, and does not wait for one that is down."""
    return redis.Redis.from_url(server.url, retry=Retry(NoBackoff(), 1), health_check_interval=1)


@contextmanager
def running_site(database: str, folder: Path) -> Iterator[Site]:
    """Started, and ended with all that belongs to it."""
    with ExitStack() as exits:
        queue_server = exits.enter_context(services.running_redis(keeps=True))
        payload_server = exits.enter_context(services.running_redis(keeps=True))
        listening = exits.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        server, url = None, f"sqlite:///{folder / 'unembed.db'}"
        if database == "postgresql":
            server = exits.enter_context(services.running_postgres(keeps=True))
            with psycopg.connect(server.url, autocommit=True) as connection:
                connection.execute("CREATE DATABASE faults TEMPLATE template0")
            url = server.url.replace("/postgres?", "/faults?")
        site = Site(database, folder, queue_server, payload_server, server, url, listening)
        exits.callback(site.close)
        site.mend()
        yield site


def gone(pids: set[int], seconds: float = 10) -> None:
    """None of these lives any more."""
    await_(lambda: not any(map(is_alive, pids)), seconds, f"of {sorted(pids)} none is left")
