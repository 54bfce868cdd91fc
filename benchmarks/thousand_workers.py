"""A thousand workers on one PostgreSQL: what claims, heartbeats and results cost, and how late they come.

python -m benchmarks.thousand_workers [--workers 1000] [--batch-seconds 60] [--jobs 10] [--seconds 60] [--rows 0]

The store and PostgreSQL are the real ones; only the workers are simulated. Each takes a batch, is busy for as long as
the decoder would be, renews its lease meanwhile, writes the batch's end, and takes the next one; and like a real worker
it says every ten seconds that it is there. A few threads do this for all of them, each with a connection, as behind a
pooler. `--rows 0`: the rows are in files, and SQL has only the batch's end. `--batch-seconds 0`: as fast as the
database can.
"""

from __future__ import annotations

import argparse
import heapq
import random
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import psycopg
import pyarrow as pa

from tests import services
from tests.builders import add_batches, decoded, make_job
from unembed.models.database import open_engine, upgrade
from unembed.models.settings import read_settings
from unembed.models.store import Claim, Store
from unembed.references import ResultsPart
from unembed.schemas import Timings

SWEEP_INTERVAL: Final = 10.0  # seconds, as are those below: the defaults of a worker
HEARTBEAT: Final = 15.0
LEASE: Final = 90.0
TEXTS: Final = ("The road winds through fields of yellow rape.",)
_EMPTY_PAUSE: Final = 1.0  # before a worker that found nothing looks again
HEADINGS: Final = ("what", "number", "a second", "p50 (ms)", "p99 (ms)", "late, p50 (ms)", "late, p99 (ms)")


@dataclass(frozen=True)
class Scenario:
    """What is simulated."""

    workers: int = 1000
    jobs: int = 10
    batch_seconds: float = 60.0  # that a batch is decoded for, on average
    seconds: float = 60.0  # of the run
    rows: int = 0  # that each batch writes into SQL; 0: into files
    threads: int = 8  # and connections
    tries: int = 300  # of each call, for what it costs

    @property
    def batches(self) -> int:
        """Enough that none of the workers is ever without one."""
        if not self.batch_seconds:
            return int(self.seconds * 400) + self.workers + self.tries
        return int(self.workers * (2 + self.seconds / self.batch_seconds)) + self.tries


@dataclass
class CallTimes:
    """One kind of call: how long each took, and how late it began, in seconds."""

    took: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Cost:
    """The CPU of one call, in milliseconds: PostgreSQL's, and that of the store in the worker."""

    database: float
    own: float


@dataclass(frozen=True)
class Report:
    plan: Scenario
    costs: dict[str, Cost]
    calls: dict[str, CallTimes]
    seconds: float
    database_cpu: float  # seconds, of all of PostgreSQL's processes
    own_cpu: float
    finished: int
    stuck: int  # batches that run, whose lease has run out

    def cores(self, workers: int, batch_seconds: float) -> float:
        """Of PostgreSQL, for so many workers that each take a batch in so many seconds: computed from the costs."""
        a_second = {
            "claim": 1 / batch_seconds,
            "finish": 1 / batch_seconds,
            "heartbeat": 1 / HEARTBEAT,
            "check in": 1 / SWEEP_INTERVAL,
        }
        return workers * sum(self.costs[name].database / 1000 * often for name, often in a_second.items())

    def markdown(self) -> str:
        rows = [_line(name, measured, self.seconds) for name, measured in self.calls.items()]
        costs = [(name, f"{cost.database:.2f}", f"{cost.own:.2f}") for name, cost in self.costs.items()]
        return (
            f"{_table(('one at a time', 'PostgreSQL (ms of CPU)', 'the store (ms of CPU)'), costs)}\n"
            f"{_table(HEADINGS, rows)}\n"
            f"{self.plan.workers:,} workers, {self.plan.jobs} jobs, {self.plan.batch_seconds:g} s a batch, "
            f"{self.plan.rows or 'no'} rows a batch in SQL, {self.seconds:.0f} s, {self.plan.threads} connections: "
            f"{self.finished:,} batches. PostgreSQL used {self.database_cpu / self.seconds:.2f} cores, the store "
            f"{self.own_cpu / self.seconds:.2f}. Leases that ran out: {self.stuck}.\n"
        )


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in (headings, ("---",) * len(headings), *rows))


