from __future__ import annotations

import os
from pathlib import Path

import pytest

from unembed.worker import memory, redis_server
from unembed.worker.memory import usable_memory

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
MIB = 1024**2


def root(folder: Path, cgroup: str, **files: str) -> Path:
    """A /proc and a /sys of ours: what the process's groups are called, and the files of the groups."""
    for path, content in {"proc/self/cgroup": cgroup, **files}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    return folder


def test_without_control_groups_it_is_the_machines(tmp_path: Path) -> None:
    assert usable_memory(tmp_path) == MACHINE
    assert usable_memory(root(tmp_path, "0::/\n", **{"sys/fs/cgroup/memory.max": "max\n"})) == MACHINE


@pytest.mark.parametrize(
    ("cgroup", "file"),
    [
        ("0::/\n", "sys/fs/cgroup/memory.max"),
        ("0::/user/app\n", "sys/fs/cgroup/user/app/memory.max"),
        ("0::/user/app\n", "sys/fs/cgroup/user/memory.max"),
        ("0::/../elsewhere\n", "sys/fs/cgroup/memory.max"),
        ("12:cpu,cpuacct:/docker/1a\n4:memory:/docker/1a\n", "sys/fs/cgroup/memory/memory.limit_in_bytes"),
        ("4:memory:/docker/1a\n0::/\n", "sys/fs/cgroup/memory/docker/1a/memory.limit_in_bytes"),
    ],
    ids=[
        "v2",
        "v2 by its path",
        "v2 of the group above",
        "v2 seen from outside",
        "v1 in a container",
        "v1 by its path",
    ],
)
def test_a_containers_limit_counts(tmp_path: Path, cgroup: str, file: str) -> None:
    assert usable_memory(root(tmp_path, cgroup, **{file: f"{700 * MIB}\n"})) == 700 * MIB


def test_the_least_limit_is_in_force(tmp_path: Path) -> None:
    limits = {"sys/fs/cgroup/memory.max": f"{900 * MIB}", "sys/fs/cgroup/a/memory.max": f"{800 * MIB}"}
    assert usable_memory(root(tmp_path, "0::/a\n", **limits)) == 800 * MIB


def test_no_limit_is_as_large_as_version_1_says_it(tmp_path: Path) -> None:
    none = {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}
    assert usable_memory(root(tmp_path, "4:memory:/\n", **none)) == MACHINE


def test_the_embedded_redis_takes_a_quarter_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = root(tmp_path, "0::/\n", **{"sys/fs/cgroup/memory.max": f"{2000 * MIB}"})
    monkeypatch.setattr(memory, "_ROOT", given)
    command = redis_server.command(tmp_path / "socket", tmp_path)
    assert command[command.index("--maxmemory") + 1] == str(500 * MIB)
