"""Results to a file: over the API, against a SELECT and a .parquet writer in one process.

python -m benchmarks.results [--rows 200000] [--repeats 3] [--database-url postgresql://...]
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measuring import Spread, interleaved, ratio
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
WORDS = "the sea is calm and we walk to the old house with a red door where nobody ever lived before"
_COLUMNS = ", ".join(f'"{name}"' for name in SCHEMA.names)
_SELECT = f'SELECT {_COLUMNS} FROM generations WHERE job_id = %s ORDER BY "index"'  # noqa: S608  # our own names


@dataclass(frozen=True)
class Found:
    rows: int
    same: bool  # both files hold the same
    wall: Spread
    cpu: Spread


def measure(rows: int, repeats: int, database_url: str | None = None) -> Found:
    """On SQLite in a folder of its own, or in the PostgreSQL database of this URL, which gets one job more."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        url = database_url or f"sqlite:///{home / 'unembed.db'}"
        with open_engine(url) as engine:
            upgrade(engine)
            job_id = fill(Store(engine, read_settings(database_url=url)), rows)
        plain, ours = home / "plain.parquet", home / "ours.parquet"
        with Stack(home, workers=1, database_url=database_url) as stack, Client(stack.url) as client:
            found = interleaved(
                {
                    "plain": lambda: plainly(url, job_id, plain),
                    "ours": lambda: write_results(ours, client.result_batches(job_id, "index")),
                },
                repeats,
                [stack.pids()["api"]],
            )
        same = bool(pq.read_table(plain).equals(pq.read_table(ours)))
    wall, cpu = (ratio(found["ours"], found["plain"], kind) for kind in ("wall", "cpu"))
    return Found(rows, same, wall, cpu)


def fill(store: Store, rows: int) -> str:
    """A job that has ended, with this many rows of usual lengths; its id."""
    job, _ = store.jobs.create(JobCreate(embedding_dim=384, decoder="ret-v21-minilm"), client="")
    starts = range(0, rows, BATCH)
    for ordinal, first in enumerate(starts):
        count = min(BATCH, rows - first)
        store.jobs.add_batch(job.id, ordinal, first, count, count, f"{ordinal:064x}")
    store.jobs.seal(job.id, len(starts), rows)
    generator, words = np.random.default_rng(0), np.array(WORDS.split())
    for ordinal, first in enumerate(starts):
        claim = store.attempts.claim(f"{job.id}-{ordinal}", "benchmark", 3600)
        assert claim is not None, "nobody else works here"
        indices = np.arange(first, min(first + BATCH, rows))
        scores = {name: generator.random(len(indices)) for name in ("overall_quality", "fluency", "coherence")}
        written = from_columns(
            indices,
            text=[" ".join(generator.choice(words, generator.integers(3, 12))) for _ in indices],
            status=RowStatus.OK,
            source="ret-v21-minilm",
            tokens=18,
            diversity=1.0,
            off_manifold=False,
            decode_ms=0.1,
            **scores,
        )
        store.attempts.finish(claim.batch.id, claim.attempt, written, Timings())
    return job.id


def plainly(database_url: str, job_id: str, to: Path) -> None:
    """What one writes who has the database at hand: SELECT, columns, row groups."""
    with pq.ParquetWriter(to, SCHEMA, compression="zstd") as writer:
        for rows in _fetched(database_url, job_id):
            columns = [_column(values, field) for values, field in zip(zip(*rows, strict=True), SCHEMA, strict=True)]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))


def _column(values: tuple[Any, ...], field: pa.Field[Any]) -> pa.Array[Any]:
    as_read = pa.int8() if pa.types.is_boolean(field.type) and isinstance(values[0], int) else field.type
    return pa.array(values, field.type if isinstance(values[0], bool) else as_read).cast(field.type)


def _fetched(database_url: str, job_id: str) -> Iterator[list[Any]]:
    if database_url.startswith("sqlite"):
        with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as database:
            found = database.execute(_SELECT.replace("%s", "?"), (job_id,))
            while rows := found.fetchmany(TOGETHER):
                yield rows
        return
    with psycopg.connect(database_url) as connection, connection.cursor(name="benchmark") as cursor:
        cursor.execute(_SELECT, (job_id,))
        while rows := cursor.fetchmany(TOGETHER):
            yield rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--database-url", help="a PostgreSQL database to use instead of SQLite")
    asked = parser.parse_args()
    found = measure(asked.rows, asked.repeats, asked.database_url)
    print(f"{found.rows:,} rows, {'the same' if found.same else 'NOT the same'}: times the plain way")
    print(f"wall {found.wall}, CPU {found.cpu}")


if __name__ == "__main__":
    main()
