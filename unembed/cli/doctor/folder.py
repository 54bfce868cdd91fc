"""The home folder: whether it can be used, whether its disk has room, and what earlier runs have left in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from unembed import runs
from unembed.cli.doctor.findings import Finding, State
from unembed.errors import InputError
from unembed.home import SERVER_FILE, answering_server, home_folder, running_server, started_at

_GIB: Final = 1024**3
_MIB: Final = 1024**2
_LEAST, _ENOUGH = 0.2, 2.0  # GiB


def home(given: Path | None) -> Iterator[Finding]:
    try:
        home = home_folder(given)
    except InputError as error:
        yield Finding(
            "home", State.WARN, error.message, "`unembed up` needs one; a decode works without, and keeps nothing"
        )
        return
    elsewhere = "choose another with --home or UNEMBED_HOME"
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    if not there.is_dir():
        yield Finding("home", State.FAIL, f"{there} is not a folder", elsewhere, "a folder, or a name for a new one")
        return
    if not os.access(there, os.W_OK | os.X_OK):
        yield Finding("home", State.FAIL, f"{there} cannot be written to", elsewhere, "a folder that we may write to")
        return
    yield from room("home", there, home)
    yield from _lock(home)
    yield from _server(home)
    yield from _runs(home)


def room(what: str, folder: Path, shown: Path | None = None) -> Iterator[Finding]:
    """Of the disk of a folder."""
    free = shutil.disk_usage(folder).free / _GIB
    found = f"{shown or folder}, {free:.1f} GiB free"
    if free >= _ENOUGH:
        yield Finding(what, State.OK, found)
        return
    state = State.FAIL if free < _LEAST else State.WARN
    yield Finding(what, state, found, "free some disk space", f"{_ENOUGH:g} GiB or more")


def _lock(home: Path) -> Iterator[Finding]:
    """Who has the folder. A dead owner's lock stops nobody, for the kernel lets go of it; it tells of a death."""
    try:
        owner = (home / "lock").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return
    if not owner.isdecimal() or int(owner) == os.getpid():
        return
    if started_at(int(owner)) is None:
        found = f"process {owner}, which had {home}, died without ending what it ran"
        advice = "nothing: the next `unembed up` from there ends what is left over, and goes on"
        yield Finding("lock", State.WARN, found, advice, "a folder that was left in order")
    elif running_server(home) is None:
        found = f"process {owner} has {home}, and is not ready: it starts, ends, or hangs"
        yield Finding("lock", State.WARN, found, f"wait a minute; if nothing changes: kill {owner}")


def _server(home: Path) -> Iterator[Finding]:
    noted = running_server(home)
    if noted is None:
        return
    if answering_server(home):
        yield Finding("up", State.OK, f"`unembed up` runs: {noted.url}, process {noted.pid}")
        return
    stale = f"{home / SERVER_FILE} is stale: nothing answers at {noted.url}, and process {noted.pid} may be another's"
    yield Finding("up", State.WARN, stale, "remove the file, or start `unembed up`")


def _runs(home: Path) -> Iterator[Finding]:
    """What interrupted decodes have left to go on with."""
    for kept in runs.all_kept(home):
        job = f", job {kept.note.job_id}" if kept.note.job_id else ""
        size = runs.nbytes_of(kept.folder) / _MIB
        found = f"{kept.note.source}{job}, begun {kept.note.begun_at:%Y-%m-%d %H:%M}, {size:,.1f} MiB"
        advice = f"the same command goes on; removed after {runs.KEPT_DAYS} days: {kept.folder}"
        yield Finding("decode", State.OK, found, advice)
