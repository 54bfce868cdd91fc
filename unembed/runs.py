"""Decodes that somebody began and that are not over: what the same command needs to go on with one.

    HOME/runs/KEY/run.json    which job it is, under which idempotency key, and on which server
    HOME/runs/KEY/            without a server: the home of the one that was started for it, with its texts

    none ──begun──▶ kept ──its texts are in a file──▶ none
                    ▲  │
                    └──┴── interrupted, killed, the disk full; the same command goes on
                    kept ── --fresh, or untouched for KEPT_DAYS ──▶ none

The key is a hash of what decides the texts, so that another corpus or another option is another run. Two of the same
that run at once have two places: KEY and KEY-2.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, Final

from unembed.schemas import Wire

KEPT_DAYS: Final = 14
RUNS: Final = "runs"
DATABASE_FILE: Final = "unembed.db"

_NOTE: Final = "run.json"
_KEY_LENGTH: Final = 16  # hexadecimal digits


class Note(Wire):
    """What is remembered of a run."""

    source: str  # what is decoded, for people
    begun_at: datetime
    idempotency_key: str
    url: str | None = None  # of the server, if it is not the run's own
    job_id: str | None = None


def key_of(**decides: Any) -> str:
    """The same for the same command; each value must be of JSON."""
    said = json.dumps(decides, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(said.encode()).hexdigest()[:_KEY_LENGTH]


def runs_folder(home: Path) -> Path:
    return home / RUNS


def places(home: Path, key: str) -> Iterator[Path]:
    """Where a run of this key may be kept, in the order in which to try them."""
    for number in count(1):
        yield runs_folder(home) / (key if number == 1 else f"{key}-{number}")


@dataclass(frozen=True)
class Kept:
    """A run in its folder."""

    folder: Path
    note: Note


def nbytes_of(folder: Path) -> int:
    return sum(stat.st_size for stat in _files(folder))


def left_alone(home: Path) -> list[Path]:
    """The folders of runs that nobody has gone on with for KEPT_DAYS, those that came to no note among them."""
    folder = runs_folder(home)
    since = time.time() - KEPT_DAYS * 86_400
    found = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return [path for path in found if max((stat.st_mtime for stat in _files(path)), default=0.0) < since]


def _files(folder: Path) -> Iterator[os.stat_result]:
    """Those that are still there: a run that goes on makes some and removes them."""
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                yield Path(parent, name).lstat()


def find(folder: Path) -> Kept | None:
    """The run that is kept in this folder; None when there is none, or its note is damaged."""
    try:
        return Kept(folder, Note.model_validate_json((folder / _NOTE).read_bytes()))
    except (OSError, ValueError):
        return None


def all_kept(home: Path) -> list[Kept]:
    """The runs that are kept, the oldest first."""
    folder = runs_folder(home)
    found = map(find, folder.iterdir()) if folder.is_dir() else ()
    return sorted((kept for kept in found if kept), key=lambda kept: kept.note.begun_at)


def begin(folder: Path, source: str, url: str | None = None) -> Kept:
    """A new run, under an idempotency key of its own; one that was there is forgotten."""
    note = Note(source=source, begun_at=datetime.now().astimezone(), idempotency_key=uuid.uuid4().hex, url=url)
    return _write(folder, note)


def with_job(kept: Kept, job_id: str) -> Kept:
    """The same run, and which job it is."""
    if kept.note.job_id == job_id:
        return kept
    return _write(kept.folder, kept.note.model_copy(update={"job_id": job_id}))


def _write(folder: Path, note: Note) -> Kept:
    """Readers see the old note or the new one, never half of one."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    half = folder / f".{_NOTE}.{os.getpid()}"
    half.write_text(note.model_dump_json(), encoding="utf-8")
    half.replace(folder / _NOTE)
    return Kept(folder, note)
