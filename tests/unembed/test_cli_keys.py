"""`unembed keys`, on a database of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unembed.conftest import Run
from unembed.models.database import create_engine
from unembed.models.settings import Settings
from unembed.models.store import Store


@pytest.fixture(autouse=True)
def _database(tmp_path: Path, _sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unembed.db").write_bytes(_sqlite_template.read_bytes())
    monkeypatch.setenv("UNEMBED_DATABASE_URL", f"sqlite:///{tmp_path / 'unembed.db'}")


def test_a_key_is_made_listed_and_revoked(run: Run, tmp_path: Path) -> None:
    # Given a key that was made
    made = run("keys", "add", "nightly", "--role", "reader", "--limit", "rows=5", "--limit", "bytes=1KiB")
    secret = made.out.strip()
    assert "not shown again" in made.err
    # When keys are listed, Then it is there, without what opens
    (listed,) = json.loads(run("keys", "list", "--json").out)
    assert (listed["name"], listed["role"], listed["revoked_at"]) == ("nightly", "reader", None)
    assert listed["limits"] == {"rows": 5, "bytes": 1024, "requests": None}
    table = run("keys", "list").out
    assert "rows=5, bytes=1,024" in table
    assert secret not in table + json.dumps(listed)
    # And it opens until it is revoked
    engine = create_engine(f"sqlite:///{tmp_path / 'unembed.db'}")
    keys = Store(engine, Settings()).keys
    assert keys.find(secret) is not None
    assert run("keys", "revoke", "nightly").code == 0
    assert keys.find(secret) is None
    engine.dispose()
    # And a key that there is not cannot be revoked
    again = run("keys", "revoke", "nightly")
    assert (again.code, "'nightly'" in again.err) == (1, True)


def test_where_no_database_is_named_the_keys_are_those_of_unembed_up(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given no name of a database, and none anywhere
    monkeypatch.delenv("UNEMBED_DATABASE_URL")
    database, home = tmp_path / "unembed.db", tmp_path / "home"
    kept = database.rename(tmp_path / "kept")
    # When keys are listed, Then it is said how to name one, and none is made
    ran = run("keys", "list")
    assert ran.code == 2
    assert "name one with --database-url or UNEMBED_DATABASE_URL" in ran.err
    assert not database.exists()
    # And where `unembed up` has one, a key is made there, and this is said
    home.mkdir()
    kept.rename(home / "unembed.db")
    ran = run("keys", "add", "nightly")
    assert ran.code == 0, ran.err
    assert f"in the database of `unembed up`, {home / 'unembed.db'}:" in ran.err
    assert len(ran.out.split()) == 1
    assert [key["name"] for key in json.loads(run("keys", "list", "--json", "-q").out)] == ["nightly"]


def test_a_key_that_is_misspelt_is_not_revoked_and_the_right_one_is_said(run: Run) -> None:
    run("keys", "add", "nightly")
    ran = run("keys", "revoke", "nigthly", "--json")
    assert (ran.code, ran.out) == (1, "")
    assert "Did you mean 'nightly'?" in ran.err
    # And revoked as JSON it is the key as it is listed
    assert (
        json.loads(run("keys", "revoke", "nightly", "--json").out) == json.loads(run("keys", "list", "--json").out)[0]
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a b"], "the name is 'a b'"),
        (["x" * 61], "the name is"),
        (["ci", "--limit", "rows"], "--limit is 'rows'"),
        (["ci", "--limit", "rows=-1"], "--limit is 'rows=-1'"),
        (["ci", "--limit", "texts=3"], "--limit is 'texts=3'"),
        (["ci", "--limit", "bytes=much"], "--limit is 'bytes=much'"),
    ],
)
def test_a_key_that_cannot_be_is_not_made(run: Run, arguments: list[str], says: str) -> None:
    refused = run("keys", "add", *arguments)
    assert (refused.code, refused.out) == (2, "")
    assert says in refused.err
    assert json.loads(run("keys", "list", "--json").out) == []
