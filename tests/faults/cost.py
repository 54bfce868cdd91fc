"""What the promise costs: claim and finish of a batch, on both databases, in milliseconds.

    python -m tests.faults.cost [--batches 1000] [--rows 256] [--out FOLDER]

One process, one job, no workers beside it. The databases write as they would in production: SQLite in WAL mode with
synchronous = NORMAL, PostgreSQL with fsync and synchronous_commit on, over a unix socket.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Final, TypeVar

from tests import services
from tests.builders import add_batches, decoded, make_job
from tests.faults.rig import ROOT
from unembed.models.database import create_engine, upgrade
from unembed.models.settings import Settings
from unembed.models.store import Store
from unembed.schemas import Batch, Timings

T = TypeVar("T")

HEADINGS: Final = ("database", "batches", "rows a batch", "claim, median (ms)", "95 %", "finish, median (ms)", "95 %")


@dataclass(frozen=True)
class Cost:
    database: str
    batches: int
    rows: int
    claim_median: float  # milliseconds, as are the three after it
    claim_95: float
    finish_median: float
    finish_95: float


def main() -> None:
    parser = argparse.ArgumentParser(description="claim and finish, a batch, in milliseconds")
    parser.add_argument("--batches", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--out", type=Path, help="a folder for costs.json and costs.md")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="unembed-cost-") as folder:
        costs = [measure("sqlite", f"sqlite:///{folder}/unembed.db", given.batches, given.rows)]
    with services.running_postgres(keeps=True, fsync=True) as server:
        costs.append(measure("postgresql", server.url, given.batches, given.rows))
    text = markdown(costs)
    print(text, end="")
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "costs.json").write_text(json.dumps([asdict(cost) for cost in costs], indent=2) + "\n", "utf-8")
        (given.out / "costs.md").write_text(text, "utf-8")


def measure(database: str, url: str, batches: int, rows: int) -> Cost:
    """A job of so many batches, claimed and finished one after the other."""
    texts = (ROOT / "examples" / "sentences.txt").read_text(encoding="utf-8").splitlines()
    claims: list[float] = []
    finishes: list[float] = []
    with _store(url) as store:
        for batch in _queued(store, batches, rows):
            claim, took = _timed(lambda batch=batch: store.attempts.claim(batch.id, "worker", 600.0))
            assert claim is not None, f"{batch.id} waits"
            claims.append(took)
            written = decoded(range(batch.first_index, batch.first_index + rows), texts)
            finished, took = _timed(
                lambda batch=batch, written=written: store.attempts.finish(
                    batch.id, 1, written, Timings(), device="cpu"
                )
            )
            assert finished, f"{batch.id} is held"
            finishes.append(took)
    return Cost(database, batches, rows, *_middle_and_end(claims), *_middle_and_end(finishes))


@contextmanager
def _store(url: str) -> Iterator[Store]:
    engine = create_engine(url)
    try:
        upgrade(engine)
        yield Store(engine, Settings(database_url=url))
    finally:
        engine.dispose()


def _queued(store: Store, batches: int, rows: int) -> list[Batch]:
    added = add_batches(store, make_job(store), [rows] * batches)
    store.queue.mark_published([batch.id for batch in added])
    return added


def _timed(do: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    done = do()
    return done, (time.perf_counter() - began) * 1000


def _middle_and_end(found: Sequence[float]) -> tuple[float, float]:
    return round(median(found), 2), round(quantiles(found, n=20)[-1], 2)


def markdown(costs: Sequence[Cost]) -> str:
    rows = [HEADINGS, tuple("---" for _ in HEADINGS), *(tuple(map(str, asdict(cost).values())) for cost in costs)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    main()
