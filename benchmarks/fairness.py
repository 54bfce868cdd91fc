"""Ten clients at one worker: how long each waits, in turns and in the order in which batches were sent.

python -m benchmarks.fairness [--database sqlite] [--rows 20000] [--row-us 1000] [--rounds 3]

The first client sends many rows; once the worker is at them, nine others send a little. All of it is real, but for the
decoder, which takes a fixed time for each row. The cost of turns is that of a job whose decoder takes no time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

import numpy as np

from benchmarks.echo import Site, running_site
from benchmarks.echo_worker import DIM, ORDER
from unembed import Client
from unembed.schemas import GREEDY

SMALL: Final = (50, 50, 50, 100, 100, 200, 400, 600, 1000)  # rows of the nine others
BATCH: Final = 1024
COST_BATCHES, COST_ROWS = 100, 64


@contextmanager
def _ordered(order: str) -> Iterator[None]:
    os.environ[ORDER] = order
    try:
        yield
    finally:
        os.environ.pop(ORDER)


def _latency(url: str, rows: int, row_us: int, priority: str = "normal") -> float:
    """Seconds from the submit to the last row."""
    vectors = np.ones((rows, DIM), dtype=np.float32)
    begun = time.perf_counter()
    with Client(url) as client:
        client.submit(vectors, batch_size=BATCH, seed=row_us, options=GREEDY, priority=priority).wait(poll=0.1)
    return time.perf_counter() - begun


def latencies(site: Site, rows: int, row_us: int) -> tuple[float, list[float]]:
    """The large job's, and those of the small ones."""
    with ThreadPoolExecutor(1 + len(SMALL)) as pool:
        large = pool.submit(_latency, site.stack.url, rows, row_us)
        while not any(job.batches.running for job in site.client.jobs(limit=1).jobs):
            time.sleep(0.02)
        small = [pool.submit(_latency, site.stack.url, each, row_us) for each in SMALL]
        return large.result(), [each.result() for each in small]


def throughput(site: Site) -> float:
    """Batches a second of a job whose decoder takes no time."""
    vectors = np.ones((COST_BATCHES * COST_ROWS, DIM), dtype=np.float32)
    begun = time.perf_counter()
    site.client.submit(vectors, batch_size=COST_ROWS, options=GREEDY).wait(poll=0.05)
    return COST_BATCHES / (time.perf_counter() - begun)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Ten clients at one worker.")
    parser.add_argument("--database", default="sqlite", choices=["sqlite", "postgresql"])
    parser.add_argument("--rows", type=int, default=20_000, help="of the large job")
    parser.add_argument("--row-us", type=int, default=1000, help="microseconds that the decoder takes for a row")
    parser.add_argument("--rounds", type=int, default=3, help="of the throughput")
    given = parser.parse_args(arguments)
    speeds: dict[str, list[float]] = {"sent": [], "turns": []}
    for order in speeds:
        with _ordered(order), running_site(given.database, flower=False) as site:
            throughput(site)  # warm
            large, small = latencies(site, given.rows, given.row_us)
            shown = ", ".join(f"{rows}: {seconds:.1f}" for rows, seconds in zip(SMALL, small, strict=True))
            print(
                f"{order}: {given.rows:,} rows took {large:.1f} s; seconds of the others by rows: {shown}", flush=True
            )
    for _ in range(given.rounds):
        for order, found in speeds.items():
            with _ordered(order), running_site(given.database, flower=False) as site:
                throughput(site)
                found.append(throughput(site))
    ratios = [turns / sent for sent, turns in zip(*speeds.values(), strict=True)]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"batches/s in turns, as a share of those as sent: {statistics.median(ratios):.2f} ({spread})")


if __name__ == "__main__":
    main()
