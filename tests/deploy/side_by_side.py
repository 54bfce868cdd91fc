"""The services of docker-compose.yml as processes on loopback, without Docker: their own commands, environments,
secrets, order and health checks.

What a container would give is given here: a name becomes a port of this machine, and /run/secrets and each data folder
a folder of the test. Of our environment, only what finds programs is passed on: what a service is not told it does not
know.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from tests.worker.processes import await_

FILE: Final = Path(__file__).parent.parent.parent / "docker-compose.yml"
_VARIABLE: Final = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
_PROGRAMS: Final = {
    "unembed": [sys.executable, "-c", "from unembed.cli import main; main()"],
    "python": [sys.executable],
}
_HEALTHY_WITHIN: Final = 180.0  # seconds


def services() -> dict[str, dict[str, Any]]:
    """Those that start without being asked for, in the order in which each comes after what it depends on."""
    found = yaml.safe_load(FILE.read_text())["services"]
    waiting = {name: service for name, service in found.items() if "profiles" not in service}
    ordered: dict[str, dict[str, Any]] = {}
    while waiting:
        ready = [name for name, service in waiting.items() if set(service.get("depends_on", {})) <= set(ordered)]
        assert ready, f"these wait for each other: {sorted(waiting)}"
        ordered |= {name: waiting.pop(name) for name in ready}
    return ordered


class SideBySide:
    """Services that run. `places` are what to put in place of a container's names: hosts and ports, folders."""

    def __init__(self, places: Mapping[str, str], environment: Mapping[str, str], folder: Path) -> None:
        self._places = places
        self._environment = environment
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def placed(self, text: str) -> str:
        """A value as Compose reads it, in this machine's places. Variables have their defaults."""
        text = _VARIABLE.sub(lambda found: found[2] or "", text.replace("$$", "\0")).replace("\0", "$")
        for name, place in self._places.items():
            text = text.replace(name, place)
        return text

    def start(self, name: str, service: Mapping[str, Any]) -> None:
        """Once what it depends on is as it says."""
        for other, needs in service.get("depends_on", {}).items():
            self._await(other, needs["condition"])
        with self.log(name).open("ab") as out:
            self._processes[name] = subprocess.Popen(
                self._command(service["command"]),
                env=self._variables(service),
                stdout=out,
                stderr=out,
                cwd=self._folder,
            )

    def log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def await_healthy(self, name: str, service: Mapping[str, Any]) -> None:
        """Returns when its health check says so; fails when its process ends first."""

        def is_healthy() -> bool:
            process = self._processes.get(name)
            assert process is None or process.poll() is None, self.log(name).read_text()
            code, said = self.check(service)
            if code:
                print(f"{name}: {said}")
            return code == 0

        await_(is_healthy, _HEALTHY_WITHIN, f"{name} is healthy", pause=1.0)

    def check(self, service: Mapping[str, Any]) -> tuple[int, str]:
        """Its health check, once: the exit code, and what it said."""
        kind, *words = service["healthcheck"]["test"]
        command = ["sh", "-c", self.placed(words[0])] if kind == "CMD-SHELL" else self._command(words)
        ran = subprocess.run(
            command, env=self._variables(service), capture_output=True, text=True, timeout=120, check=False
        )
        return ran.returncode, ran.stdout + ran.stderr

    def stop(self, name: str) -> int:
        """As Docker does: TERM. The exit code."""
        process = self._processes.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(60)

    def end(self) -> None:
        for process in reversed(self._processes.values()):
            process.kill()
            process.wait()

    def _await(self, name: str, condition: str) -> None:
        if condition == "service_healthy":
            self.await_healthy(name, services()[name])
        else:
            assert condition == "service_completed_successfully"
            assert self._processes[name].wait(120) == 0, self.log(name).read_text()

    def _command(self, words: list[str]) -> list[str]:
        program, *arguments = (self.placed(word) for word in words)
        return [*_PROGRAMS.get(program, [program]), *arguments]

    def _variables(self, service: Mapping[str, Any]) -> dict[str, str]:
        own = {name: self.placed(str(value)) for name, value in service.get("environment", {}).items()}
        return {**self._environment, "HOME": str(self._folder), **own}


@contextmanager
def side_by_side(places: Mapping[str, str], environment: Mapping[str, str], folder: Path) -> Iterator[SideBySide]:
    running = SideBySide(places, environment, folder)
    try:
        yield running
    finally:
        running.end()


def path_with(folder: Path, programs: Mapping[str, str]) -> str:
    """A PATH on which these programs are found first, by these names."""
    folder.mkdir()
    for name, target in programs.items():
        (folder / name).symlink_to(target)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"