def _line(name: str, measured: CallTimes, seconds: float) -> tuple[str, ...]:
    number = len(measured.took)
    times = (*_middle_and_end(measured.took), *_middle_and_end(measured.late))
    return (name, f"{number:,}", f"{number / seconds:,.1f}", *(f"{1000 * value:,.1f}" for value in times))


class Crowd:
    """All of them: what each does next, and when, and the threads that do it."""

    def __init__(self, plan: Scenario, url: str, seed: int = 0) -> None:
        self._plan = plan
        self._url = url
        self._own = threading.local()
        self._random = random.Random(seed)  # noqa: S311
        self._due: list[tuple[float, int, str, Callable[[], object]]] = []
        self._ready = threading.Condition()
        self._number = 0
        self._rows = decoded(range(max(plan.rows, 1)), TEXTS)
        self.calls: dict[str, CallTimes] = defaultdict(CallTimes)
        self.finished = 0

    def run(self) -> float:
        """Until the time is over; how long it took, in seconds."""
        began = time.monotonic()
        ends = began + self._plan.seconds
        for number in range(self._plan.workers):
            name = f"gpu0@host{number}"
            first, batch = self._random.random() * SWEEP_INTERVAL, self._random.random() * self._plan.batch_seconds
            self._at(began + first, "check in", self._is_there(name))
            self._at(began + batch, "claim", self._claims(name))
        with ThreadPoolExecutor(self._plan.threads) as threads:
            for each in [threads.submit(self._work, ends) for _ in range(self._plan.threads)]:
                each.result()
        return time.monotonic() - began

    @property
    def _store(self) -> Store:
        found: Store = self._own.store
        return found

    def _work(self, ends: float) -> None:
        """A thread, with a store and a connection of its own."""
        with open_engine(self._url) as engine:
            self._own.store = Store(engine, read_settings(database_url=self._url))
            self._do_what_is_due(ends)

    def _do_what_is_due(self, ends: float) -> None:
        while (now := time.monotonic()) < ends:
            with self._ready:
                if not self._due or self._due[0][0] > now:
                    self._ready.wait(min(ends, self._due[0][0]) - now if self._due else 0.05)
                    continue
                due, _, name, call = heapq.heappop(self._due)
            began = time.monotonic()
            call()
            took = time.monotonic() - began
            with self._ready:
                self.calls[name].took.append(took)
                self.calls[name].late.append(began - due)

    def _at(self, when: float, name: str, call: Callable[[], object]) -> None:
        with self._ready:
            self._number += 1
            heapq.heappush(self._due, (when, self._number, name, call))
            self._ready.notify()

    def _is_there(self, name: str) -> Callable[[], object]:
        def check_in() -> None:
            _check_in(self._store, name)
            self._at(time.monotonic() + SWEEP_INTERVAL, "check in", check_in)

        return check_in

    def _claims(self, name: str) -> Callable[[], object]:
        def claim() -> None:
            held = self._claim(name)
            now = time.monotonic()
            if held is None:
                self._at(now + _EMPTY_PAUSE, "claim", claim)
                return
            ends = now + self._plan.batch_seconds * self._random.uniform(0.8, 1.2)
            self._at(ends, "finish", self._finishes(name, held))
            self._at(now + HEARTBEAT, "heartbeat", self._beats(held, ends))

        return claim

    def _claim(self, name: str) -> Claim | None:
        while (batch_id := self._store.queue.first_in_turn()) is not None:
            if held := self._store.attempts.claim(batch_id, name, LEASE, or_next=True):
                return held
            self.calls["claim that another was faster with"].took.append(0.0)
        return None

    def _beats(self, held: Claim, ends: float) -> Callable[[], object]:
        def beat() -> None:
            self._store.attempts.heartbeat(held.batch.id, held.attempt, LEASE)
            self._at(time.monotonic() + HEARTBEAT, "heartbeat", beat)

        return lambda: beat() if time.monotonic() < ends else None

    def _finishes(self, name: str, held: Claim) -> Callable[[], object]:
        def finish() -> None:
            if _finish(self._store, held, self._rows, self._plan):
                self.finished += 1
            self._at(time.monotonic(), "claim", self._claims(name))

        return finish


