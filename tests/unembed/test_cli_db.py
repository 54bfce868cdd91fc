"""`unembed db upgrade` copies a SQLite database first; of PostgreSQL it shows how."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unembed.conftest import Run
from unembed.models.backup import copies_of
from unembed.models.database import create_engine, downgrade, open_engine, upgrade
from unembed.models.sqlite import sqlite_url

BEFORE = "0015"


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A database of an older version."""
    path = tmp_path / "unembed.db"
    with open_engine(sqlite_url(path)) as engine:
        upgrade(engine, BEFORE)
    return path


def test_the_command_copies_unless_told_not_to(run: Run, older: Path) -> None:
    # Given an older database, When it is upgraded without a copy, Then there is none
    url = sqlite_url(older)
    without = run("db", "upgrade", "--no-backup", "--database-url", url)
    assert without.code == 0, without.err
    assert copies_of(older) == []
    # And when it is upgraded as usual, there is one, and the line above the last names it
    with open_engine(url) as engine:
        downgrade(engine, BEFORE)
    usual = run("db", "upgrade", "--database-url", url)
    assert usual.code == 0, usual.err
    (copy,) = copies_of(older)
    assert str(copy) in usual.err.splitlines()[-2]


def test_of_postgresql_a_copy_is_recommended_with_its_command_and_no_password(
    run: Run, empty_database_url: str
) -> None:
    if empty_database_url.startswith("sqlite"):
        pytest.skip("of SQLite a copy is made")
    url = empty_database_url.replace("postgres@", "postgres:hush@")
    engine = create_engine(url)
    upgrade(engine, BEFORE)
    engine.dispose()
    # Given an older database on a server, When it is upgraded where nobody can be asked
    ran = run("db", "upgrade", "--database-url", url)
    # Then it is, and the command for a copy was shown first, without the password
    assert ran.code == 0, ran.err
    assert "pg_dump -Fc -f unembed.dump 'postgresql://postgres:***@" in ran.err.splitlines()[0]
    assert "hush" not in ran.err
    # And once there is nothing to change, nothing is said of it
    assert "pg_dump" not in run("db", "upgrade", "--database-url", url).err
