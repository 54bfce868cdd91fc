"""SQLite: the URL of a file, and how a connection is prepared."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote_to_bytes

from unembed.errors import InputError

if TYPE_CHECKING:
    from sqlalchemy import URL

BUSY_TIMEOUT_SECONDS: Final = 15
_SYNCHRONOUS: Final = ("NORMAL", "FULL")


def sqlite_url(file: Path) -> str:
    """The URL of a database in this file, whose name may be of any bytes."""
    return f"sqlite:///{quote(os.fsencode(file), safe='/ ')}"


def options_of(url: str) -> dict[str, Any]:
    """What SQLAlchemy is told beside the URL; how to connect, too, to a file whose name is not UTF-8: it would use
    another one."""
    name = unquote_to_bytes(url.partition(":///")[2].partition("?")[0])
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return {"creator": lambda: sqlite3.connect(name, BUSY_TIMEOUT_SECONDS, check_same_thread=False)}
    return {"connect_args": {"timeout": BUSY_TIMEOUT_SECONDS}}


def has_no_file(url: URL) -> bool:
    """Whether there is no file yet of this database. Whoever connects makes one, even to look.

    False where the URL does not tell: for a database in memory, and for a name that is not UTF-8, which it has lost.
    """
    name = url.database
    if not name or name == ":memory:" or "\N{REPLACEMENT CHARACTER}" in name:
        return False
    return not Path(name).exists()


def synchronous_of(url: URL) -> str:
    wanted = str(url.query.get("synchronous", "NORMAL")).upper()
    if wanted not in _SYNCHRONOUS:
        raise InputError(f"the database's URL has synchronous={wanted}; expected {' or '.join(_SYNCHRONOUS)}")
    return wanted


def prepare(connection: Any, synchronous: str) -> None:
    connection.isolation_level = None  # the driver begins no transactions; `_begin_on_sqlite` does
    cursor = connection.cursor()
    _use_wal(cursor)
    cursor.execute(f"PRAGMA synchronous = {synchronous}")
    cursor.close()


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """Tried again while it is locked: SQLite's own busy timeout does not cover the change of a new file's journal, so
    that of two processes which open it first at once one would fail."""
    until = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)
