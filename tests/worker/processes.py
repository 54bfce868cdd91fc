"""Looking at real processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from unembed.home import started_at


def await_(condition: Callable[[], object], seconds: float = 60, what: str = "", pause: float = 0.02) -> None:
    """Returns when the condition holds; fails the test when it does not come to hold. `pause`: seconds between looks,
    more where each costs a process."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or condition}"
        time.sleep(pause)


def is_alive(pid: int) -> bool:
    return started_at(pid) is not None


def children_of(pid: int) -> list[int]:
    """The processes that a process started, of all its threads."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += map(int, task.read_text().split())
    return found


def family_of(pid: int) -> list[int]:
    """A process and all that came from it."""
    return [pid, *(member for child in children_of(pid) for member in family_of(child))]


def has_torch(pid: int) -> bool:
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text()
