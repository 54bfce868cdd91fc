"""One owner a home folder, and nothing left over from the last one."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from unembed.errors import ConflictError
from unembed.home import started_at

log = logging.getLogger(__name__)

LOCK_FILE: Final = "lock"
PARTS_FILE: Final = "parts.json"  # {pid: when it started}, so that a pid that now is somebody else's is left alone
_PATIENCE: Final = 5.0  # seconds for a killed process to be gone


class HomeLock:
    """Held by the kernel for as long as this process lives; a kill -9 lets go of it too."""

    def __init__(self, home: Path) -> None:
        """Raises ConflictError, naming the process, when another one has the folder."""
        self._home = home
        self._file = (home / LOCK_FILE).open("a+", encoding="ascii")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            owner = self._file.read().strip() or "unknown"
            self._file.close()
            raise ConflictError(
                f"{home} is in use by another unembed, process {owner}: stop it first, or choose another --home"
            ) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def note_parts(self, pids: list[int]) -> None:
        """Remember our parts, for the start after a death that gave no time to stop them."""
        half = self._home / f".{PARTS_FILE}"
        noted = json.dumps({pid: started for pid in pids if (started := started_at(pid))})
        try:
            half.write_text(noted, encoding="ascii")
            half.replace(self._home / PARTS_FILE)
        except OSError as error:  # a full disk: the parts run all the same
            log.warning("the parts that run could not be noted in %s: %s", self._home, error)

    def end_leftovers(self) -> list[int]:
        """Kills what the last owner left running, and waits until it is gone; the pids."""
        try:
            noted = json.loads((self._home / PARTS_FILE).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return []
        left = {int(pid): started for pid, started in noted.items() if started_at(int(pid)) == started}
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)  # each part leads a group of its own
        deadline = time.monotonic() + _PATIENCE
        while any(started_at(pid) == started for pid, started in left.items()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return sorted(left)

    def release(self) -> None:
        (self._home / PARTS_FILE).unlink(missing_ok=True)
        self._file.truncate(0)
        self._file.close()


def remove_home(home: Path) -> None:
    """The folder goes with all that is in it. Raises ConflictError when it is in use."""
    if not home.exists():
        return
    lock = HomeLock(home)
    shutil.rmtree(home, ignore_errors=True)
    lock.release()
