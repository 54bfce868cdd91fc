"""What the parts share: Redis, the database, and the workers that it has seen."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from unembed import runs
from unembed.cli.doctor.findings import Finding, State
from unembed.cli.doctor.folder import room
from unembed.errors import InputError
from unembed.home import home_folder, running_server

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from unembed.models.store import Store

_APART: Final = 2.0  # seconds that two clocks may be apart
_WRITES: Final = ("jobs", "batches", "generations", "workers")  # the tables that every part writes


def is_named(setting: str) -> bool:
    """Whether the environment has it, or a file that has."""
    return bool(os.environ.get(setting) or os.environ.get(f"{setting}_FILE"))


def redis(_: Path | None) -> Iterator[Finding]:
    from unembed.models.settings import read_settings

    if not is_named("UNEMBED_REDIS_URL"):
        from unembed.worker.redis_server import find_binary

        yield Finding("redis", State.OK, f"embedded: {find_binary()}")
    else:
        yield from _one_redis("redis", "UNEMBED_REDIS_URL", read_settings().redis_url)
    if is_named("UNEMBED_PAYLOAD_URL"):
        yield from _one_redis("payloads", "UNEMBED_PAYLOAD_URL", read_settings().payload_redis_url)


def redis_info(url: str) -> dict[str, Any]:
    """What it says of itself. Raises RedisError."""
    from unembed.models.redis_client import open_redis

    with open_redis(url, socket_connect_timeout=5, socket_timeout=5) as client:
        return {**client.info("server"), **client.info("memory"), **client.info("persistence")}


def _one_redis(what: str, variable: str, url: str) -> Iterator[Finding]:
    from redis import RedisError

    try:
        info = redis_info(url)
    except RedisError as error:
        advice = f"start it, or correct {variable}"
        yield Finding(what, State.FAIL, f"does not answer: {error}", advice, "a Redis that answers")
        return
    yield Finding(what, State.OK, f"version {info.get('redis_version', 'unknown')}")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        found = f"at its limit it evicts ({policy}), and batches lose their vectors"
        yield Finding(what, State.WARN, found, "set maxmemory-policy to noeviction", "maxmemory-policy noeviction")
    if not int(info.get("aof_enabled", 1)):
        found = "it has no append-only file: vectors that wait are lost when it restarts"
        yield Finding(what, State.WARN, found, "set appendonly to yes", "appendonly yes")


def database_url(given: Path | None) -> tuple[str, Path | None] | None:
    """The database that this machine uses, and its file if it is the home folder's own; None without a home."""
    from unembed.models.settings import read_settings
    from unembed.models.sqlite import sqlite_url

    if is_named("UNEMBED_DATABASE_URL"):
        return read_settings().database_url, None
    try:
        own = home_folder(given) / runs.DATABASE_FILE
    except InputError:
        return None  # the check of the home folder says so
    return sqlite_url(own), own


def database(given: Path | None) -> Iterator[Finding]:
    from unembed.models.database import has_no_file, head, open_engine, require_usable, revision
    from unembed.models.settings import read_settings
    from unembed.models.store import Store

    if (named := database_url(given)) is None:
        return
    url, own = named
    if own is not None and not own.exists():
        yield Finding("database", State.OK, f"none yet; `unembed up` makes {own}")
        return
    with open_engine(url) as engine:
        name = engine.url.render_as_string(hide_password=True)
        file = engine.url.database if engine.dialect.name == "sqlite" else None
        if has_no_file(engine):
            advice = f"unembed db upgrade --database-url {name}"
            yield Finding("database", State.FAIL, f"{name} is not there", advice)
            return
        found = revision(engine)
        if found != head():
            require_usable(engine)  # says what is wrong, and what to do
        yield Finding("database", State.OK, f"{name}, revision {found}")
        yield from _rights(engine, file)
        if file and own is None:
            yield from room("database", Path(file).parent)
        if engine.dialect.name == "postgresql":
            yield _clock(engine)
        if own is None or running_server(home_folder(given)):
            yield from _workers(Store(engine, read_settings()))


def _rights(engine: Engine, file: str | None) -> Iterator[Finding]:
    from sqlalchemy import text

    from unembed.models.database import transaction

    if file is not None:
        for path in (Path(file), Path(file).parent):  # its journal lies beside it
            if not os.access(path, os.W_OK):
                advice = f"run as its owner, or: chown {_user()} {path}"
                yield Finding("rights", State.FAIL, f"{path} cannot be written to", advice, "a file that we may write")
        return
    each = ("SELECT", "INSERT", "UPDATE", "DELETE")
    asked = text("SELECT has_table_privilege(CAST(:table AS text), :right)")
    with transaction(engine, read_only=True) as connection:
        user = connection.execute(text("SELECT current_user")).scalar()
        for table in _WRITES:
            lacks = [right for right in each if not connection.scalar(asked, {"table": table, "right": right})]
            if lacks:
                found = f"the user {user} may not {', '.join(lacks)} in the table {table}"
                advice = f"as its owner: GRANT {', '.join(each)} ON ALL TABLES IN SCHEMA public TO {user}"
                yield Finding("rights", State.FAIL, found, advice, "a user who may read and write all tables")
                return


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else "yourself"


def _clock(engine: Engine) -> Finding:
    """How far the database's clock is from ours. Leases go by the database's alone; logs and traces by both."""
    from sqlalchemy import text

    from unembed.models.database import transaction

    with transaction(engine, read_only=True) as connection:
        before = time.time()
        there = float(connection.scalar(text("SELECT EXTRACT(EPOCH FROM clock_timestamp())")) or 0)
        after = time.time()
    ahead = there - (before + after) / 2
    if abs(ahead) <= _APART + (after - before) / 2:
        return Finding("clock", State.OK, "the database's and ours agree")
    found = f"the database's is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} ours"
    advice = "let a time service set both (chrony, ntpd, systemd-timesyncd): `timedatectl` shows it"
    return Finding("clock", State.WARN, found, advice, f"at most {_APART:g} s apart")


def _workers(store: Store) -> Iterator[Finding]:
    found = {worker.name: worker for worker in store.workers.all()}
    living = store.waits.living()
    for name, worker in found.items():
        if worker.ended_with:
            yield Finding("worker", State.WARN, f"{name} cannot work: {worker.ended_with}", "see its log, and start it")
        elif name in living:
            yield Finding("worker", State.OK, f"{name}, {worker.device or 'has loaded no decoder yet'}")
    if living:
        return
    queued = store.queue.stats().queued_batches
    gone = max(found.values(), key=lambda worker: worker.last_seen, default=None)
    last = f"the last one, {gone.name}, was seen {gone.last_seen:%Y-%m-%d %H:%M} UTC" if gone else "none was ever seen"
    waits = f", and {queued} batches wait" if queued else ""
    yield Finding(
        "worker",
        State.FAIL if queued else State.WARN,
        f"none works{waits}: {last}",
        "start one with the same database and Redis: unembed worker",
        "one at least",
    )
