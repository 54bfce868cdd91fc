"""The processes of a site, each of which may be killed and started again: the API, and the workers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.faults import stand_in
from tests.worker.processes import family_of, is_alive
from unembed.worker import parent_death


class Process:
    """A process of the site, tied to us, which may be killed and started again under the same name."""

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self.gone: set[int] = set()  # what was killed, and all that it had started
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._descriptors: tuple[int, ...] = ()

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was started"
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Returns at once; it is not ready yet."""
        tie = [sys.executable, "-I", "-S", str(parent_death.__file__), str(os.getpid())]
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                [*tie, *self._command],
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=self._descriptors,
                start_new_session=True,
            )

    def kill(self) -> None:
        """With -9, and alone: what it has started is left to itself."""
        self.signal(signal.SIGKILL)
        self.await_end()

    def signal(self, number: signal.Signals) -> None:
        if number in (signal.SIGKILL, signal.SIGTERM):
            self.gone.update(family_of(self.pid))
        os.kill(self.pid, number)

    def await_end(self, seconds: float = 30) -> int:
        assert self._process is not None, f"{self.name} was started"
        return self._process.wait(seconds)


class Worker(Process):
    """A Celery worker: the main process, and the child that decodes."""

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str]) -> None:
        command = [sys.executable, "-P", "-m", stand_in.__name__, name]
        super().__init__(name, command, environment, folder / f"{name}.log")
        self._folder = folder

    @property
    def is_ready(self) -> bool:
        """It consumes, and its child waits for batches."""
        return self.runs and (self._folder / f"consumes-{self.pid}").exists() and self.child is not None

    @property
    def child(self) -> int | None:
        """The child's pid, once it is up and as long as it lives."""
        try:
            pid = int((self._folder / f"child-of-{self.pid}").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return pid if is_alive(pid) else None

    def go_on(self) -> None:
        """In case that it, or its child, was stopped."""
        for pid in (self.pid, self.child):
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def signal_child(self, number: signal.Signals) -> None:
        child = self.child
        assert child is not None, f"the child of {self.name} lives"
        if number == signal.SIGKILL:
            self.gone.add(child)
        os.kill(child, number)


class Api(Process):
    """The API on a port that stays ours while it is down: who connects meanwhile is kept waiting, not refused."""

    def __init__(self, folder: Path, environment: Mapping[str, str], listening: socket.socket) -> None:
        app = f"{stand_in.__name__}:create_app"
        where = ["--fd", str(listening.fileno()), "--no-access-log"]
        command = [sys.executable, "-P", "-m", "uvicorn", "--factory", app, *where]
        super().__init__("api", command, environment, folder / "api.log")
        self._descriptors = (listening.fileno(),)
        host, port = listening.getsockname()
        self.url = f"http://{host}:{port}"
