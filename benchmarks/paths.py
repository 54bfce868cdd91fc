"""A whole corpus, from file to file: Unembed beside the bare loop, raw Redis and COPY, Ray Data, and a first try."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import psutil
import pyarrow.parquet as pq

from benchmarks.asked import Asked, say
from benchmarks.checkout import ROOT
from benchmarks.measuring import Spent, Spread, in_turns, ratio
from benchmarks.report import Grid, Section
from benchmarks.subject import ONE_THREAD
from tests.services import postgres_server

LOOK_EVERY: Final = 0.4  # seconds between two looks at the memory
ROUNDS: Final = 3  # each takes minutes, most of them the programs' own starts
PLAIN_SHARE: Final = 4  # what decodes in plain torch gets one row in so many, as it takes as many times as long
STARTS_WITHIN: Final = 240.0  # seconds
RUNS_WITHIN: Final = 240.0  # seconds, until it is stopped as one that hangs


@dataclass(frozen=True)
class Way:
    """A program that decodes a corpus, and how it is started."""

    name: str
    program: str
    engine: str = "auto"
    postgres: bool = False

    @property
    def is_plain(self) -> bool:
        return self.engine == "torch"


BARE: Final = Way("bare loop", "whole_bare.py")
OURS: Final = Way("Unembed, SQLite", "whole_ours.py")
OURS_POSTGRES: Final = Way("Unembed, PostgreSQL", "whole_ours.py", postgres=True)
RAW: Final = Way("raw Redis and COPY", "whole_raw.py", postgres=True)
RAY: Final = Way("Ray Data, our engine", "whole_ray.py")
RAY_PLAIN: Final = Way("Ray Data, plain torch", "whole_ray.py", "torch")
FIRST: Final = Way("first Celery project, our engine", "first_try.py", postgres=True)
FIRST_PLAIN: Final = Way("first Celery project, plain torch", "first_try.py", "torch", postgres=True)
WAYS: Final = (BARE, OURS, OURS_POSTGRES, RAW, RAY, FIRST, RAY_PLAIN, FIRST_PLAIN)


def measure(asked: Asked) -> Section:
    peaks: dict[str, list[int]] = {way.name: [] for way in WAYS}
    rounds = min(ROUNDS, asked.rounds)
    with postgres_server() as database:

        def run(way: Way) -> Spent:
            spent, peak = timed_way(way, asked, database)
            peaks[way.name].append(peak)
            return spent

        spent = in_turns({way.name: partial(run, way) for way in WAYS}, rounds)
    return Section(
        "A whole corpus, from a file to a file",
        [_grid(asked, spent, peaks)],
        _method(asked, rounds),
        _headlines(asked, spent),
    )


def timed_way(way: Way, asked: Asked, database: str) -> tuple[Spent, int]:
    """What it cost to decode the corpus, starts not counted, and the most memory meanwhile, in bytes.

    Raises RuntimeError when the program fails, or has not written as many texts as there are vectors.
    """
    say(f"the path: {way.name}")
    rows = rows_of(way, asked)
    name = way.program.removesuffix(".py")
    marker, out = asked.folder / f"{name}.ready", asked.folder / f"{name}.parquet"
    _forget(marker, Path(f"{marker}.loaded"), out)
    arguments = [asked.corpus_of(rows), out, marker, way.engine, database if way.postgres else ""]
    command = [sys.executable, "-P", str(ROOT / "benchmarks" / way.program), *map(str, arguments)]
    environment = os.environ | ONE_THREAD | {"UNEMBED_THREADS": "1", "PYTHONPATH": str(ROOT)}
    log = asked.folder / f"{name}.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors) as one,
    ):
        assert one.stdin is not None
        assert one.stdout is not None
        _await(marker, one, log)
        begun, before = time.perf_counter(), tree_cpu(one.pid)
        too_late = threading.Timer(RUNS_WITHIN, _kill, [one.pid])
        too_late.start()
        with watched_memory(one.pid) as peak:
            is_done = any(line.strip() == b"done" for line in one.stdout)  # libraries print lines of their own
        spent = Spent(time.perf_counter() - begun, tree_cpu(one.pid) - before)
        one.stdin.close()
        one.stdout.close()
        one.wait()
        too_late.cancel()
    if not is_done or _count(out) != rows:
        raise RuntimeError(f"{way.name} failed: {log.read_text(errors='replace')[-2000:]}")
    return spent, max(peak)


def rows_of(way: Way, asked: Asked) -> int:
    return asked.path_rows // PLAIN_SHARE if way.is_plain else asked.path_rows


def _count(out: Path) -> int:
    """Rows of a .parquet file, or of a folder of them."""
    files = [out] if out.is_file() else list(out.glob("*.parquet"))
    return sum(pq.ParquetFile(file).metadata.num_rows for file in files)


def _forget(*paths: Path) -> None:
    for path in paths:
        if path.is_dir():
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
        path.unlink(missing_ok=True)


def _await(marker: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    while not marker.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            _kill(process.pid)
            raise RuntimeError(f"{process.args!r} did not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.01)


def _tree(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    return []


def _kill(pid: int) -> None:
    for process in _tree(pid)[::-1]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def tree_cpu(pid: int) -> float:
    """Seconds, user and system, of a process and all its descendants, those that have ended and were waited for too."""
    total = 0.0
    for process in _tree(pid):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


@contextmanager
def watched_memory(pid: int) -> Iterator[list[int]]:
    """Bytes of all the processes together, looked at now and then; what they share counts once (PSS)."""
    seen, is_over = [0], threading.Event()

    def watch() -> None:
        while not is_over.wait(LOOK_EVERY):
            seen.append(tree_memory(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        is_over.set()
        thread.join()
        seen.append(tree_memory(pid))


def tree_memory(pid: int) -> int:
    """Resident; without /proc what is shared counts once a process."""
    total = 0
    for process in _tree(pid):
        path = Path(f"/proc/{process.pid}/smaps_rollup")
        with suppress(OSError, psutil.NoSuchProcess):
            if not path.exists():
                total += process.memory_info().rss
                continue
            line = next(line for line in path.read_text(encoding="ascii").splitlines() if line.startswith("Pss:"))
            total += int(line.split()[1]) * 1024
    return total


def per_row(asked: Asked, spent: Mapping[str, list[Spent]], way: Way) -> list[Spent]:
    rows = rows_of(way, asked)
    return [Spent(one.wall / rows, one.cpu / rows) for one in spent[way.name]]


def _grid(asked: Asked, spent: Mapping[str, list[Spent]], peaks: Mapping[str, list[int]]) -> Grid:
    bare, ours = per_row(asked, spent, BARE), per_row(asked, spent, OURS)
    lines = []
    for way in WAYS:
        each = per_row(asked, spent, way)
        speed = Spread.of([1.0 / one.wall for one in each])
        cpu, wall = ratio(each, bare), ratio(each, ours, "wall")
        lines.append((way.name, f"{speed:,.0f}", str(cpu), str(wall), f"{max(peaks[way.name]) / 1e6:,.0f} MB"))
    heads = ("", "rows/s on the clock", "CPU over the bare loop", "time over Unembed, SQLite", "most memory")
    return Grid(f"{asked.path_rows:,} vectors", heads, lines)


def _headlines(asked: Asked, spent: Mapping[str, list[Spent]]) -> dict[str, Spread]:
    bare, ours = per_row(asked, spent, BARE), per_row(asked, spent, OURS)
    shown = {"CPU of the whole path over the bare loop, SQLite (a cost)": ratio(ours, bare)}
    shown["CPU of the whole path over the bare loop, PostgreSQL (a cost)"] = ratio(
        per_row(asked, spent, OURS_POSTGRES), bare
    )
    for way in (RAY, RAY_PLAIN, FIRST, FIRST_PLAIN):
        shown[f"time of {way.name}, over Unembed"] = ratio(per_row(asked, spent, way), ours, "wall")
    return shown


def _method(asked: Asked, rounds: int) -> str:
    return f"""
        {asked.path_rows:,} vectors of the example sentences, repeated, in a .parquet file; {rounds} rounds in turns.
        Each way has one process that decodes, on one thread, in batches of 1,024 rows, and may use all cores for the
        rest. It is timed from when its decoder has loaded and decoded 64 rows, until the texts are in .parquet;
        starting and stopping are not counted. CPU is of all processes that a way starts; PostgreSQL is not among them,
        for any way. Memory is theirs together, what they share counted once. "Our engine" is the decoder that Unembed
        uses, in another's frame; "plain torch" is the same decoder without the engine in C++, on a {PLAIN_SHARE}th of
        the rows, and compared a row. The first Celery project has vectors as JSON in its messages, 256 rows each, an
        ORM, and a row a commit (`benchmarks/first_try.py`); PostgreSQL runs with fsync off, to its advantage. Raw Redis
        and COPY has no checks, leases or second attempts.

    """
