"""Results to a file: the product's way, over its API, against a SELECT and a .parquet writer in one process.

python -m benchmarks.results [--rows 200000] [--repeats 3] [--database-url postgresql://...]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from unembed import Client
from unembed.generations import SCHEMA, from_columns
from unembed.models.database import open_engine, upgrade
from unembed.models.settings import read_settings
from unembed.models.store import Store
from unembed.results import write_results
from unembed.schemas import JobCreate, RowStatus, Timings
from unembed.worker.launch import Stack

BATCH = 4096
TOGETHER = 16_384  # rows that the plain way fetches at once, and puts into a row group
WORDS = [
    "the",
    "sea",
    "is",
    "calm",
    "and",
    "we",
    "walk",
    "to",
    "the",
    "old",
    "house",
    "with",
    "a",
    "red",
    "door",
    "where",
    "nobody",
    "ever",
    "lived",
    "before",
]


@dataclass(frozen=True)
class Spent:
    wall: float  # seconds
    cpu: float  # of all processes concerned


def fill(store: Store, rows: int) -> str:
    """A job that has ended, with this many rows of usual lengths; its id."""
    job, _ = store.jobs.create(JobCreate(embedding_dim=384, decoder="ret-v21-minilm"), client="")
    starts = range(0, rows, BATCH)
    for ordinal, first in enumerate(starts):
        count = min(BATCH, rows - first)
        store.jobs.add_batch(job.id, ordinal, first, count, count, f"{ordinal:064x}")
    store.jobs.seal(job.id, len(starts), rows)
    generator = np.random.default_rng(0)
    for ordinal, first in enumerate(starts):
        claim = store.attempts.claim(f"{job.id}-{ordinal}", "benchmark", 3600)
        assert claim is not None, "nobody else works here"
        indices = np.arange(first, min(first + BATCH, rows))
        scores = {name: generator.random(len(indices)) for name in ("overall_quality", "fluency", "coherence")}
        texts = [" ".join(generator.choice(WORDS, generator.integers(3, 12))) for _ in indices]
        written = from_columns(
            indices, text=texts, status=RowStatus.OK, source="ret-v21-minilm", tokens=18, diversity=1.0,
            off_manifold=False, decode_ms=0.1, **scores,
        )  # fmt: skip
        store.attempts.finish(claim.batch.id, claim.attempt, written, Timings())
    return job.id


def plainly(database_url: str, job_id: str, to: Path) -> int:
    """What one writes who has the database at hand: SELECT, columns, row groups."""
    names = ", ".join(f'"{name}"' for name in SCHEMA.names)
    count = 0
    with pq.ParquetWriter(to, SCHEMA, compression="zstd") as writer:
        for rows in _fetched(database_url, names, job_id):
            columns = [_column(values, field) for values, field in zip(zip(*rows, strict=True), SCHEMA, strict=True)]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))
            count += len(rows)
    return count


def _column(values: tuple[Any, ...], field: pa.Field[Any]) -> pa.Array[Any]:
    as_read = pa.int8() if pa.types.is_boolean(field.type) and isinstance(values[0], int) else field.type
    return pa.array(values, as_read).cast(field.type)  # SQLite has no booleans


def _fetched(database_url: str, names: str, job_id: str) -> Iterator[list[Any]]:
    if database_url.startswith("sqlite"):
        import sqlite3

        connection: Any = sqlite3.connect(database_url.removeprefix("sqlite:///"))
        cursor = connection.execute(f'SELECT {names} FROM generations WHERE job_id = ? ORDER BY "index"', (job_id,))
    else:
        connection = psycopg.connect(database_url)
        cursor = connection.cursor(name="benchmark")
        cursor.execute(f'SELECT {names} FROM generations WHERE job_id = %s ORDER BY "index"', (job_id,))
    try:
        while rows := cursor.fetchmany(TOGETHER):
            yield rows
    finally:
        connection.close()


def measured(work: Any, processes: list[psutil.Process]) -> Spent:
    def cpu() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in processes)

    before, begun = cpu(), time.perf_counter()
    work()
    return Spent(time.perf_counter() - begun, cpu() - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--database-url", default=None)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        url = asked.database_url or f"sqlite:///{home / 'unembed.db'}"
        with open_engine(url) as engine:
            upgrade(engine)
            job_id = fill(Store(engine, read_settings(database_url=url)), asked.rows)
        with Stack(home, workers=1, database_url=asked.database_url) as stack, Client(stack.url) as client:
            processes = [psutil.Process(), psutil.Process(stack.pids()["api"])]
            plain, ours = [], []
            for _ in range(asked.repeats):
                plain.append(measured(lambda: plainly(url, job_id, home / "plain.parquet"), processes))
                ours.append(
                    measured(
                        lambda: write_results(home / "ours.parquet", client.result_batches(job_id, "index")), processes
                    )
                )
        same = pq.read_table(home / "plain.parquet").equals(pq.read_table(home / "ours.parquet"))
    ratios = [[getattr(a, kind) / getattr(b, kind) for a, b in zip(ours, plain)] for kind in ("wall", "cpu")]
    for kind, found in zip(("wall", "cpu"), ratios):
        print(f"{kind}: {statistics.median(found):.2f} times the plain way ({min(found):.2f} to {max(found):.2f})")
    print(
        json.dumps(
            {"rows": asked.rows, "same": same, "plain": list(map(asdict, plain)), "ours": list(map(asdict, ours))}
        )
    )


if __name__ == "__main__":
    main()