def simulate(plan: Scenario) -> Report:
    """On a PostgreSQL of its own, which writes to the disk as in production."""
    with services.running_postgres(keeps=True, fsync=True) as server:
        with open_engine(server.url) as engine:
            upgrade(engine)
            store = Store(engine, read_settings(database_url=server.url))
            _queue(store, plan)
            with psycopg.connect(server.url, autocommit=True) as connection:
                connection.execute("VACUUM ANALYZE")  # as autovacuum would have by then
            costs = _costs(store, server.pid, plan)
        workers = Crowd(plan, server.url)
        before, own = _cpu_of(server.pid), time.process_time()
        seconds = workers.run()
        spent, own = _cpu_of(server.pid) - before, time.process_time() - own
        with psycopg.connect(server.url) as connection:
            late = "SELECT count(*) FROM batches WHERE state = 'running' AND lease_until < now()"
            (stuck,) = connection.execute(late).fetchone() or (0,)
    return Report(plan, costs, dict(workers.calls), seconds, spent, own, workers.finished, stuck)


def _costs(store: Store, pid: int, plan: Scenario) -> dict[str, Cost]:
    """What each call costs, one at a time: the CPU's time, which a busy machine changes less than the clock's."""
    held: list[Claim] = []
    rows = decoded(range(max(plan.rows, 1)), TEXTS)

    def claim() -> None:
        batch_id = store.queue.first_in_turn()
        assert batch_id is not None
        found = store.attempts.claim(batch_id, "gpu0@alone", LEASE)
        assert found is not None
        held.append(found)

    def finish() -> None:
        assert _finish(store, held.pop(), rows, plan)

    calls: dict[str, Callable[[], object]] = {
        "check in": lambda: _check_in(store, "gpu0@alone"),
        "claim": claim,
        "heartbeat": lambda: store.attempts.heartbeat(held[-1].batch.id, held[-1].attempt, LEASE),
        "finish": finish,
    }
    found = {}
    for name, call in calls.items():
        before, own = _cpu_of(pid), time.thread_time()
        for _ in range(plan.tries):
            call()
        spent = _cpu_of(pid) - before
        found[name] = Cost(1000 * spent / plan.tries, 1000 * (time.thread_time() - own) / plan.tries)
    return found


def _check_in(store: Store, name: str) -> None:
    """As a worker does with each sweep (worker/main.py)."""
    store.workers.check_in(name, name.partition("@")[2], 1, "cuda:0", "bfloat16", "graph")
    store.workers.is_deaf(name, 300.0)


def _finish(store: Store, held: Claim, rows: pa.RecordBatch, plan: Scenario) -> bool:
    first = held.batch.first_index
    index = pa.array(range(first, first + rows.num_rows), rows.schema.field("index").type)
    place = rows.schema.get_field_index("index")
    columns = rows.set_column(place, rows.schema.field(place), index)
    part = None if plan.rows else ResultsPart(uri=f"file:///texts/{held.batch.id}.parquet", bytes=1)
    timings = Timings(load_ms=1.0, decode_ms=1000 * plan.batch_seconds, score_ms=1.0)
    return store.attempts.finish(held.batch.id, held.attempt, columns, timings, device="cuda:0", part=part)


def _queue(store: Store, plan: Scenario) -> None:
    """The jobs, with all batches that the workers will come to take."""
    each = -(-plan.batches // plan.jobs)
    where = None if plan.rows else "file:///texts"
    for _ in range(plan.jobs):
        add_batches(store, make_job(store, results_uri=where), [max(plan.rows, 1)] * each)


def _cpu_of(pid: int) -> float:
    """Seconds, of PostgreSQL's processes, those that ended too."""
    import psutil

    server = psutil.Process(pid)
    ended = sum(server.cpu_times()[:4])
    for child in server.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has just ended, and is counted next time among those that have
            ended += sum(child.cpu_times()[:2])
    return float(ended)


def _middle_and_end(found: Sequence[float]) -> tuple[float, float]:
    if len(found) < 2:
        return (found[0], found[0]) if found else (0.0, 0.0)
    return statistics.median(found), statistics.quantiles(found, n=100)[-1]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.thousand_workers", description=__doc__.split("\n")[0])
    usual = Scenario()
    for name, kind in (("workers", int), ("jobs", int), ("rows", int), ("threads", int), ("tries", int)):
        parser.add_argument(f"--{name}", type=kind, default=getattr(usual, name))
    for name in ("batch-seconds", "seconds"):
        parser.add_argument(f"--{name}", type=float, default=getattr(usual, name.replace("-", "_")))
    print(simulate(Scenario(**vars(parser.parse_args(arguments)))).markdown(), end="")


if __name__ == "__main__":
    main()
