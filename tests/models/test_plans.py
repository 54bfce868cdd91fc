"""What is asked for with every batch, sweep or page costs the same however much is stored: each finds its rows by an
index. Told by the databases' own plans, and not by a clock."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from tests.builders import add_batches, generations, make_job, run_job
from unembed.models.settings import Settings
from unembed.models.store import JobFilter, Store
from unembed.schemas import JobState, Timings

GROWING = ("jobs", "batches", "generations")


@dataclass(frozen=True)
class Asked:
    statement: str
    parameters: Any


@pytest.fixture
def store(engine: Engine, settings: Settings) -> Store:
    """A store that removes old jobs."""
    return Store(engine, settings.model_copy(update={"job_ttl": 3600.0}))


@contextmanager
def recording(engine: Engine) -> Iterator[list[Asked]]:
    """Every statement that reads or changes rows which are there."""
    found: list[Asked] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        if not many and re.match(r"\s*(SELECT|UPDATE|DELETE)\b", statement):
            found.append(Asked(statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", note)


def plan(connection: Connection, asked: Asked) -> list[str]:
    word = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    return [str(row[-1]) for row in connection.exec_driver_sql(f"{word} {asked.statement}", asked.parameters)]


def grows(line: str) -> bool:
    """Whether this step of a plan reads a whole table, or sorts what it has read."""
    whole = re.match(rf"SCAN ({'|'.join(GROWING)})(?! USING)", line)  # SQLite
    whole = whole or re.search(rf"Seq Scan on ({'|'.join(GROWING)})\b", line)  # PostgreSQL
    return bool(whole or "TEMP B-TREE FOR ORDER BY" in line or re.search(r"\bSort\b", line))


def growing(engine: Engine, asked: list[Asked]) -> list[str]:
    """The statements that have such a step, and their plans."""
    assert asked, "something was asked"
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            # Tables that are nearly empty are read whole, for it is cheaper. Then it is done only where nothing else is
            # possible.
            for way in ("seqscan", "sort", "bitmapscan"):
                connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")
        plans = [(each, plan(connection, each)) for each in asked]
    return [f"{each.statement}\n  " + "\n  ".join(steps) for each, steps in plans if any(map(grows, steps))]


def test_a_batch_is_accepted_decoded_and_written_by_indexes(engine: Engine, store: Store) -> None:
    # Given what happens to batches, well or badly
    with recording(engine) as asked:
        job = make_job(store)
        store.jobs.head(job.id)
        first, second, third = add_batches(store, job, (2, 2, 2), seal=False)
        store.queue.mark_published([first.id])
        store.queue.mark_unsent([first.id])
        for batch in (first, second, third):
            assert store.queue.first_in_turn() == batch.id
            assert store.attempts.claim(batch.id, "worker", 60.0) is not None
            store.attempts.heartbeat(batch.id, 1, 60.0)
        assert store.attempts.finish(first.id, 1, generations(first), Timings())
        store.attempts.fail(second.id, 1, "broken", "for a test")
        store.attempts.release(third.id, 1)
    # Then none of it reads a table
    assert growing(engine, asked) == []


def test_pages_are_read_by_indexes(engine: Engine, store: Store) -> None:
    # Given jobs, one of which has rows
    jobs = [make_job(store) for _ in range(3)]
    run_job(store, jobs[0])
    with recording(engine) as asked:
        # When pages are read, the first and the following ones
        for state in (None, JobState.RECEIVING):
            page = store.jobs.page(limit=1, wanted=JobFilter(state=state))
            store.jobs.page(limit=1, wanted=JobFilter(state=state), cursor=page.next_cursor)
        for order in ("finished", "index"):
            rows = store.results.page(jobs[0].id, limit=1, order=order)
            store.results.page(jobs[0].id, limit=1, order=order, cursor=rows.next_cursor)
        store.jobs.batch_page(jobs[0].id, 1)
        store.jobs.page(limit=1, wanted=JobFilter(search="one"))
        store.overview.ended_jobs(3)
    # Then no table is read, and nothing is sorted
    assert growing(engine, [each for each in asked if "sum(" not in each.statement]) == []


def test_what_goes_on_is_seen_by_indexes(engine: Engine, store: Store) -> None:
    # Given a job that has ended and one that runs
    run_job(store, make_job(store))
    job = make_job(store)
    (batch, _) = add_batches(store, job)
    store.attempts.claim(batch.id, "worker", 60.0)
    with recording(engine) as asked:
        # When somebody looks what goes on, again and again
        store.overview.rows_by_minute()
        store.overview.held()
        store.overview.pulse()
    # Then no table is read. What runs is sorted by its worker: there is one batch for each.
    assert growing(engine, [each for each in asked if "rows_unwritten AS decoded" not in each.statement]) == []
    with recording(engine) as asked:
        store.overview.samples([job.id])
        store.overview.open_jobs(3)
    steps = [step for found in growing(engine, asked) for step in found.splitlines()[1:]]
    assert not any(grows(step) and "Sort" not in step and "ORDER BY" not in step for step in steps), steps


def test_a_sweep_finds_what_is_lost_by_indexes(engine: Engine, store: Store) -> None:
    # Given a sweep, and what a worker asks about itself
    with recording(engine) as asked:
        store.workers.is_deaf("worker", 300.0)
        store.sweeping.expired_jobs()
        store.sweeping.cancel_unsealed()
        store.sweeping.queued()
        store.sweeping.done_or_cancelled(["one-0"])
        store.sweeping.reclaim("worker", "message")
    # Then no table is read
    assert growing(engine, asked) == []


def test_a_scrape_of_the_metrics_reads_no_batch_that_has_ended(engine: Engine, store: Store) -> None:
    # Given all that /metrics asks, When it is asked, Then no table that grows with what was done is read
    with recording(engine) as asked:
        store.queue.stats()
        store.workers.seen_within(60.0)
        store.workers.by_state()
        store.totals.all()
    assert growing(engine, asked) == []


@pytest.mark.parametrize(
    "statement", ["SELECT id FROM batches WHERE rows = 7", "SELECT id FROM jobs ORDER BY name LIMIT 1"]
)
def test_what_has_no_index_is_noticed(engine: Engine, statement: str) -> None:
    assert len(growing(engine, [Asked(statement, ())])) == 1
