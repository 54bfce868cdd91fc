"""RET v2.1 against v2.0 on this machine: memory, rows a second, latency, requests at once.

The weights are random, as their values cost nothing, but the work is real: the loop of `engine.generate` and the
scoring pass after it, on texts as long as real ones. How many pieces they take is learnt from the texts for each of the
two: v2.0, with four times as many pieces to choose from, needs fewer for the same text. The two take turns, round by
round, so that whatever else the machine does meets both; what counts is the ratio within a round. Memory is measured in
a process of its own for each.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any, Final

import torch

from unembed.errors import InputError
from unembed.models.decoder.config import RET_V2, RET_V21, NetworkConfig
from unembed.models.device import choose
from unembed.models.evaluation.memory import MemoryUse, memory_use
from unembed.models.evaluation.workload import Workload, piece_lengths, workload
from unembed.schemas import Precision

SUBJECTS: Final = (RET_V21, RET_V2)
SINGLES: Final = 5  # generations of one row, in each round


@dataclass(frozen=True)
class Comparison:
    """What to compare on."""

    embedding_dim: int = 768
    rows: int = 256  # in the batch
    rounds: int = 9
    requests: int = 3  # generations at once
    device: str = "auto"
    precision: Precision = "auto"
    threads: int = 0  # of the CPU; 0: as many as torch chooses


@dataclass(frozen=True)
class Benchmark:
    """Of one architecture; times are medians over the rounds."""

    architecture: str
    parameters: int
    pieces_per_text: float
    memory: MemoryUse
    rows_per_second: float
    latency_ms: float  # of one generation, alone
    together_ms: float  # until all of `requests` generations, begun at once, are there


def times(subjects: Sequence[Workload], rounds: int, requests: int) -> list[list[tuple[float, float, float]]]:
    """For each round and subject the seconds of the whole batch, of one generation, and of `requests` at once."""
    twins = [[one.twin() for _ in range(requests)] for one in subjects]
    expected = [one.decode(one.typical).ids for one in subjects]
    for one in subjects:
        one.decode(slice(None))
    with ThreadPoolExecutor(requests) as pool:

        def at_once(place: int) -> None:
            for ids in pool.map(lambda one: one.decode(one.typical).ids, twins[place]):
                if not torch.equal(ids, expected[place]):
                    raise AssertionError("a request got a different text when it ran beside others")

        def round_of(place: int) -> tuple[float, float, float]:
            one = subjects[place]
            alone = median(_seconds(lambda: one.decode(one.typical)) for _ in range(SINGLES))
            return _seconds(lambda: one.decode(slice(None))), alone, _seconds(lambda: at_once(place))

        return [[round_of(place) for place in range(len(subjects))] for _ in range(rounds)]


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def ratios(new: Benchmark, old: Benchmark, rounds: list[list[tuple[float, float, float]]]) -> dict[str, float]:
    """Of `new` to `old`: shares of memory that are saved, and how many times as fast, the median of the rounds."""
    faster = [
        median(other / ours for ours, other in (tuple(one[kind] for one in both) for both in rounds))
        for kind in range(3)
    ]
    return {
        "weights_saved": 1.0 - new.memory.weights / old.memory.weights,
        "one_saved": 1.0 - new.memory.one / old.memory.one,
        "batch_saved": 1.0 - new.memory.batch / old.memory.batch,
        "batch_times_as_fast": faster[0],
        "one_times_as_fast": faster[1],
        "together_times_as_fast": faster[2],
    }


def compare(asked: Comparison, texts: Sequence[str], command: str) -> dict[str, Any]:
    """The whole record, as it is written down; `command` is what was typed.

    Raises InputError when more rows are asked for than there are texts.
    """
    if not 0 < asked.rows <= len(texts):
        raise InputError(f"rows is {asked.rows}; expected 1 to {len(texts)}, the number of texts")
    if asked.threads:
        torch.set_num_threads(asked.threads)
    device = choose(asked.device, asked.precision)
    configs = [NetworkConfig.of(name, embedding_dim=asked.embedding_dim) for name in SUBJECTS]
    lengths = [piece_lengths(config, texts)[: asked.rows] for config in configs]
    memories = [
        memory_use(*one, asked.device, device.precision, asked.threads) for one in zip(configs, lengths, strict=True)
    ]
    subjects = [workload(*one, device) for one in zip(configs, lengths, strict=True)]
    rounds = times(subjects, asked.rounds, asked.requests)
    measured = [
        Benchmark(
            architecture=name,
            parameters=one.network.config.parameters,
            pieces_per_text=float(one.lengths.float().mean()),
            memory=used,
            rows_per_second=asked.rows / median(both[place][0] for both in rounds),
            latency_ms=1000.0 * median(both[place][1] for both in rounds),
            together_ms=1000.0 * median(both[place][2] for both in rounds),
        )
        for place, (name, one, used) in enumerate(zip(SUBJECTS, subjects, memories, strict=True))
    ]
    return {
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {
            "device": device.name,
            "type": device.torch_device.type,
            "precision": device.precision,
            "architecture": platform.machine(),
            "cpu_cores": os.cpu_count(),
            "cpu_instructions": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        },
        "embedding_dim": asked.embedding_dim,
        "rows": asked.rows,
        "rounds": asked.rounds,
        "requests": asked.requests,
        "measured": {one.architecture: asdict(one) for one in measured},
        "ratios": ratios(measured[0], measured[1], rounds),
    }
