"""The log of a part that the supervisor runs: written by the part itself or, where logs are JSON, by way of a thread.

The thread makes a record of each line that is none: Redis has a form of its own, and what a library or the system
writes to stderr knows of no logger.
"""

from __future__ import annotations

import json
import re
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from unembed.models.logs import as_record

_WORDS: Final = 100  # lines of a log in which the last words are looked for
_ERROR: Final = re.compile(r"(?:\bCRITICAL\b.*?: |^error: )(.+)|^(\w*Error: .*)")


def follow(lines: IO[bytes], log: Path, part: str) -> None:
    """From now on, what comes is appended to the log as records, until its end."""
    threading.Thread(target=_copy, args=(lines, log, part), name=f"log-{part}", daemon=True).start()


def _copy(lines: IO[bytes], log: Path, part: str) -> None:
    with lines, log.open("ab", buffering=0) as out:
        for line in lines:
            if text := line.decode("utf-8", "replace").strip():
                with suppress(OSError):  # the disk is full: the part goes on, and must not wait for us
                    out.write(f"{as_record(text, part)}\n".encode())


def last_words(log: Path) -> str:
    """Why a part ended, as far as the end of its log says so: its last error, or its last line."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")[-_WORDS:]
    except OSError:
        return ""
    said = [_as_text(line.strip()) for line in lines if line.strip()]
    errors = [found[1] or found[2] for line in said if (found := _ERROR.search(line))]
    return (errors or said or [""])[-1]


def _as_text(line: str) -> str:
    if line.startswith("{"):
        with suppress(ValueError, KeyError, TypeError):
            record = json.loads(line)
            return f"CRITICAL: {record['message']}" if record["level"] == "critical" else str(record["message"])
    return line
