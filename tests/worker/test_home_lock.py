from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.worker.processes import is_alive
from unembed.errors import ConflictError
from unembed.home import started_at
from unembed.worker.home_lock import PARTS_FILE, HomeLock

SLEEPS = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]


def test_a_second_owner_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    lock = HomeLock(tmp_path)
    with pytest.raises(ConflictError, match=f"process {os.getpid()}"):
        HomeLock(tmp_path)
    lock.release()
    HomeLock(tmp_path).release()


def test_a_lock_dies_with_its_owner(tmp_path: Path) -> None:
    # Given a process that owns the folder, and is killed
    program = "import sys, os, pathlib; from unembed.worker.home_lock import HomeLock; HomeLock(pathlib.Path(sys.argv[1])); os.kill(os.getpid(), 9)"  # noqa: E501
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    # When another one comes / Then it is let in
    HomeLock(tmp_path).release()


def test_what_the_last_owner_left_running_is_ended(tmp_path: Path) -> None:
    # Given parts that outlived their owner, and a pid that is somebody else's by now
    left = subprocess.Popen(SLEEPS, start_new_session=True)
    other = subprocess.Popen(SLEEPS, start_new_session=True)
    lock = HomeLock(tmp_path)
    lock.note_parts([left.pid])
    noted = json.loads((tmp_path / PARTS_FILE).read_text())
    (tmp_path / PARTS_FILE).write_text(json.dumps(noted | {other.pid: "another time"}))
    # When the next owner comes
    ended = lock.end_leftovers()
    # Then what was left is gone, and the stranger lives
    assert ended == [left.pid]
    assert not is_alive(left.pid)
    assert is_alive(other.pid)
    other.kill()
    other.wait()
    left.wait()
    lock.release()


@pytest.mark.parametrize("content", ["", "no json", "{}"])
def test_a_note_that_cannot_be_read_is_no_obstacle(tmp_path: Path, content: str) -> None:
    lock = HomeLock(tmp_path)
    (tmp_path / PARTS_FILE).write_text(content)
    assert lock.end_leftovers() == []
    lock.release()


def test_a_process_that_has_ended_has_no_start() -> None:
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    assert started_at(ended.pid) is None
    assert started_at(os.getpid()) is not None
