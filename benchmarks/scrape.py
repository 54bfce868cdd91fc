"""What a scrape of /metrics takes, with much in the store: `python -m benchmarks.scrape`.

1,000 jobs of 100 batches, and 1,000 workers, written straight into the tables; all batches done, then all waiting.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, Engine, text

from tests import services
from unembed.api.metrics import Around, InStore, render
from unembed.models.database import open_engine, upgrade
from unembed.models.settings import read_settings
from unembed.models.store import Store

_JOBS: Final = 1000
_BATCHES: Final = 100 * _JOBS
_WORKERS: Final = 1000
_TIMES: Final = 9
_DIGEST: Final = "0" * 64


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="unembed-bench-") as folder:
        _measure(f"sqlite:///{folder}/unembed.db")
    with services.postgres_server() as url:
        _measure(url)


def _measure(url: str) -> None:
    with open_engine(url) as engine:
        upgrade(engine)
        store = Store(engine, read_settings(database_url=url))
        for state in ("done", "queued"):
            _fill(engine, state)
            whole = _median(lambda: len(render(Around({}, {}, 0.7), InStore.of(store))))
            queue = _median(store.queue.stats)
            print(f"{engine.dialect.name}, {_BATCHES} batches {state}: {whole:.0f} ms, the queue's part {queue:.0f} ms")


def _median(do: Callable[[], object]) -> float:
    """Milliseconds."""
    took = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        do()
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def _fill(engine: Engine, state: str) -> None:
    with engine.begin() as connection:
        for table in ("batches", "jobs", "totals", "workers"):
            connection.execute(text(f"DELETE FROM {table}"))  # noqa: S608 - our own names, here and below
        _write(connection, state, is_sqlite=engine.dialect.name == "sqlite")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE" if engine.dialect.name == "sqlite" else "VACUUM ANALYZE")


def _write(connection: Connection, state: str, *, is_sqlite: bool) -> None:
    now = "strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'" if is_sqlite else "now()"
    done = state == "done"
    ended = now if done else "NULL"

    def rows(count: int, table: str, **values: str) -> None:
        numbers = f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {count - 1})"  # noqa: S608
        names, made = ", ".join(values), ", ".join(values.values())
        connection.execute(text(f"{numbers} INSERT INTO {table} ({names}) SELECT {made} FROM n"))  # noqa: S608

    nothing = dict.fromkeys(("rows_fallback", "rows_error", "waited_ms", "load_ms", "decode_ms", "score_ms"), "0")
    rows(
        _JOBS, "jobs",
        id="'job-' || i", state="'succeeded'" if done else "'queued'", client="''", decoder="'ret-v21-minilm'",
        embedding_dim="384", seed="0", options="'{}'", turn="0.0", batches_done="0",
        created_at=now, sealed_at=now, finished_at=ended,
    )  # fmt: skip
    rows(
        _BATCHES, "batches",
        id="'job-' || (i / 100) || '-' || (i % 100)", job_id="'job-' || (i / 100)", ordinal="i % 100",
        first_index="(i % 100) * 256", rows="256", bytes="400000", sha256=f"'{_DIGEST}'", state=f"'{state}'",
        attempt="1" if done else "0", max_attempts="4", rows_ok="256" if done else "0", write_ms="0",
        queued_at=now, finished_at=ended, done_ordinal="(i % 100) + 1" if done else "NULL", **nothing,
    )  # fmt: skip
    rows(
        _WORKERS, "workers",
        name="'worker-' || i", host="'host'", pid="1", batches_done="100", rows_done="25600",
        started_at=now, last_seen=now,
    )  # fmt: skip
    for outcome in ("done", "retried", "dead"):
        rows(
            _WORKERS, "totals",
            decoder="'ret-v21-minilm'", worker="'worker-' || i", outcome=f"'{outcome}'", code="''", batches="100",
        )  # fmt: skip


if __name__ == "__main__":
    main()
