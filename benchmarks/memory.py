"""Whether memory grows: of a decoder in a process, and of a worker behind the queue, over many uneven batches."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.asked import Asked, say
from benchmarks.measuring import Spread
from benchmarks.paths import tree_memory
from benchmarks.report import Grid, Section
from benchmarks.subject import TimedProcess
from benchmarks.whole import DECODER
from unembed import Client
from unembed.corpus import corpus_from_array
from unembed.schemas import GREEDY
from unembed.worker.launch import Stack

MICRO_BATCH = 64  # rows at most; another number in each batch of the loop
WORKER_BATCH = 16  # rows: 1,000 batches are then decoded in seconds


def measure(asked: Asked) -> Section:
    young, old = asked.ageing
    say(f"memory, {old:,} batches in a process")
    with TimedProcess("ours.py", str(asked.vectors)) as ours:
        precision = ours.ask("facts")["precision"]
        loop = [
            ours.ask("age", precision=precision, batches=count, micro_batch=MICRO_BATCH)["bytes"]
            for count in (young, old - young)
        ]
    say(f"memory, {old:,} batches in a worker")
    worker = worker_memory(asked, young, old)
    heads = ("", f"after {young:,} batches", f"after {old:,} batches", "ratio")
    lines = [
        (name, *(f"{one / 1e6:,.0f} MB" for one in found), f"{found[1] / found[0]:.3f}")
        for name, found in (("a loop of `decode_rows`", loop), ("a worker", worker))
    ]
    ratio = worker[1] / worker[0]
    return Section(
        "Memory over time",
        [Grid("Resident memory", heads, lines)],
        f"""
        Each measured once, in a process of its own. The loop decodes batches of {MICRO_BATCH // 2} to {MICRO_BATCH}
        rows, drawn at random from the example sentences, so that texts end at different places every time. The worker
        (its parent and the process that decodes) gets jobs of {WORKER_BATCH} rows a batch through the whole path.

        """,
        {f"memory of a worker after {old:,} batches over after {young:,} (a cost)": Spread(ratio, ratio, ratio)},
    )


def worker_memory(asked: Asked, young: int, old: int) -> list[int]:
    """After so many batches."""
    vectors, generator = np.load(asked.vectors, allow_pickle=False), np.random.default_rng(0)
    found = []
    with (
        tempfile.TemporaryDirectory(prefix="unembed-") as home,
        Stack(Path(home), workers=1) as stack,
        Client(stack.url) as client,
    ):
        for count in (young, old - young):
            rows = vectors[generator.integers(len(vectors), size=count * WORKER_BATCH)]
            client.submit(corpus_from_array(rows), decoder=DECODER, batch_size=WORKER_BATCH, options=GREEDY).wait()
            parts = [pid for part, pid in stack.pids().items() if part.startswith("worker")]
            found.append(sum(map(tree_memory, parts)))
    return found
