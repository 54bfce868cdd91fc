"""What is wrong with the surroundings is one line from the command line, and a finding of the doctor; no traceback."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unembed.conftest import Run
from unembed.cli.extras import needs
from unembed.errors import UnembedError
from unembed.models.database import create_engine, upgrade


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database of this version, which the environment names."""
    path = tmp_path / "u.db"
    monkeypatch.setenv("UNEMBED_DATABASE_URL", f"sqlite:///{path}")
    engine = create_engine(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    return path


def make_newer(database: Path) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("UPDATE compatibility SET oldest_revision = '9998'")
    connection.close()


@pytest.mark.parametrize("verb", ["upgrade", "check"])
def test_a_database_that_is_newer_says_so(run: Run, database: Path, verb: str) -> None:
    make_newer(database)
    ran = run("db", verb)
    assert ran.code == 5
    assert "are at revision 9999, which is newer than this version of unembed" in ran.err
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize("verb", ["upgrade", "revision", "check"])
def test_a_file_that_is_no_database_says_so(run: Run, database: Path, verb: str) -> None:
    database.write_bytes(b"this is not a database, " * 200)
    ran = run("db", verb)
    assert ran.code == 5
    assert "u.db cannot be used: file is not a database" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_a_proxy_that_needs_another_package_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    ran = run("ls", "--url", "http://gpuhost.example:8765")
    assert ran.code == 1
    assert "the environment names a SOCKS proxy" in ran.err
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize("key", ["schlüssel", "top\nsecret"])
def test_a_key_that_cannot_be_sent_is_not_shown(run: Run, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("UNEMBED_API_KEY", key)
    ran = run("ls", "--url", "http://127.0.0.1:9")
    assert (ran.code, ran.err) == (
        2,
        "error: the API key has characters that cannot be sent; expected printable ASCII only\n",
    )


def test_where_there_is_no_unix_a_server_is_not_a_matter_of_packages() -> None:
    with pytest.raises(UnembedError, match="run on Linux and macOS only"), needs("local"):
        raise ModuleNotFoundError("No module named 'fcntl'", name="fcntl")


def test_clients_work_where_there_is_no_unix() -> None:
    # Given a Python without the modules that only Unix has
    program = """
import sys
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
from unembed.cli import main
from unembed.cli.app import VERBS
import unembed.client, unembed.corpus, unembed.results, importlib
for verb in ("decode", "submit", "status", "wait", "results", "cancel", "retry", "rm", "ls", "doctor", "db"):
    importlib.import_module("unembed.cli." + VERBS[verb].module)
main(["up"])
"""
    # When the clients' verbs are imported, Then they are there; and a server says that it cannot be
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert ended.stdout == ""
    assert ended.stderr == (
        "error: a server and its workers run on Linux and macOS only: use WSL, or name a server elsewhere with --url\n"
    )
    assert ended.returncode == 1


def test_what_nobody_foresaw_is_called_a_fault(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr("unembed.cli.ls.given.connect", break_down)
    ran = run("ls")
    said = "error: this is a fault in unembed: KeyError: 'x'; run again with UNEMBED_DEBUG=1 for the details\n"
    assert (ran.code, ran.err) == (1, said)
    # And with the variable there is a traceback, too
    monkeypatch.setenv("UNEMBED_DEBUG", "1")
    ran = run("ls")
    assert "Traceback (most recent call last)" in ran.err
    assert ran.err.endswith(said)


class TestDoctor:
    def test_it_names_a_setting_that_is_wrong_once_and_goes_on(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("UNEMBED_LEASE", "soon")
        monkeypatch.setenv("UNEMBED_REDIS_URL", "redis://127.0.0.1:1/0")
        ran = run("doctor")
        assert ran.code == 1
        assert ran.out.count("UNEMBED_LEASE is 'soon'; expected a number of seconds") == 1
        assert "decoder" in ran.out
        assert "GiB free" in ran.out

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("sentinel://:hunter2@127.0.0.1:26379/0", "Redis Sentinel is not supported; name one server"),
            ("redis://:hunter2@127.0.0.1:port/0", "its host and port cannot be read"),
            ("redis://:hunter2@127.0.0.1:1/0?colour=red", "its query has 'colour'"),
            ("rediss://:hunter2@127.0.0.1:1/0?ssl_cert_reqs=CERT_NONE", "does not answer"),
            ("redis+socket://:hunter2@/tmp/nowhere.sock", "does not answer"),
            ("redis://:hunter2@127.0.0.1:1/0", "does not answer"),
        ],
    )
    def test_it_finds_an_odd_address_of_redis(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, url: str, said: str
    ) -> None:
        monkeypatch.setenv("UNEMBED_REDIS_URL", url)
        ran = run("doctor")
        assert ran.code == 1
        assert said in ran.out
        assert "hunter2" not in ran.out + ran.err

    def test_it_finds_modules_that_hide_others_and_leaves_a_projects_own_alone(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        # Given a project on PYTHONPATH with modules named as a package, as one of Python's, and as nobody else's
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "project"))
        for name in ("redis.py", "queue/__init__.py", "models/__init__.py", "worker/__init__.py"):
            (tmp_path / "project" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "project" / name).touch()
        # When the doctor is asked, Then it fails, and names the first two with whose place they take
        ran = run("doctor")
        assert ran.code == 1
        assert f"{tmp_path / 'project' / 'redis.py'} hides the module 'redis' of an installed package" in ran.out
        assert "hides the module 'queue' of Python itself" in ran.out
        assert ran.out.count("hides the module") == 2

    def test_it_finds_a_newer_database(self, run: Run, database: Path) -> None:
        make_newer(database)
        ran = run("doctor")
        assert ran.code == 1
        assert "which is newer than this version of unembed" in ran.out

    def test_it_finds_a_file_that_is_no_database(self, run: Run, database: Path) -> None:
        database.write_bytes(b"this is not a database, " * 200)
        ran = run("doctor")
        assert ran.code == 1
        assert "file is not a database" in ran.out

    def test_it_finds_a_home_that_is_no_folder(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "home").write_text("")
        ran = run("doctor", "--home", tmp_path / "home" / "deep")
        assert ran.code == 1
        assert "Traceback" not in ran.out + ran.err
        assert "is not a folder" in ran.out

    def test_without_a_home_directory_it_asks_for_a_folder_and_checks_the_rest(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a user who is in no list of users, as in many containers
        monkeypatch.delenv("UNEMBED_HOME")
        monkeypatch.delenv("XDG_DATA_HOME", raising=False)
        monkeypatch.setattr("os.path.expanduser", lambda path: path)
        ran = run("doctor")
        assert (ran.code, ran.err) == (0, "")  # a decode works without one, and keeps nothing
        findings = [line.strip().split(maxsplit=2) for line in ran.out.splitlines() if line.strip()]
        assert {what for _, what, *_ in findings} >= {"python", "settings", "device", "decoder", "redis", "home"}
        (said,) = [found for state, what, found in findings if (state, what) == ("warn", "home")]
        assert said.startswith("there is no home directory for '~': name a folder with --home or UNEMBED_HOME")


def test_the_device_comes_from_the_environment_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a device that is not there, named as the workers' is
    monkeypatch.setenv("UNEMBED_DEVICE", "warp:9")
    # When a decoder is scored, Then it is tried, and named
    ran = run("evaluate", "--set", "x=nowhere.txt")
    assert ran.code == 2
    assert "warp:9" in ran.err
