"""The path around the decoder: with one that answers at once, against Redis and the database alone.

python -m benchmarks.echo [--rows 64 1024] [--batches 200] [--repeats 3] [--databases sqlite postgresql] [--no-flower]

Ours is the whole of it: a client that submits and reads all rows, the API, the queue, a worker, and Flower. The plain
way is one process that puts the same payloads into the same Redis, takes them out again, inserts the same rows into the
same table, a commit a batch (`executemany` on SQLite, COPY on PostgreSQL), and selects them at the end.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import psutil
import psycopg
import pyarrow as pa
import redis

from benchmarks.checkout import ROOT
from benchmarks.echo_worker import DIM, echoed
from tests import services
from unembed import Client
from unembed.corpus import decode_payload, encode_payload
from unembed.generations import SCHEMA
from unembed.models.database import open_engine
from unembed.models.settings import read_settings
from unembed.models.store import Store
from unembed.schemas import GREEDY, JobCreate
from unembed.worker import launch, redis_server

Cpu = dict[str, float]  # seconds, by part


@dataclass(frozen=True)
class Round:
    """What one way cost once."""

    wall: float  # seconds
    cpu: Cpu

    @property
    def total(self) -> float:
        return sum(self.cpu.values())


@dataclass(frozen=True)
class Site:
    """A stack that runs, and the server of its database, if it has one."""

    stack: launch.Stack
    client: Client
    url: str
    database: psutil.Process | None

    def cpu(self) -> Cpu:
        found = {"client": _spent(psutil.Process())}
        for name, pid in self.stack.pids().items():
            process = psutil.Process(pid)
            if name.startswith("worker"):
                found["parent"] = _spent(process)
                found["child"] = sum(map(_spent, process.children(recursive=True)))
            else:
                found[name] = _spent(process)
        if self.database is not None:
            found["database"] = _spent(self.database, ended=True) + sum(map(_spent, self.database.children()))
        return found

    def timed(self, work: Callable[[], object]) -> Round:
        before, begun = self.cpu(), time.perf_counter()
        work()
        wall, after = time.perf_counter() - begun, self.cpu()
        return Round(wall, {name: after[name] - before.get(name, 0.0) for name in after})


def _spent(process: psutil.Process, *, ended: bool = False) -> float:
    times = process.cpu_times()
    return float(sum(times[:4] if ended else times[:2]))


@contextmanager
def running_site(database: str, *, flower: bool = True) -> Iterator[Site]:
    """Ours, with the echoing worker in place of the usual one."""
    with ExitStack() as exits:
        home = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="unembed-echo-")))
        exits.enter_context(_echoing())
        url, server = f"sqlite:///{home / 'unembed.db'}", None
        if database == "postgresql":
            running = exits.enter_context(services.running_postgres(keeps=True))
            url, server = running.url, psutil.Process(running.pid)
        stack = launch.Stack(home, workers=1, database_url=url, flower_port=0 if flower else None)
        exits.enter_context(stack)
        client = exits.enter_context(Client(stack.url))
        yield Site(stack, client, url, server)


@contextmanager
def _echoing() -> Iterator[None]:
    """Parts run in the home folder, so the worker is told where this package is."""
    usual, path = launch._python, os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), path)))
    launch._python = lambda module: usual("benchmarks.echo_worker" if module == "unembed.worker" else module)
    try:
        yield
    finally:
        launch._python = usual
        os.environ.pop("PYTHONPATH")
        if path is not None:
            os.environ["PYTHONPATH"] = path


def ours(site: Site, vectors: npt.NDArray[np.float32], size: int) -> int:
    """How many rows came back."""
    job = site.client.submit(vectors, batch_size=size, options=GREEDY).wait(poll=0.2)
    return sum(batch.num_rows for batch in site.client.result_batches(job.id))


class Plain:
    """The same by hand, in this process: a job whose rows belong to one batch, which nobody else touches."""

    def __init__(self, site: Site) -> None:
        self._site = site
        with open_engine(site.url) as engine:
            jobs = Store(engine, read_settings(database_url=site.url)).jobs
            job, _ = jobs.create(JobCreate(embedding_dim=DIM))
            self._owner = (job.id, jobs.add_batch(job.id, 0, 0, 1, 1, "0" * 64)[0].id)
            jobs.cancel(job.id)
        self._first = 0  # rows are written once: each round goes on where the last one ended

    def __call__(self, vectors: npt.NDArray[np.float32], size: int) -> int:
        """How many rows came back."""
        first, self._first = self._first, self._first + len(vectors)
        socket = self._site.stack.home / redis_server.SOCKET
        with closing(redis.Redis(unix_socket_path=str(socket))) as queue:
            for at in range(0, len(vectors), size):
                queue.set(f"plain:{at}", encode_payload(vectors[at : at + size]))
                queue.lpush("plain", at)
            with self._database() as (insert, selected):
                while (popped := queue.rpop("plain")) is not None:
                    at = int(cast(bytes, popped))
                    payload = cast(bytes, queue.get(f"plain:{at}"))
                    rows = echoed(first + at + np.arange(len(decode_payload(payload))))
                    insert(rows)
                    queue.unlink(f"plain:{at}")
                return len(selected(first))

    @contextmanager
    def _database(self) -> Iterator[tuple[Callable[[Any], None], Callable[[int], list[Any]]]]:
        names = ", ".join(f'"{name}"' for name in ("job_id", "batch_id", *SCHEMA.names))
        select = f'SELECT {names} FROM generations WHERE job_id = {{0}} AND "index" >= {{0}}'  # noqa: S608

        def values(rows: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
            return zip(*(repeat(value) for value in self._owner), *(c.to_pylist() for c in rows.columns), strict=False)

        if self._site.database is None:
            path = self._site.url.removeprefix("sqlite:///")
            with closing(sqlite3.connect(path, timeout=60)) as connection:
                connection.execute("PRAGMA synchronous = NORMAL")
                marks = ", ".join("?" * (2 + len(SCHEMA)))
                into = f"INSERT INTO generations ({names}) VALUES ({marks})"  # noqa: S608  # our own names

                def insert(rows: pa.RecordBatch) -> None:
                    connection.executemany(into, list(values(rows)))
                    connection.commit()

                yield insert, lambda first: connection.execute(select.format("?"), (self._owner[0], first)).fetchall()
            return
        with psycopg.connect(self._site.url) as postgres:

            def copy(rows: pa.RecordBatch) -> None:
                with postgres.cursor().copy(f"COPY generations ({names}) FROM STDIN".encode()) as copied:
                    for row in values(rows):
                        copied.write_row(row)
                postgres.commit()

            yield copy, lambda first: postgres.execute(select.format("%s").encode(), (self._owner[0], first)).fetchall()


def measure(database: str, size: int, batches: int, repeats: int, *, flower: bool) -> tuple[list[Round], list[Round]]:
    """Ours and the plain way in turns."""
    vectors = np.random.default_rng(0).standard_normal((size * batches, DIM), dtype=np.float32)
    with running_site(database, flower=flower) as site:
        plain = Plain(site)
        warm = vectors[: size * min(batches, 8)]
        assert ours(site, warm, size) == plain(warm, size) == len(warm)
        found: tuple[list[Round], list[Round]] = ([], [])
        for _ in range(repeats):
            found[0].append(site.timed(lambda: ours(site, vectors, size)))
            found[1].append(site.timed(lambda: plain(vectors, size)))
        return found


def lines(found: tuple[list[Round], list[Round]], batches: int) -> Iterator[str]:
    """For people: milliseconds a batch by part, and the ratios."""
    for name, rounds in zip(("ours", "plain"), found, strict=True):
        parts = {part: statistics.median(each.cpu[part] for each in rounds) / batches * 1e3 for part in rounds[0].cpu}
        shown = ", ".join(f"{part} {value:.2f}" for part, value in parts.items())
        yield (
            f"{name}: CPU ms a batch {statistics.median(each.total for each in rounds) / batches * 1e3:.2f} ({shown}); "
            f"wall ms a batch {statistics.median(each.wall for each in rounds) / batches * 1e3:.2f}"
        )
    for kind in ("total", "wall"):
        ratios = [getattr(b, kind) / getattr(a, kind) for a, b in zip(*found, strict=True)]
        yield f"of plain, by {kind}: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="The path around a decoder that answers at once.")
    parser.add_argument("--rows", type=int, nargs="+", default=[64, 1024], help="of a batch")
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--no-flower", action="store_true")
    given = parser.parse_args(arguments)
    for database in given.databases:
        for size in given.rows:
            found = measure(database, size, given.batches, given.repeats, flower=not given.no_flower)
            print(f"{database}, batches of {size} rows")
            for line in lines(found, given.batches):
                print(f"  {line}", flush=True)


if __name__ == "__main__":
    main()
