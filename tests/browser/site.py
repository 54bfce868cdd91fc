"""A server with jobs of every kind to look at: its own database and Redis, and texts that the shipped decoder made."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import uvicorn

from tests import services
from tests.builders import add_batches
from unembed.api.app import create_app
from unembed.generations import Decoded, concatenated, error_rows, with_column
from unembed.models.database import create_engine, upgrade
from unembed.models.decoder.create import load_decoder
from unembed.models.payloads import Payloads
from unembed.models.settings import Settings
from unembed.models.sqlite import sqlite_url
from unembed.models.store import Store
from unembed.schemas import DEFAULT_DECODER, BatchState, DecodeOptions, JobCreate, Timings
from unembed.worker import tasks
from unembed.worker.context import Context
from unembed.worker.runtime import Decoders

EXAMPLES = Path(__file__).parents[2] / "examples" / "sentences.parquet"
MARKUP = "<script>alert('jobs')</script><b>bold</b>"
BATCH = 24
CARRY = {"text": "string"}  # what was embedded, beside what is decoded
_WORKERS = (("cpu0@north", "Intel Xeon, 8 threads"), ("cpu1@north", "Intel Xeon, 8 threads"))


@dataclass(frozen=True)
class Site:
    """Where it answers, and the ids of its jobs."""

    url: str
    store: Store
    good: str  # 240 rows, all with a text
    partial: str  # rows without a text, a dead batch, and markup wherever a user may write
    running: str  # half of it is done
    waiting: str  # no worker has come
    cancelled: str
    _seeding: _Seeding
    _worker: Context

    def new_job(self, name: str, batches: int) -> str:
        """A job that waits, with BATCH rows in each batch."""
        return self._seeding.job(batches, name=name)

    def work(self) -> None:
        """A worker takes what is next, as one does that runs by itself."""
        tasks.run("", self._worker)

    def decode(self, job_id: str, batches: int) -> None:
        """As many batches of it are done from now on."""
        self._seeding.decode(job_id, batches)


@contextmanager
def running_site(folder: Path) -> Iterator[Site]:
    """In a thread of this process, until the block ends."""
    with services.redis_server() as redis_url:
        settings = Settings(database_url=sqlite_url(folder / "unembed.db"), redis_url=redis_url, backoff=0.0)
        engine = create_engine(settings.database_url)
        upgrade(engine)
        store = Store(engine, settings)
        seeding = _Seeding(store)
        jobs = _seed(store, seeding)
        config = uvicorn.Config(create_app(settings), host="127.0.0.1", port=0, log_level="warning", lifespan="on")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        try:
            yield Site(
                _address(server, thread), store, **jobs, _seeding=seeding, _worker=_worker(settings, store, seeding)
            )
        finally:
            server.should_exit = True
            thread.join(60)
            engine.dispose()


def _worker(settings: Settings, store: Store, seeding: _Seeding) -> Context:
    return Context(
        settings=settings,
        name=_WORKERS[0][0],
        pid=100,
        store=store,
        payloads=Payloads.at(settings.redis_url, settings.payload_ttl),
        decoders=Decoders(lambda _: seeding.decoder),
        publish=lambda _: None,
    )


def _address(server: uvicorn.Server, thread: threading.Thread) -> str:
    while not server.started:
        assert thread.is_alive(), "the server has ended before it started"
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    return f"http://127.0.0.1:{port}"


def _seed(store: Store, seeding: _Seeding) -> dict[str, str]:
    for name, device in _WORKERS:
        store.workers.check_in(name, "north", 100, device, "float32", "avx512")
    good = seeding.job(10, name="Example sentences", labels={"team": "search", "stage": "nightly"}, carry=CARRY)
    seeding.decode(good)
    partial = seeding.job(4, name=f"Support tickets {MARKUP}", labels={"note": MARKUP})
    seeding.decode(partial, batches=3, errors=(3, 7))
    seeding.kill(partial)
    waiting = seeding.job(3, name="Queries of a week")
    cancelled = seeding.job(2, name="By mistake")
    store.jobs.cancel(cancelled)
    running = seeding.job(10, name="Product reviews")
    seeding.decode(running, batches=4)
    return {"good": good, "partial": partial, "running": running, "waiting": waiting, "cancelled": cancelled}


class _Seeding:
    """The example sentences, decoded as a worker does it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.decoder = load_decoder(DEFAULT_DECODER, "cpu")
        table = pq.read_table(EXAMPLES)
        self._texts = table.select(["text"]).combine_chunks().to_batches()[0]
        self._ids = table.column("id").to_pylist()
        self._vectors = np.array(table.column("embedding").to_pylist(), dtype=np.float32)  # (600, 384)

    def job(self, batches: int, **spec: object) -> str:
        given = JobCreate(embedding_dim=self._vectors.shape[1], **spec)  # type: ignore[arg-type]
        job, _ = self._store.jobs.create(given, idempotency_key=f"key of {spec['name']}")
        carried = self._texts if given.carry else None
        add_batches(self._store, job, [BATCH] * batches, carried=carried)
        return job.id

    def decode(self, job_id: str, batches: int | None = None, errors: tuple[int, ...] = ()) -> None:
        """The first batches of a job, each by the next worker; `errors` are the offsets of rows without a text."""
        for number, batch in enumerate(self._store.jobs.batches(job_id)[:batches]):
            if batch.state is not BatchState.QUEUED:
                continue
            claim = self._store.attempts.claim(batch.id, _WORKERS[number % len(_WORKERS)][0], 3600.0)
            assert claim is not None
            rows = range(batch.first_index, batch.first_index + batch.rows)
            decoded = self._decoded(rows, errors)
            timings = Timings(load_ms=2.5, decode_ms=decoded.decode_ms, score_ms=decoded.score_ms)
            assert self._store.attempts.finish(
                batch.id, claim.attempt, decoded.rows, timings, device=_WORKERS[0][1], precision="float32"
            )

    def kill(self, job_id: str) -> None:
        """The last batch of a job fails at every attempt."""
        batch = self._store.jobs.batches(job_id)[-1]
        for _ in range(batch.max_attempts):
            claim = self._store.attempts.claim(batch.id, _WORKERS[0][0], 3600.0)
            assert claim is not None
            is_last = claim.attempt == batch.max_attempts
            why = f"the device went away while it decoded {MARKUP}"
            self._store.attempts.fail(batch.id, claim.attempt, "decode_failed", why, final=is_last)

    def _decoded(self, rows: range, errors: tuple[int, ...]) -> Decoded:
        decoded = self.decoder.decode_rows(self._vectors[rows], rows, DecodeOptions(candidates=4), 0)
        named = with_column(decoded.rows, "id", [self._ids[row] for row in rows])
        parts = [named.slice(offset, 1) for offset in range(len(rows))]
        for offset in errors:
            parts[offset] = error_rows([rows[offset]], "not_finite", "the vector has NaN at place 17")
        return Decoded(concatenated(parts), decoded.decode_ms, decoded.score_ms)
