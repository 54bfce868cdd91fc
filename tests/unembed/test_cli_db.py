"""`unembed db upgrade` copies a SQLite database first; of PostgreSQL it shows how."""

from __future__ import annotations

import json
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


@pytest.mark.parametrize(("verb", "code"), [("revision", 0), ("check", 5)])
def test_to_ask_about_a_database_that_is_not_there_makes_none(run: Run, tmp_path: Path, verb: str, code: int) -> None:
    # Given no database, When it is asked about, Then that is said, with what makes one, and none was made
    url = sqlite_url(tmp_path / "none.db")
    ran = run("db", verb, "--database-url", url)
    assert (ran.code, ran.out) == (code, "")
    assert f"there is no database {url} yet: " in ran.err
    assert f"unembed db upgrade --database-url {url}" in ran.err
    assert list(tmp_path.iterdir()) == []
    # And it is null for programs, and what was proposed makes one
    assert json.loads(run("db", "revision", "--json", "--database-url", url).out) == {"revision": None}
    assert run("db", "upgrade", "--database-url", url).code == 0
    assert run("db", verb, "--database-url", url).code == 0


def test_of_a_database_without_tables_it_is_the_tables_that_are_missed(run: Run, empty_database_url: str) -> None:
    # Given a database in which nothing was done, on SQLite an empty file, When it is asked for its revision
    with open_engine(empty_database_url) as engine:
        engine.connect().close()
    ran = run("db", "revision", "--database-url", empty_database_url)
    # Then it is not called missing
    assert (ran.code, ran.out) == (0, "")
    assert " has no tables yet: unembed db upgrade --database-url " in ran.err


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
