"""Results to a file: over the API, against a SELECT and a .parquet writer in one process.

That is written in two ways: plainly, and tuned with what the store itself does (few rows at a time, numbers from
PostgreSQL instead of text), so that what is left is the way over the API.

python -m benchmarks.results [--rows 200000] [--repeats 3] [--database-url postgresql://...]
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
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
ROW_GROUP = 16_384  # the plain way fetches as many rows at once
FEW = 500  # rows that the tuned way fetches at once
WORDS = "the sea is calm and we walk to the old house with a red door where nobody ever lived before"
_COLUMNS = ", ".join(f'"{name}"' for name in SCHEMA.names)
_SELECT = f'SELECT {_COLUMNS} FROM generations WHERE job_id = %s ORDER BY "index"'  # noqa: S608  # our own names


@dataclass(frozen=True)
class Found:
    """Times of our way over the plain one, and CPU over that of the tuned one."""

    rows: int
    same: bool  # all files hold the same
    wall: Spread
    cpu: Spread
    cpu_over_tuned: Spread


def measure(rows: int, repeats: int, database_url: str | None = None) -> Found:
    """On SQLite in a folder of its own, or in the PostgreSQL database of this URL, which gets one job more."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        url = database_url or f"sqlite:///{home / 'unembed.db'}"
        with open_engine(url) as engine:
            upgrade(engine)
            job_id = fill(Store(engine, read_settings(database_url=url)), rows)
        plain, tuned, ours = (home / f"{way}.parquet" for way in ("plain", "tuned", "ours"))
        with Stack(home, workers=1, database_url=database_url) as stack, Client(stack.url) as client:
            spent = interleaved(
                {
                    "plain": lambda: select_to_file(url, job_id, plain),
                    "ours": lambda: write_results(ours, client.result_batches(job_id, "index")),
                    "tuned": lambda: select_to_file(url, job_id, tuned, few=True),
                },
                repeats,
                [stack.pids()["api"]],
            )
        written = pq.read_table(ours)
        same = all(bool(pq.read_table(one).equals(written)) for one in (plain, tuned))
    wall = ratio(spent["ours"], spent["plain"], "wall")
    cpu = ratio(spent["ours"], spent["plain"], "cpu")
    return Found(rows, same, wall, cpu, ratio(spent["ours"], spent["tuned"]))


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


def select_to_file(database_url: str, job_id: str, to: Path, *, few: bool = False) -> None:
    """What one writes who has the database at hand: SELECT, columns, row groups. `few`: the tuned way."""
    with pq.ParquetWriter(to, SCHEMA, compression="zstd") as writer:
        waiting: list[pa.RecordBatch] = []
        for rows in _fetched(database_url, job_id, few):
            columns = [_column(values, field) for values, field in zip(zip(*rows, strict=True), SCHEMA, strict=True)]
            waiting.append(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))
            if sum(batch.num_rows for batch in waiting) >= ROW_GROUP:
                writer.write_table(pa.Table.from_batches(waiting))
                waiting = []
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting))


def _column(values: tuple[Any, ...], field: pa.Field[Any]) -> pa.Array[Any]:
    as_read = pa.int8() if pa.types.is_boolean(field.type) and isinstance(values[0], int) else field.type
    return pa.array(values, field.type if isinstance(values[0], bool) else as_read).cast(field.type)


def _fetched(database_url: str, job_id: str, few: bool) -> Iterator[list[Any]]:
    together = FEW if few else ROW_GROUP
    if database_url.startswith("sqlite"):
        with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as database:
            found = database.execute(_SELECT.replace("%s", "?"), (job_id,))
            while rows := found.fetchmany(together):
                yield rows
        return
    with psycopg.connect(database_url) as connection, connection.cursor(name="benchmark", binary=few) as cursor:
        cursor.execute(_SELECT, (job_id,))
        while rows := cursor.fetchmany(together):
            yield rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--database-url", help="a PostgreSQL database to use instead of SQLite")
    asked = parser.parse_args()
    found = measure(asked.rows, asked.repeats, asked.database_url)
    print(f"{found.rows:,} rows, {'the same' if found.same else 'NOT the same'} in all files")
    for name in ("wall", "cpu", "cpu_over_tuned"):
        print(f"{name:<16} {getattr(found, name)}")
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
