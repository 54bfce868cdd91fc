"""The line for a bug report: versions, kinds and what is wrong. No URL, no path, no name that somebody chose.

What cannot be told is left out: the line is for whoever already has a problem.
"""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from unembed.cli.doctor import services
from unembed.cli.doctor.findings import Finding, State

_PACKAGES: Final = ("torch", "celery", "sqlalchemy", "fastapi", "pyarrow", "numpy")
_SHIPPED: Final = "ret-v"  # how the names of our own decoders begin; others are somebody's


def line_of(findings: Sequence[Finding], home: Path | None) -> str:
    """One line, of ASCII alone."""
    told = [f"unembed {version('unembed')}", _system(), *_packages()]
    for tell in (_device, _engine, _decoders, _database, _redis):
        with suppress(Exception):  # a check has found out why
            told += tell(home)
    told.append(_wrong(findings))
    return "; ".join(told).encode("ascii", "replace").decode()


def _system() -> str:
    system = f"{platform.system()} {platform.release()} {platform.machine()} {' '.join(platform.libc_ver())}".strip()
    return f"Python {platform.python_version()}; {system}; {os.cpu_count()} CPUs"


def _packages() -> Iterator[str]:
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            yield f"{name} {version(name)}"


def _device(_: Path | None) -> Iterator[str]:
    from unembed.models.device import choose
    from unembed.models.settings import read_settings

    settings = read_settings()
    chosen = choose(settings.device, settings.precision)
    yield f"device {chosen.name} {chosen.precision}"
    if chosen.name.startswith("cuda"):
        import torch

        yield f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"


def _engine(_: Path | None) -> Iterator[str]:
    from unembed.models.decoder.native_library import find_native
    from unembed.models.settings import read_settings

    choice = read_settings().engine
    native, _reason = find_native(choice)
    yield f"engine {choice}, native {native.isa if native else 'not there'}"


def _decoders(_: Path | None) -> Iterator[str]:
    from unembed.models.decoder import catalog

    names = catalog.names()
    shipped = [name for name in names if name.startswith(_SHIPPED)]
    yield f"decoders {', '.join([*shipped, f'{len(names) - len(shipped)} others'])}"


def _database(home: Path | None) -> Iterator[str]:
    from unembed.models.database import head, open_engine, revision, transaction

    if (named := services.database_url(home)) is None:
        return
    url, own = named
    if own is not None and not own.exists():
        yield f"database none yet (expects {head()})"
        return
    with open_engine(url) as engine:
        kind = engine.dialect.name
        with transaction(engine, read_only=True) as connection:
            asked = "SELECT sqlite_version()" if kind == "sqlite" else "SHOW server_version"
            yield f"database {kind} {connection.exec_driver_sql(asked).scalar()}"
        yield f"tables {revision(engine) or 'none'} (expects {head()})"


def _redis(_: Path | None) -> Iterator[str]:
    from unembed.models.settings import read_settings

    if not services.is_named("UNEMBED_REDIS_URL"):
        yield "redis embedded"
        return
    info = services.redis_info(read_settings().redis_url)
    kept = "aof" if int(info.get("aof_enabled", 0)) else "no aof"
    server = info.get("server_name", "redis")
    told = info.get("valkey_version") or info.get("redis_version")
    yield f"redis {server} {told} {info.get('maxmemory_policy')} {kept}"


def _wrong(findings: Sequence[Finding]) -> str:
    counted = {state: Counter(each.what for each in findings if each.state is state) for state in State}
    wrong = [f"{state}: {', '.join(sorted(counted[state]))}" for state in (State.FAIL, State.WARN) if counted[state]]
    return "; ".join(wrong) or "nothing wrong was found"
