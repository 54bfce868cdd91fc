"""Keeps a few processes running: starts them, starts those that died again, and ends them, last started first.

One thread does all of it, because Linux ties a child to the *thread* that started it (worker/parent_death.py).
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from unembed.errors import InputError
from unembed.models import logs
from unembed.worker import parent_death, part_log

log = logging.getLogger(__name__)

INCAPABLE: Final = 3  # the exit code of a part that lacks what it needs, such as a worker whose device is not there
GIVE_UP_AFTER: Final = 3  # deaths of a part that was never sound
WHEN_LET_GO: Final = "when-let-go"  # an argument of a part that waits: it begins when its standard input ends

_TICK: Final = 0.1  # seconds between two looks
_FIRST_PAUSE: Final = 0.5  # seconds before a part that died is started again; doubles up to:
_LONGEST_PAUSE: Final = 30.0
_SOUND_AFTER: Final = 60.0  # seconds of running after which earlier deaths are forgotten
_LOG_LIMIT: Final = 10 * 1024 * 1024  # bytes; a larger log is set aside before it is appended to


@dataclass(frozen=True)
class Part:
    name: str
    command: list[str]
    environment: Mapping[str, str]
    stage: int  # higher ones end first, and have ended before lower ones are asked to
    grace: float = 8.0  # seconds between asking and killing
    waits: bool = False  # its standard input ends when the supervisor lets it go, and not before


@dataclass
class _Running:
    part: Part
    log: Path
    process: subprocess.Popen[bytes]
    since: float
    deaths: int = 0
    restart_at: float | None = field(default=None)  # set: it is down until then
    code: int | None = None  # what it last ended with
    was_sound: bool = False  # it has run for longer than _SOUND_AFTER once


class Supervisor:
    """`say` gets a line for people; `note` the pids that run, whenever they change."""

    def __init__(self, folder: Path, say: Callable[[str], None], note: Callable[[list[int]], None]) -> None:
        self._folder = folder
        self._logs = folder / "logs"
        self._say = say
        self._note = note
        self._wanted: queue.SimpleQueue[Part | None] = queue.SimpleQueue()
        self._running: list[_Running] = []
        self._let_go = threading.Event()
        self._ending = threading.Event()
        self._at_once = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        self._logs.mkdir(exist_ok=True)
        self._thread.start()

    def add(self, part: Part) -> None:
        """Starts it soon, and from then on keeps it running."""
        self._wanted.put(part)

    def let_go(self) -> None:
        """Parts that wait may begin, those that are started again as well."""
        self._let_go.set()
        self._wanted.put(None)

    def stop(self) -> None:
        """Ends all parts and returns when they have ended."""
        self._ending.set()
        self._wanted.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def kill(self) -> None:
        """Does not wait for parts that are about to end; may be called from a signal handler."""
        self._at_once.set()
        self._ending.set()
        self._wanted.put(None)

    def is_hopeless(self, name: str) -> bool:
        """Whether a part was never sound, and ended several times or in a way that another start will not mend."""
        return any(
            running.deaths >= GIVE_UP_AFTER or running.code in (INCAPABLE, InputError.exit_code)
            for running in self._running
            if running.part.name == name and not running.was_sound
        )

    def pids(self) -> dict[str, int]:
        """The parts that run."""
        return {running.part.name: running.process.pid for running in self._running if running.restart_at is None}

    def last_words(self, name: str) -> str:
        """Why a part ended, as far as the end of its log says so: its last error, or its last line."""
        return part_log.last_words(self._log_of(name))

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                with suppress(queue.Empty):  # None: look at once
                    if part := self._wanted.get(timeout=_TICK):
                        self._start(part)
                for running in self._running:
                    self._look_after(running)
        finally:
            self._end_all()

    def _start(self, part: Part) -> None:
        path = self._log_of(part.name)
        if path.exists() and path.stat().st_size > _LOG_LIMIT:
            path.replace(path.with_suffix(".log.1"))
        self._running.append(_Running(part, path, self._spawn(part, path), time.monotonic()))
        self._note(list(self.pids().values()))

    def _spawn(self, part: Part, path: Path) -> subprocess.Popen[bytes]:
        waits = part.waits and not self._let_go.is_set()
        # -I and -S: the tie needs nothing but the standard library, and is made sooner without the rest.
        tie = [sys.executable, "-I", "-S", str(parent_death.__file__), str(os.getpid())]
        as_records = logs.chosen() == "json"
        with path.open("ab") as out:
            process = subprocess.Popen(
                [*tie, *part.command],
                env=dict(part.environment),
                cwd=self._folder,
                stdin=subprocess.PIPE if waits else subprocess.DEVNULL,
                stdout=subprocess.PIPE if as_records else out,
                stderr=subprocess.STDOUT if as_records else out,
                start_new_session=True,  # a Ctrl-C in the terminal is for us alone: we end the parts in order
            )
        if process.stdout is not None:
            part_log.follow(process.stdout, path, part.name)
        return process

    def _look_after(self, running: _Running) -> None:
        now = time.monotonic()
        if self._let_go.is_set():
            _end_input(running.process)
        if running.restart_at is not None:
            if now >= running.restart_at:
                running.process = self._spawn(running.part, running.log)
                running.since, running.restart_at = now, None
                self._note(list(self.pids().values()))
            return
        if running.process.poll() is None:
            return
        _end_input(running.process)
        if now - running.since > _SOUND_AFTER:
            running.deaths = 0
            running.was_sound = True
        pause = min(_FIRST_PAUSE * 2**running.deaths, _LONGEST_PAUSE)
        running.deaths += 1
        running.code = running.process.returncode
        running.restart_at = now + pause
        how = _how(running.process.returncode)
        self._say(f"{running.part.name} ended ({how}) and is started again in {pause:g} s; its log: {running.log}")

    def _end_all(self) -> None:
        for stage in sorted({running.part.stage for running in self._running}, reverse=True):
            parts = [running for running in self._running if running.part.stage == stage]
            for running in parts:
                _signal(running.process, signal.SIGTERM)
            for running in parts:
                self._await_end(running)
        self._note([])

    def _await_end(self, running: _Running) -> None:
        deadline = time.monotonic() + running.part.grace
        while running.process.poll() is None and time.monotonic() < deadline and not self._at_once.is_set():
            time.sleep(0.02)
        # The whole group, even when its leader has ended: nothing that it started stays behind.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(running.process.pid, signal.SIGKILL)
        running.process.wait()
        _end_input(running.process)

    def _log_of(self, name: str) -> Path:
        return self._logs / f"{name}.log"


def _end_input(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(number)


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
