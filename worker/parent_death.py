"""Becomes the given program, tied to the process that started it: when that dies, by whatever death, so does this.

    python parent_death.py PARENT PROGRAM ARGUMENT...

A program of its own because the tie must be made in the child, and Python's `preexec_fn` is not safe with threads. Only
Linux can do it; elsewhere `unembed.worker.home_lock` ends what is left over at the next start.
"""

from __future__ import annotations

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the tie was made
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - no shell is what we want


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
