"""How much memory this process may use: the machine's, or what a container's control groups leave of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

_ROOT: Final = Path("/")


def usable_memory(root: Path | None = None) -> int:
    """Bytes: the least of the machine's memory and the limits of this process's control groups, of version 1 and 2.

    `root` is where `proc` and `sys` are, if not at the top.
    """
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_limits(root or _ROOT)])


def _limits(root: Path) -> Iterator[int]:
    """Of the group and of all above it: the least of them is in force.

    Within a container the file system shows its own group as the top, whatever /proc calls it: what does not exist
    there is passed over, and the top is always read.
    """
    mounts = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, controllers_and_path = line.partition(":")
        controllers, _, path = controllers_and_path.partition(":")
        if controllers == "":
            places = [(mounts, "memory.max"), (mounts / "unified", "memory.max")]
        elif "memory" in controllers.split(","):
            places = [(mounts / "memory", "memory.limit_in_bytes")]
        else:
            continue
        group = PurePosixPath(path.lstrip("/"))
        for top, name in places:
            for each in (group, *group.parents):
                limit = _read(top / each / name).strip()
                if limit.isdecimal():  # not `max`, and not missing
                    yield int(limit)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
