"""Before the tables of a SQLite database are changed, there is a copy of it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections import namedtuple
from contextlib import closing
from pathlib import Path

import pytest

from unembed.errors import OutputError
from unembed.models import backup
from unembed.models.backup import back_up, copies_of, upgrade_with_copy
from unembed.models.database import head, open_engine, revision, upgrade
from unembed.models.sqlite import sqlite_url

BEFORE = "0015"


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A database of an older version, with a key in it that is not in the file yet, but in the log beside it."""
    path = tmp_path / "unembed.db"
    with open_engine(sqlite_url(path)) as engine:
        upgrade(engine, BEFORE)
    path.chmod(0o640)
    return path


def add_client(database: Path, name: str) -> sqlite3.Connection:
    """Committed, and left in the log: the connection stays open."""
    connection = sqlite3.connect(database)
    connection.execute("INSERT INTO clients (name, turn) VALUES (?, 0)", (name,))
    connection.commit()
    return connection


def clients_of(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM clients ORDER BY name")]


def test_an_upgrade_copies_the_database_first_and_says_where(older: Path) -> None:
    # Given an older database, whose last commit is in the log beside its file
    said: list[str] = []
    with closing(add_client(older, "ada")), open_engine(sqlite_url(older)) as engine:
        # When it is upgraded
        upgrade_with_copy(engine, said.append)
        assert revision(engine) == head()
    # Then the copy lies beside it, is named, and has that commit, and the older tables
    (copy,) = copies_of(older)
    assert copy.name.startswith(f"unembed.db.{BEFORE}.")
    assert said == [f"the database was copied to {copy} before its tables are upgraded"]
    assert clients_of(copy) == ["ada"]
    with open_engine(sqlite_url(copy)) as engine:
        assert revision(engine) == BEFORE
    # And nobody may read it who may not read the database
    assert stat.S_IMODE(copy.stat().st_mode) == 0o640
    # And nothing unfinished is left
    assert not list(older.parent.glob("*.unfinished*"))


def test_nothing_is_copied_where_nothing_changes(older: Path, tmp_path: Path) -> None:
    said: list[str] = []
    # Given a database of this version, and one without tables
    with open_engine(sqlite_url(older)) as engine:
        upgrade(engine)
        upgrade_with_copy(engine, said.append)
    with open_engine(sqlite_url(tmp_path / "new.db")) as engine:
        upgrade_with_copy(engine, said.append)
    # When they are upgraded, Then there is no copy
    assert copies_of(older) == copies_of(tmp_path / "new.db") == said == []


def test_the_latest_three_copies_are_kept(older: Path) -> None:
    # Given more copies than are kept, and a file of another name
    (older.parent / "unembed.db.mine").touch()
    with open_engine(sqlite_url(older)) as engine:
        made = [back_up(engine) for _ in range(5)]
    # When they are looked at, Then the latest are there, and what is not a copy stays
    assert copies_of(older) == made[-backup.KEPT :]
    assert (older.parent / "unembed.db.mine").exists()


def test_without_room_for_a_copy_nothing_is_upgraded(older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a disk that is nearly full
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 1000))
    # When the database is upgraded, Then it is not, and the line says what is needed and what to do
    with open_engine(sqlite_url(older)) as engine:
        with pytest.raises(OutputError, match=r"needs 0\.\d MB.* 0\.0 MB free: make room, or .*--no-backup"):
            upgrade_with_copy(engine, print)
        assert revision(engine) == BEFORE
    assert copies_of(older) == []


def test_a_copy_that_fails_leaves_the_tables_as_they_were_and_nothing_beside_them(
    older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a disk that fails when the copy is brought to it
    def fails(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    with open_engine(sqlite_url(older)) as engine:
        # When the database is upgraded, Then it is not
        with pytest.raises(OutputError, match=r"could not be copied to .*Input/output error"):
            upgrade_with_copy(engine, print)
        assert revision(engine) == BEFORE
    assert sorted(path.name for path in older.parent.iterdir()) == ["unembed.db"]


def test_a_database_in_memory_has_nothing_to_copy() -> None:
    with open_engine("sqlite://") as engine:
        assert back_up(engine) is None


def test_a_file_whose_name_is_no_text_is_copied_too(tmp_path: Path) -> None:
    # Given a database in a file of bytes that are not UTF-8
    path = tmp_path / os.fsdecode(b"caf\xe9.db")
    with open_engine(sqlite_url(path)) as engine:
        upgrade(engine, BEFORE)
        # When it is copied, Then the copy is beside it
        copy = back_up(engine)
    assert copy is not None
    assert copies_of(path) == [copy]
