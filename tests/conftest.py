"""Fixtures of all the rooms. The databases and the Redis are real, and are always there: see tests/services.py.

`database_url`, and with it `engine`, `store` and `settings`, runs a test once on SQLite and once on PostgreSQL, each
time on tables that Alembic made.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import redis
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from tests import services

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from unembed.models.settings import Settings
    from unembed.models.store import Store

# Before anything imports torch: OpenMP's threads spin while they wait for each other, and where two test processes do
# that on the same cores, decoding takes many times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# No clock decides whether a test passes: a machine may be busy.
hypothesis_settings.register_profile("unembed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("unembed")

DATABASES = ("sqlite", "postgresql")
_OTHER = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--precision",
        choices=("float32", "bfloat16", "float16", "other"),
        help="what `auto` means in this run; `other`: bfloat16 where it would be float32, else float32",
    )
    parser.addoption(
        "--fuzz-examples", type=int, default=3, help="how many requests of each kind tests/api/test_fuzz.py makes"
    )
    parser.addoption("--screenshots", action="store_true", help="tests/browser writes the pictures of docs/pages")
    group = parser.getgroup("faults", "tests/faults")
    group.addoption("--rounds", type=int, default=1, help="how often each fault is inflicted")
    group.addoption("--soak-batches", type=int, default=24, help="how many batches the soak has")
    group.addoption("--faults-out", help="a folder for the report: faults.json and faults.md")


# Fixtures that start a dozen processes, or decode, for a whole session. Tests that share one run in the same process of
# pytest: each process would make its own.
_SHARED = ("stack", "_running_site", "decoded")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        given: dict[str, object] = getattr(getattr(item, "callspec", None), "params", {})
        if shared := [name for name in _SHARED if name in getattr(item, "fixturenames", ())]:
            which = given.get(shared[0], item.path.parent.name)
            item.add_marker(pytest.mark.xdist_group(f"{shared[0]}-{which}"))


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config) -> None:
    for name in os.environ:
        if name.startswith("UNEMBED_"):
            monkeypatch.delenv(name)
    if precision := _forced(pytestconfig):
        monkeypatch.setenv("UNEMBED_PRECISION", precision)  # of workers, which are processes of their own


@pytest.fixture(autouse=True, scope="session")
def _auto_means(pytestconfig: pytest.Config) -> Iterator[None]:
    """With --precision, this machine is one that computes fastest in that."""
    precision = _forced(pytestconfig)
    if precision is None:
        yield
        return
    from unembed.models import device

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "fastest", lambda torch_device: precision)
        yield


def _forced(config: pytest.Config) -> str | None:
    """The precision that --precision names, whatever this machine's own is."""
    named: str | None = config.getoption("precision")
    if named != "other":
        return named
    from unembed.models.device import choose

    if (given := config.stash.get(_OTHER, None)) is None:  # asked once, before `fastest` is another
        given = config.stash[_OTHER] = "bfloat16" if choose("cpu").precision == "float32" else "float32"
    return given


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """The URL of the session's Redis; for fixtures that live longer than a test. Tests take `redis_url`."""
    with services.redis_server() as url:
        yield url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The session's Redis, emptied for this test."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The maintenance database of the session's PostgreSQL."""
    with services.postgres_server() as url:
        yield url


def _in_database(url: str, name: str) -> str:
    return url.replace("/postgres?", f"/{name}?")


def _migrate(url: str) -> None:
    from unembed.models.database import create_engine, upgrade

    engine = create_engine(url)
    try:
        upgrade(engine)
    finally:
        engine.dispose()


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "template.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def _postgres_migrated(postgres_url: str) -> str:
    url = _create_database(postgres_url, "template0")
    _migrate(url)
    return url


def _create_database(postgres_url: str, template: str) -> str:
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    return _in_database(postgres_url, name)


def _empty(url: str) -> None:
    """As good as new, in a tenth of the time; what an earlier test left connected is thrown out."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        connection.execute(
            "TRUNCATE api_keys, files, jobs, job_files, webhooks, batches, generations, carried, workers, totals, "
            "sweeps"
        )


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with all migrations applied and no rows, on SQLite and on PostgreSQL.

    For a test that changes the tables there is `empty_database_url`.
    """
    if request.param == "sqlite":
        path = tmp_path / "unembed.db"
        shutil.copy(request.getfixturevalue("_sqlite_template"), path)
        return f"sqlite:///{path}"
    url = request.getfixturevalue("_postgres_migrated")
    _empty(url)
    return url


@pytest.fixture(params=DATABASES)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of the test's own, without a table, on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    return _create_database(request.getfixturevalue("postgres_url"), "template0")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    from unembed.models.database import create_engine

    engine = create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def settings(database_url: str, redis_url: str) -> Settings:
    """Settings of this test's database and Redis, with leases and intervals short enough to wait for."""
    from unembed.models.settings import Settings

    return Settings(
        database_url=database_url,
        redis_url=redis_url,
        device="cpu",
        lease=5.0,
        heartbeat=0.5,
        sweep_interval=0.2,
        republish_after=0.5,
        max_attempts=3,
        backoff=0.0,
    )


@pytest.fixture
def store(engine: Engine, settings: Settings) -> Store:
    from unembed.models.store import Store

    return Store(engine, settings)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch's threads, waiting for each other on a busy machine, take many times as long, and not evenly."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
