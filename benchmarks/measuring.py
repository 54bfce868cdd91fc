"""What a piece of work cost, and how two of them compare."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Self

import psutil


@dataclass(frozen=True)
class Spent:
    """Seconds on the clock, and of CPU: all threads of all processes concerned, user and system."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Spread:
    """The median of a few rounds, with the least and the greatest."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Raises StatisticsError when there are none."""
        return cls(statistics.median(values), min(values), max(values))

    def __format__(self, form: str) -> str:
        return f"{self.median:{form}} ({self.least:{form}} to {self.most:{form}})"

    def __str__(self) -> str:
        return f"{self:.2f}"


Kind = Literal["wall", "cpu"]


def ratio(these: Sequence[Spent], those: Sequence[Spent], kind: Kind = "cpu") -> Spread:
    """How many times as much these took as those, round by round: what else the machine did then met both."""
    return Spread.of([getattr(a, kind) / getattr(b, kind) for a, b in zip(these, those, strict=True)])


def rate(rounds: Sequence[Spent], rows: int) -> Spread:
    """Rows a CPU second."""
    return Spread.of([rows / spent.cpu for spent in rounds])


def in_turns(works: Mapping[str, Callable[[], Spent]], rounds: int) -> dict[str, list[Spent]]:
    """Each piece of work once a round, in an order that turns round every time."""
    spent: dict[str, list[Spent]] = {name: [] for name in works}
    for number in range(rounds):
        for name in list(works)[:: 1 if number % 2 == 0 else -1]:
            spent[name].append(works[name]())
    return spent


def interleaved(
    ways: Mapping[str, Callable[[], object]], repeats: int, pids: Sequence[int] = ()
) -> dict[str, list[Spent]]:
    """All of them in turns, after each was done once, for what is loaded and made at the first call."""
    for work in ways.values():
        work()
    return in_turns({name: partial(spent, work, pids) for name, work in ways.items()}, repeats)


def spent(work: Callable[[], object], pids: Sequence[int] = ()) -> Spent:
    """What `work` costs this process, its threads included, and those of `pids`."""
    others = [psutil.Process(pid) for pid in pids]

    def cpu() -> float:
        return time.process_time() + sum(sum(process.cpu_times()[:2]) for process in others)

    before, begun = cpu(), time.perf_counter()
    work()
    return Spent(time.perf_counter() - begun, cpu() - before)


def stay_on_one_core() -> None:
    """Keeps this process and those that it starts to the last core that it may use, where the system can (Linux)."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
