"""`unembed doctor` against what is really wrong: each finding says what was found and expected, and what to do."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from tests.builders import add_batches, make_job
from tests.unembed.conftest import Run
from unembed.cli.doctor import folder
from unembed.models.database import create_engine, open_engine, transaction
from unembed.models.settings import Settings
from unembed.models.store import Store

Doctor = Callable[..., dict[str, Any]]

sqlite_only = pytest.mark.parametrize("empty_database_url", ["sqlite"], indirect=True)
postgresql_only = pytest.mark.parametrize("empty_database_url", ["postgresql"], indirect=True)


@pytest.fixture
def doctor(variables: dict[str, str], run: Run) -> Doctor:
    """What it finds on a site whose tables are there, under these variables besides; its words hold no secret."""
    assert run(["db", "upgrade"], variables).code == 0

    def ask(**more: str) -> dict[str, Any]:
        found = run(["doctor", "--json"], variables | more)
        assert "Traceback" not in found.err
        assert "hunter2" not in found.out + found.err
        told: dict[str, Any] = json.loads(found.out)
        assert found.code == (1 if any(each["state"] == "fail" for each in told["findings"]) else 0)
        return told

    return ask


def wrong(told: dict[str, Any], check: str) -> dict[str, str]:
    """The one thing that this check finds wrong."""
    (found,) = (each for each in told["findings"] if each["check"] == check and each["state"] != "ok")
    return dict(found)


def is_well(told: dict[str, Any], check: str) -> bool:
    return {each["state"] for each in told["findings"] if each["check"] == check} == {"ok"}


def test_the_doctor_finds_a_healthy_cluster_healthy(variables: dict[str, str], run: Run) -> None:
    run(["db", "upgrade"], variables)
    found = run(["doctor"], variables)
    assert found.code == 0, found.out
    assert "fail" not in found.out
    assert "toy: 16 dimensions" in found.out


def test_the_doctor_says_what_is_wrong_and_what_to_do(variables: dict[str, str], run: Run) -> None:
    # Given no tables, no Redis, and a device that is not there
    wrong = {"UNEMBED_REDIS_URL": "redis://:secret@127.0.0.1:1/0", "UNEMBED_DEVICE": "cuda:99"}
    # When the doctor is asked
    found = run(["doctor"], variables | wrong)
    # Then it ends with 1, and has named all three, and no password
    assert found.code == 1
    failed = [line for line in found.out.splitlines() if line.startswith("fail")]
    assert len(failed) == 3
    assert "unembed db upgrade" in found.out
    assert "UNEMBED_REDIS_URL" in found.out
    assert "cuda:99" in found.out
    assert "secret" not in found.out


@sqlite_only
def test_a_redis_that_is_down_is_named(doctor: Doctor) -> None:
    # Given an address where no Redis is / When the doctor is asked, Then it fails, and names the variable
    found = wrong(doctor(UNEMBED_REDIS_URL="redis://:hunter2@127.0.0.1:1/0"), "redis")
    assert found["state"] == "fail"
    assert "does not answer" in found["found"]
    assert found["expected"] == "a Redis that answers"
    assert found["advice"] == "start it, or correct UNEMBED_REDIS_URL"


@sqlite_only
def test_a_redis_that_evicts_or_forgets_is_warned_of(doctor: Doctor, redis_url: str) -> None:
    # Given a Redis that throws keys away when it is full, and keeps nothing over a restart
    with redis.Redis.from_url(redis_url) as client:
        before = client.config_get("maxmemory-policy")["maxmemory-policy"]
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            told = doctor()
        finally:
            client.config_set("maxmemory-policy", before)
    # When the doctor is asked, Then both are warned of, with the setting to change
    evicts, forgets = (each for each in told["findings"] if each["check"] == "redis" and each["state"] == "warn")
    assert "allkeys-lru" in evicts["found"]
    assert evicts["expected"] == "maxmemory-policy noeviction"
    assert forgets["expected"] == "appendonly yes"


def test_a_database_that_is_behind_and_one_that_is_newer_are_told_apart(
    doctor: Doctor, empty_database_url: str
) -> None:
    # Given tables of an older revision, When the doctor is asked, Then it says how to bring them up
    _set_revision(empty_database_url, "0010")
    behind = wrong(doctor(), "database")
    assert behind["state"] == "fail"
    assert "at revision 0010, this version expects" in behind["found"]
    assert "unembed db upgrade" in behind["found"]
    # Given tables of a version to come that this one may still use, When it is asked, Then it finds nothing wrong
    _set_revision(empty_database_url, "9999")
    assert is_well(doctor(), "database")
    # Given those of one that has taken something away, Then it says which version to install
    _set_revision(empty_database_url, "9999", usable_by="9999")
    newer = wrong(doctor(), "database")
    assert newer["state"] == "fail"
    assert "newer than this version of unembed" in newer["found"]
    assert "install the version that made them" in newer["found"]


def _set_revision(url: str, revision: str, usable_by: str | None = None) -> None:
    with open_engine(url) as engine, transaction(engine) as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")
        if usable_by is not None:
            connection.exec_driver_sql(f"UPDATE compatibility SET oldest_revision = '{usable_by}'")


@postgresql_only
def test_a_user_of_the_database_who_may_not_write_is_named(doctor: Doctor, empty_database_url: str) -> None:
    # Given a user who may only read
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS looker")
        connection.execute("CREATE ROLE looker LOGIN")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO looker")
    # When the doctor is asked as that user, Then it fails, and has the line that grants the rest
    url = empty_database_url.replace("postgres@", "looker@")
    found = wrong(doctor(UNEMBED_DATABASE_URL=url), "rights")
    assert found["state"] == "fail"
    assert found["found"] == "the user looker may not INSERT, UPDATE, DELETE in the table jobs"
    assert "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO looker" in found["advice"]


@sqlite_only
def test_a_database_file_and_a_home_that_cannot_be_written_are_named(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a user without the right to write. The tests may be root, who has it everywhere: the system is asked by name
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    # When the doctor is asked, Then it names the database's file and its folder, and the home
    told = doctor()
    rights = [each for each in told["findings"] if each["check"] == "rights"]
    assert [each["state"] for each in rights] == ["fail", "fail"]
    assert all("cannot be written to" in each["found"] and "chown" in each["advice"] for each in rights)
    home = wrong(told, "home")
    assert (home["state"], home["expected"]) == ("fail", "a folder that we may write to")


@sqlite_only
def test_a_port_that_another_program_has_is_named_and_our_own_is_not(doctor: Doctor) -> None:
    # Given a port on which something listens that is no API
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        taken.listen(8)
        # When the doctor is asked, Then it warns, and says how to choose another; and when nothing listens, all is well
        found = wrong(doctor(UNEMBED_PORT=str(port), FLOWER_PORT="0"), "port")
    assert found["state"] == "warn"
    assert found["found"].startswith(f"{port} on 127.0.0.1 cannot be used by API: ")
    assert "UNEMBED_PORT" in found["advice"]
    assert is_well(doctor(UNEMBED_PORT=str(port), FLOWER_PORT="0"), "port")


@sqlite_only
def test_a_machine_without_a_decoder_is_told_how_to_get_one(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given no decoders, neither those that ship nor others
    from unembed.models.decoder import catalog

    (tmp_path / "none").mkdir()
    monkeypatch.setattr(catalog, "names", list)
    # When the doctor is asked, Then it fails, and names the package and the variable
    found = wrong(doctor(UNEMBED_DECODERS=str(tmp_path / "none")), "decoder")
    assert found["state"] == "fail"
    assert "ret-v21-minilm" in found["expected"]
    assert "UNEMBED_DECODERS" in found["advice"]


def test_no_worker_is_a_warning_and_with_batches_that_wait_a_failure(doctor: Doctor, empty_database_url: str) -> None:
    # Given a database that no worker has ever used, When the doctor is asked, Then it warns
    found = wrong(doctor(), "worker")
    assert found["state"] == "warn"
    assert "none was ever seen" in found["found"]
    # Given a batch that waits, Then it fails, and says how many do
    engine = create_engine(empty_database_url)
    store = Store(engine, Settings(database_url=empty_database_url))
    add_batches(store, make_job(store), (1,))
    found = wrong(doctor(), "worker")
    assert found["state"] == "fail"
    assert "1 batches wait" in found["found"]
    assert "unembed worker" in found["advice"]
    # Given a worker that lives, Then all is well; and given one that said why it cannot work, that is said
    store.workers.check_in("gpu0@here", "here", 1, "cuda:0", "float16")
    assert is_well(doctor(), "worker")
    store.workers.ended("gpu1@here", "here", 2, "device 'cuda:1' is not available here")
    found = wrong(doctor(), "worker")
    assert found["found"] == "gpu1@here cannot work: device 'cuda:1' is not available here"
    engine.dispose()


@postgresql_only
def test_clocks_that_are_apart_are_measured(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given clocks that agree, Then that is said
    assert is_well(doctor(), "clock")
    # Given a machine whose clock is a minute behind the database's, When the doctor is asked
    clock = time.time
    monkeypatch.setattr("unembed.cli.doctor.services.time.time", lambda: clock() - 60)
    found = wrong(doctor(), "clock")
    # Then it says by how much, how much is right, and what keeps clocks together
    assert found["state"] == "warn"
    assert float(found["found"].split()[3]) == pytest.approx(60, abs=10)
    assert "ahead of ours" in found["found"]
    assert found["expected"] == "at most 2 s apart"
    assert "chrony" in found["advice"]


@sqlite_only
@pytest.mark.parametrize(("free", "state"), [(0.1, "fail"), (1.0, "warn"), (5.0, "ok")])
def test_a_disk_that_is_nearly_full_is_named(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, free: float, state: str
) -> None:
    # Given disks with so many GiB free, When the doctor is asked, Then the home's and the database's are judged by it
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(folder.shutil, "disk_usage", lambda _: usage._replace(free=int(free * 1024**3)))
    told = doctor()
    for check in ("home", "database"):
        (found,) = (each for each in told["findings"] if each["check"] == check and "GiB free" in each["found"])
        assert found["state"] == state
        assert f"{free:.1f} GiB free" in found["found"]
        assert found["expected"] == ("" if state == "ok" else "2 GiB or more")


@sqlite_only
def test_a_lock_that_a_dead_process_left_is_told_from_one_that_is_held(
    doctor: Doctor, variables: dict[str, str]
) -> None:
    # Given a home whose owner was killed
    home = Path(variables["UNEMBED_HOME"])
    home.mkdir()
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (home / "lock").write_text(str(process.pid), "ascii")
    # When the doctor is asked while it lives, Then it waits for it, for it does not answer
    held = wrong(doctor(), "lock")
    assert f"process {process.pid} has {home}, and is not ready" in held["found"]
    assert f"kill {process.pid}" in held["advice"]
    # And when it is dead, Then the next start is said to mend it
    process.kill()
    process.wait()
    stale = wrong(doctor(), "lock")
    assert "died without ending what it ran" in stale["found"]
    assert stale["state"] == "warn"
    assert "the next `unembed up`" in stale["advice"]


def test_the_last_line_can_be_pasted_and_tells_nobody_who_asked(
    variables: dict[str, str], run: Run, empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a site with names that are nobody's business: a folder, a password, a decoder
    assert run(["db", "upgrade"], variables).code == 0
    monkeypatch.setenv("USER", "ada-lovelace")
    secret = {"UNEMBED_API_KEYS": "hunter2", "UNEMBED_HOME": str(tmp_path / "ada-lovelace")}
    # When the doctor is asked
    found = run(["doctor"], variables | secret)
    *_, intro, line = found.out.splitlines()
    # Then its last line has versions and kinds, and what is wrong
    assert intro == "for a bug report:"
    kind = "sqlite" if empty_database_url.startswith("sqlite") else "postgresql"
    for told in ("unembed 0.", "Python 3.", "torch ", "device cpu float32", "engine auto", f"database {kind} "):
        assert told in line, line
    for told in ("redis valkey 9.", "noeviction no aof", "ret-v21-minilm", " others", "warn: ", "worker"):
        assert told in line, line
    # And no path, no name and no secret
    for hidden in ("ada-lovelace", "hunter2", "toy", str(tmp_path), "/home", "://"):
        assert hidden not in line, line
