"""A copy of a SQLite database beside its file, before its tables are changed."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from unembed.errors import OutputError
from unembed.models.database import head, is_newer, revision, transaction, upgrade

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

KEPT: Final = 3  # copies of one database
_END: Final = ".backup"


def upgrade_with_copy(engine: Engine, say: Callable[[str], None]) -> None:
    """Upgrades the tables to this version, after a copy of the database where it is SQLite and has tables to change.

    `say` is told of the copy. Raises OutputError when there is no room for it or it cannot be made, and what
    `database.upgrade` raises. Then the tables are as they were.
    """
    if is_behind(engine) and (copy := back_up(engine)) is not None:
        say(f"the database was copied to {copy} before its tables are upgraded")
    upgrade(engine)


def is_behind(engine: Engine) -> bool:
    """Whether there are tables that an upgrade would change. Raises StoreUnavailableError."""
    found = revision(engine)
    return found is not None and found != head() and not is_newer(found)


def back_up(engine: Engine) -> Path | None:
    """A copy of a SQLite database beside its file; None: it has no file, or is PostgreSQL.

    The copy has all that was committed when it was begun, and is checked before it gets its name,
    `FILE.REVISION.TIME.backup`. The latest three are kept. Raises OutputError.
    """
    file = _file_of(engine)
    if file is None:
        return None
    _require_room(engine, file)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    copy = file.with_name(f"{file.name}.{revision(engine)}.{stamp}{_END}")
    unfinished = copy.with_name(f"{copy.name}.unfinished")
    try:
        unfinished.touch(mode=0o600)  # the rows are for nobody else's eyes, not even for a moment
        _copy(engine, unfinished)
        shutil.copymode(file, unfinished)
        _to_disk(unfinished)
        unfinished.rename(copy)
    except (OSError, sqlite3.Error) as error:
        code = error.errno if isinstance(error, OSError) else None
        raise OutputError.of(f"the database could not be copied to {copy}: {error}", code) from error
    finally:
        unfinished.unlink(missing_ok=True)
    _forget_oldest(file)
    return copy


def copies_of(file: Path) -> list[Path]:
    """The copies that there are of this database, the oldest first."""
    found = [path for path in file.parent.iterdir() if path.name.startswith(f"{file.name}.") and path.suffix == _END]
    return sorted(found, key=lambda path: path.name.rsplit(".", 2)[-2])


def _file_of(engine: Engine) -> Path | None:
    if engine.dialect.name != "sqlite":
        return None
    with transaction(engine, read_only=True) as connection:
        statement = "SELECT CAST(file AS BLOB) FROM pragma_database_list WHERE name = 'main'"
        name = connection.exec_driver_sql(statement).scalar()
    return Path(os.fsdecode(name)) if name else None


def _require_room(engine: Engine, file: Path) -> None:
    with transaction(engine, read_only=True) as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        needed = pages * connection.exec_driver_sql("PRAGMA page_size").scalar_one()
    free = shutil.disk_usage(file.parent).free
    if free < needed:
        raise OutputError(
            f"a copy of {file} before its upgrade needs {needed / 1e6:,.1f} MB, and its disk has {free / 1e6:,.1f} MB "
            "free: make room, or upgrade without a copy: unembed db upgrade --no-backup"
        )


def _copy(engine: Engine, target: Path) -> None:
    with closing(engine.raw_connection()) as pooled, closing(sqlite3.connect(target)) as copy:
        source: Any = pooled.driver_connection
        source.backup(copy)  # in one step: nobody waits for a reader, and between steps each writer would begin it anew
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, whole without a `-wal` beside it
        found = [line for (line,) in copy.execute("PRAGMA quick_check")]
    if found != ["ok"]:
        raise sqlite3.DatabaseError(f"the copy is not sound: {found[0]}")


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _forget_oldest(file: Path) -> None:
    for old in copies_of(file)[:-KEPT]:
        with suppress(OSError):  # of another owner: it stays
            old.unlink()
