"""The home folder of a decode: whether it can be used, and what was kept there too long."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Final

from unembed import runs
from unembed.boundary import as_unembed_error
from unembed.cli.console import say
from unembed.cli.extras import needs
from unembed.errors import CannotWorkError, UnembedError
from unembed.home import home_folder

_EMPTY: Final = 16 * 1024**2  # bytes that a home takes before it has a row
_ROW: Final = 1024  # bytes of a row and of its text, and some for what SQLite keeps beside them
_PROBE: Final = 1024**2  # bytes; a transaction of a batch's rows takes about as many
_MIB: Final = 1024**2


def usable_home(given: Path | None, rows: int | None) -> Path | None:
    """The home folder; None, with a line that says why, when there is none that can be used and none was asked for.

    `rows`: how many texts it is to have room for; None: they are elsewhere, and it has a note of the run at most.
    """
    try:
        folder = home_folder(given)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        require_writable(folder)
        if rows is not None:
            _require_room(folder, rows)
    except (OSError, UnembedError) as error:
        known = as_unembed_error(error)
        if rows is not None and (given or os.environ.get("UNEMBED_HOME")):
            raise known from error
        say(f"{known.message}; so nothing is kept: an interrupted decode will begin anew", "yellow")
        return None
    return folder


def _require_room(folder: Path, rows: int) -> None:
    free, needed = shutil.disk_usage(folder).free, _EMPTY + rows * _ROW
    if free < needed:
        raise CannotWorkError(
            f"the disk of {folder} has {free / _MIB:,.1f} MiB free, but the texts of {rows:,} rows may take "
            f"{needed / _MIB:,.0f} MiB: free some, or choose another folder with --home"
        )


def require_writable(folder: Path) -> None:
    """Raises CannotWorkError unless a file of some size can be written there: nothing else tells of every quota."""
    probe = folder / f".probe.{os.getpid()}"
    try:
        try:
            probe.write_bytes(bytes(_PROBE))
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "unknown")
        raise CannotWorkError(
            f"the home folder {folder} cannot be written to: {error.strerror} ({name}); free some space and run the "
            "same command again, or choose another folder with --home"
        ) from error


def remove_old(home: Path) -> None:
    """What nobody has gone on with for long makes room."""
    for folder in runs.left_alone(home):
        kept, nbytes = runs.find(folder), runs.nbytes_of(folder)
        try:
            with needs("local"):
                from unembed.worker.home_lock import remove_home

            remove_home(folder)
        except (OSError, UnembedError):
            continue  # somebody uses it
        of = f"{kept.note.source}, begun on {kept.note.begun_at:%Y-%m-%d}" if kept else "a decode"
        left = f"and left for more than {runs.KEPT_DAYS} days: {nbytes / _MIB:,.1f} MiB"
        say(f"removed what was kept of {of} {left}", "dim")
