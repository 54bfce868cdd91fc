"""A process that is timed: it works when it is asked to, so that several can take turns on one core.

It reads a JSON line of what to do from its standard input, does it, and answers with a JSON line. Each has a process
of its own, so that no library's threads or memory are in another's way, and so that an earlier commit can be timed
beside this one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from benchmarks.checkout import ROOT
from benchmarks.measuring import Spent

ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}


class TimedProcess:
    """A context manager: the process, from its start to its end."""

    def __init__(self, program: str, *arguments: str, checkout: Path = ROOT) -> None:
        """`program` is a file beside this one; `checkout` is where it finds `unembed`."""
        self._command = [sys.executable, "-P", str(Path(__file__).with_name(program)), *arguments]
        self._environment = os.environ | ONE_THREAD | {"PYTHONPATH": f"{checkout}{os.pathsep}{ROOT}"}
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(self._command, env=self._environment, stdin=pipe, stdout=pipe, text=True)
        self._line()  # it is ready
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process, self._process = self._process, None
        if process is not None:
            with process:
                assert process.stdin is not None
                process.stdin.close()  # it ends with its input

    def ask(self, work: str, **arguments: Any) -> dict[str, Any]:
        """What the work answered. Raises RuntimeError when the process ended instead; it said why on stderr."""
        assert self._process is not None, "the process was started"
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"work": work} | arguments) + "\n")
        self._process.stdin.flush()
        return self._line()

    def time(self, work: str, **arguments: Any) -> Spent:
        answer = self.ask(work, **arguments)
        return Spent(answer["wall"], answer["cpu"])

    def _line(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(self._command[2:])} ended with code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def serve(works: Mapping[str, Callable[..., dict[str, Any]]]) -> None:
    """The other side: does what is asked for until the input ends. Whatever else prints goes to stderr."""
    answers, sys.stdout = sys.stdout, sys.stderr

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    answer({"ready": True})
    for line in sys.stdin:
        asked = json.loads(line)
        answer(works[asked.pop("work")](**asked))
