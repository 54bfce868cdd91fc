"""Everything on one machine: the embedded Redis, the database, the workers, the API and Flower, on loopback.

    home/lock          who owns the folder        home/redis/       the queue's append-only file, if it is kept
    home/server.json   where it answers           home/unembed.db   the database, unless another one is given
    home/parts.json    what is to be ended        home/logs/        one log a part

Any of it may be killed at any time: SQL holds the truth, and the next start of the same folder goes on.

All parts start at once, and most of what takes their time is imports. Meanwhile the database is prepared here; until it
is, the workers wait at their standard input.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Final

from unembed.errors import CannotWorkError, InputError, MissingExtraError
from unembed.home import Server, answers, remove_server, started_at, write_server
from unembed.models import logs
from unembed.models.environment import FILE, PREFIX
from unembed.models.settings import read_settings
from unembed.models.sqlite import sqlite_url
from unembed.quick_imports import quick_imports
from unembed.runs import DATABASE_FILE
from unembed.worker import devices, redis_server
from unembed.worker.home_lock import HomeLock
from unembed.worker.supervisor import WHEN_LET_GO, Part, Supervisor

log = logging.getLogger(__name__)

LOOPBACK: Final = "127.0.0.1"
READY_WITHIN: Final = 60.0  # seconds for the API to say that it is ready

# On one machine a silent worker is dead, not behind a slow network: shorter than the defaults of a cluster.
_SHORT_WAITS: Final = {
    "UNEMBED_LEASE": "30",
    "UNEMBED_HEARTBEAT": "5",
    "UNEMBED_SWEEP_INTERVAL": "2",
}


class Stack:
    """A context manager; inside it the API answers at `url`.

    `port` 0 or None: any free one. `flower_port` 0: any free one; None: no Flower. `workers` None: one a GPU, or one on
    the CPU. `database_url` None: SQLite in the home folder. Without `keeps_vectors` the queue is in memory alone, and
    whoever sent a corpus sends it again after a restart. Raises ConflictError when another process has the folder,
    InputError when a port is taken, MissingExtraError, and CannotWorkError when a part does not start.
    """

    def __init__(
        self,
        home: Path,
        *,
        port: int | None = 0,
        flower_port: int | None = None,
        workers: int | None = None,
        database_url: str | None = None,
        keeps_vectors: bool = True,
        say: Callable[[str], None] = log.warning,
    ) -> None:
        self.home = home.absolute()
        self.url = ""
        self.flower_url: str | None = None
        self.workers: tuple[str, ...] = ()
        self.is_up = False
        self._ports = port, flower_port
        self._wanted_workers = workers
        self._database_url = database_url
        self._keeps_vectors = keeps_vectors
        self._is_over = False
        self._say = say
        self._supervisor: Supervisor | None = None
        self._exits = ExitStack()

    def __enter__(self) -> Stack:
        _require_extras(flower=self._ports[1] is not None)
        with ExitStack() as exits:
            self._start(exits)
            self._exits = exits.pop_all()
        self.is_up = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    def kill(self) -> None:
        """Makes an `__exit__` that waits for parts to end kill them instead; may be called from a signal handler."""
        if self._supervisor is not None:
            self._supervisor.kill()

    def forget(self) -> None:
        """When the block ends, the folder goes with all that is in it."""
        self._is_over = True

    def check(self) -> None:
        """Raises CannotWorkError, with what they said last, when no worker can work."""
        if self._supervisor is None or not self.workers:
            return
        parts = [_worker_part(name) for name in self.workers]
        if all(map(self._supervisor.is_hopeless, parts)):
            raise CannotWorkError(f"no worker can work: {self._supervisor.last_words(parts[0])}")

    def pids(self) -> dict[str, int]:
        """The parts that run, by name."""
        return self._supervisor.pids() if self._supervisor is not None else {}

    def _start(self, exits: ExitStack) -> None:
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = HomeLock(self.home)
        exits.callback(lock.release)
        exits.callback(self._remove_if_over)  # while the lock is ours
        lock.end_leftovers()
        port, flower_port = _free_ports(*self._ports)
        database_url = sqlite_url(self.home / DATABASE_FILE)
        if self._database_url is not None:
            database_url = read_settings(database_url=self._database_url).database_url  # with its password

        path = exits.enter_context(redis_server.socket_path(self.home))
        environment = _environment(database_url, path, port)
        self.flower_url = _flower_url(flower_port, environment)
        if self.flower_url is not None:
            environment["UNEMBED_FLOWER_URL"] = self.flower_url
        if flower_port is None:
            environment["UNEMBED_EVENTS"] = "false"  # nobody listens
        supervisor = self._supervisor = Supervisor(self.home, self._say, lock.note_parts)
        exits.callback(supervisor.stop)
        supervisor.start()
        self._start_redis(supervisor, path, environment)
        self._start_api(supervisor, environment, flower_port)
        self._start_workers(supervisor, environment)
        with logs.about(part="migrations"):
            self._prepare_database(database_url)
        _await(supervisor, "redis", lambda: redis_server.answers(path))
        supervisor.let_go()

        self.url = f"http://{LOOPBACK}:{port}"
        _await(supervisor, "api", lambda: _is_ready(port))
        exits.callback(remove_server, self.home)
        pid = os.getpid()
        write_server(self.home, Server(url=self.url, flower_url=self.flower_url, pid=pid, started=started_at(pid)))

    def _prepare_database(self, url: str) -> None:
        with quick_imports():
            from unembed.models.backup import upgrade_with_copy
            from unembed.models.database import open_engine, revision

        with open_engine(url) as engine:
            is_new = revision(engine) is None
            upgrade_with_copy(engine, self._say)
            if self._database_url is None and not is_new:
                with quick_imports():
                    from unembed.models.store import Store

                # We own the folder, so no worker of its database lives, and none of them ended in order: what they had
                # need not wait for its lease to run out. It counts as an attempt, for it may be what ended them.
                store = Store(engine, read_settings(database_url=url))
                store.sweeping.reclaim_all()
                if not self._keeps_vectors:
                    store.sweeping.forget_payloads()
                    store.workers.forget()

    def _remove_if_over(self) -> None:
        if self._is_over:
            shutil.rmtree(self.home, ignore_errors=True)

    def _start_redis(self, supervisor: Supervisor, path: Path, environment: dict[str, str]) -> None:
        data = self.home / "redis"
        data.mkdir(mode=0o700, exist_ok=True)
        command = redis_server.command(path, data, read_settings().redis_maxmemory, keeps=self._keeps_vectors)
        supervisor.add(Part("redis", command, environment, stage=0))

    def _start_workers(self, supervisor: Supervisor, environment: dict[str, str]) -> None:
        found = devices.seats(self._wanted_workers, read_settings().device)
        self.workers = tuple(seat.name for seat in found)
        for seat in found:
            command = [*_python("unembed.worker"), seat.name, WHEN_LET_GO]
            own = environment | dict(seat.environment)
            supervisor.add(Part(_worker_part(seat.name), command, own, stage=1, waits=True))

    def _start_api(self, supervisor: Supervisor, environment: dict[str, str], flower_port: int | None) -> None:
        supervisor.add(Part("api", _python("unembed.api"), environment, stage=1, grace=5.0))
        if flower_port:
            secret = {"FLOWER_COOKIE_SECRET": secrets.token_urlsafe(32)}  # not on the command line, which all can read
            command = [*_python("unembed.worker.flower_server"), str(flower_port), WHEN_LET_GO]
            supervisor.add(Part("flower", command, environment | secret, stage=1, grace=3.0, waits=True))


def _worker_part(seat: str) -> str:
    return f"worker-{seat}"


def _python(module: str) -> list[str]:
    # -P: the parts run in the home folder, and a file there named `redis.py` or `celery.py` must not be imported.
    return [sys.executable, "-P", "-m", module]


def _environment(database_url: str, redis_socket: Path, port: int) -> dict[str, str]:
    """Ours, but for what decides where the parts find each other."""
    environment = _SHORT_WAITS | dict(os.environ)
    for name in ("PAYLOAD_URL", "PAYLOAD_PASSWORD", "REDIS_PASSWORD", "DATABASE_PASSWORD", "URL", "API_KEY"):
        environment.pop(PREFIX + name, None)
        environment.pop(PREFIX + name + FILE, None)
    for name in ("DATABASE_URL", "REDIS_URL", "HOST", "PORT"):
        environment.pop(PREFIX + name + FILE, None)  # each is given below
    if decoders := environment.get("UNEMBED_DECODERS"):
        environment["UNEMBED_DECODERS"] = str(Path(decoders).absolute())  # the parts run in the home folder
    return environment | {
        "UNEMBED_DATABASE_URL": database_url,
        "UNEMBED_REDIS_URL": f"unix://{redis_socket}",
        "UNEMBED_HOST": LOOPBACK,
        "UNEMBED_PORT": str(port),
        "PYTHONUNBUFFERED": "1",
    }


def _flower_url(port: int | None, environment: Mapping[str, str]) -> str | None:
    prefix = environment.get("FLOWER_URL_PREFIX", "").strip("/")
    return f"http://{LOOPBACK}:{port}/{prefix}".rstrip("/") if port else None


def _require_extras(*, flower: bool) -> None:
    for package in ("uvicorn", "fastapi", "torch", *(["flower"] if flower else [])):
        if find_spec(package) is None:
            raise MissingExtraError.of(package, "local")


def _free_ports(port: int | None, flower_port: int | None) -> tuple[int, int | None]:
    """Both held open until both are known, so that they differ. Raises InputError for one that is taken."""
    with ExitStack() as held:
        return _port(port or 0, "--port", held), None if flower_port is None else _port(
            flower_port, "--flower-port", held
        )


def _port(wanted: int, option: str, held: ExitStack) -> int:
    probe = held.enter_context(closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)))
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((LOOPBACK, wanted))
        probe.listen(1)
    except OSError as error:
        reason = error.strerror
        raise InputError(
            f"port {wanted} on {LOOPBACK} cannot be used ({reason}); choose another with {option}"
        ) from None
    return int(probe.getsockname()[1])


def _is_ready(port: int) -> bool:
    return answers(f"http://{LOOPBACK}:{port}", "/readyz")


def _await(supervisor: Supervisor, part: str, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while not ready():
        if supervisor.is_hopeless(part) or time.monotonic() > deadline:
            raise CannotWorkError(f"{part} does not start: {supervisor.last_words(part)}")
        time.sleep(0.05)
