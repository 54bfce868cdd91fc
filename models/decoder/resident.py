"""How much memory this process has, and has had at most, as the system counts it."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path
from typing import Final

_STATUS: Final = Path("/proc/self/status")
_CLEAR: Final = Path("/proc/self/clear_refs")


def resident_bytes() -> tuple[int, int]:
    """Now, and at most since the process began or `reset_peak`.

    Without /proc both are the most since the process began, so a difference of two of them is then too small rather
    than too large.
    """
    if _STATUS.exists():
        found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", _STATUS.read_text(encoding="ascii"), re.MULTILINE))
        return int(found["VmRSS"]) * 1024, int(found["VmHWM"]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return peak, peak


def reset_peak() -> None:
    """Lets the peak begin again at what there is now, where the system can (Linux)."""
    if _CLEAR.exists():
        _CLEAR.write_text("5", encoding="ascii")
