"""Ways of doing the same thing, one after the other and again, and the ratios of what they cost."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Spent:
    wall: float  # seconds
    cpu: float  # seconds, of all processes that were looked at


@dataclass(frozen=True)
class Ratio:
    """How many times as much one way costs as the other, over the repeats."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f} to {self.most:.2f})"


def spent(work: Callable[[], object], pids: Sequence[int] = ()) -> Spent:
    """What `work` costs this process and those of `pids`."""
    processes = [psutil.Process(pid) for pid in (os.getpid(), *pids)]

    def cpu() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in processes)

    before, begun = cpu(), time.perf_counter()
    work()
    return Spent(time.perf_counter() - begun, cpu() - before)


def interleaved(
    ways: Mapping[str, Callable[[], object]], repeats: int, pids: Sequence[int] = ()
) -> dict[str, list[Spent]]:
    """All ways once, then all of them again: what slows the machine for a while slows each of them."""
    found: dict[str, list[Spent]] = {name: [] for name in ways}
    for work in ways.values():
        work()  # once, for what is loaded and made at the first call
    for _ in range(repeats):
        for name, work in ways.items():
            found[name].append(spent(work, pids))
    return found


def ratio(these: Sequence[Spent], those: Sequence[Spent], kind: str = "cpu") -> Ratio:
    """Of what was measured side by side."""
    ratios = [getattr(a, kind) / getattr(b, kind) for a, b in zip(these, those, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def machine() -> str:
    """The CPU, what it can do, its cores and the memory, in one line."""
    from unembed.models.decoder.native_library import NEEDS, cpu_flags

    isa = next((name for name, needed in NEEDS.items() if needed <= cpu_flags()), "baseline")
    memory = psutil.virtual_memory().total / 1024**3
    return f"{_model()}, {isa}, {os.cpu_count()} cores, {memory:.0f} GiB"


def _model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")
