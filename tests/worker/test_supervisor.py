from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worker.processes import await_, is_alive
from unembed.worker.supervisor import Part, Supervisor

SLEEPS = [sys.executable, "-S", "-c", "import time; print('here', flush=True); time.sleep(600)"]
IGNORES_TERM = [
    sys.executable,
    "-S",
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('here', flush=True); time.sleep(600)",
]


class Said(list[str]):
    pass


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def noted() -> list[list[int]]:
    return []


@pytest.fixture
def supervisor(tmp_path: Path, said: Said, noted: list[list[int]]) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path, said.append, noted.append)
    made.start()
    yield made
    made.kill()
    made.stop()


def part(name: str, command: list[str], stage: int = 0, grace: float = 20.0) -> Part:
    return Part(name, command, os.environ, stage, grace)


def has_spoken(supervisor: Supervisor, name: str, times: int = 1) -> bool:
    try:
        log = supervisor._log_of(name).read_text()
    except FileNotFoundError:  # not begun yet, or just now set aside
        return False
    return log.count("here") >= times


def test_a_part_that_dies_is_started_again_and_it_is_said(
    supervisor: Supervisor, said: Said, noted: list[list[int]]
) -> None:
    # Given a part that runs
    supervisor.add(part("sleeper", SLEEPS))
    await_(lambda: has_spoken(supervisor, "sleeper"))
    first = supervisor.pids()["sleeper"]
    # When it is killed
    os.kill(first, signal.SIGKILL)
    # Then another one runs, somebody was told where to read on, and its pid is noted
    await_(lambda: has_spoken(supervisor, "sleeper", 2))
    second = supervisor.pids()["sleeper"]
    assert second != first
    assert is_alive(second)
    (line,) = said
    assert "sleeper ended (SIGKILL)" in line
    assert "sleeper.log" in line
    assert noted[-1] == [second]


def test_a_part_that_keeps_dying_is_started_ever_more_slowly(supervisor: Supervisor, said: Said) -> None:
    supervisor.add(part("dier", [sys.executable, "-S", "-c", "raise SystemExit(1)"]))
    await_(lambda: len(said) == 3)
    assert ["exit code 1" in line for line in said] == [True] * 3
    assert [line.split(" in ")[1].split(" s;")[0] for line in said] == ["0.5", "1", "2"]
    assert supervisor.is_hopeless("dier")


def test_a_part_that_waits_begins_when_it_is_let_go(supervisor: Supervisor) -> None:
    # Given a part that waits for the end of its standard input
    program = "import sys; sys.stdin.read(); print('here', flush=True); sys.stdin.close(); sys.exit(1)"
    waiting = Part("waiting", [sys.executable, "-S", "-c", program], os.environ, stage=0, waits=True)
    supervisor.add(waiting)
    await_(lambda: "waiting" in supervisor.pids())
    assert not has_spoken(supervisor, "waiting")
    # When it is let go, Then it begins; and when it is started again, it waits no more
    supervisor.let_go()
    await_(lambda: has_spoken(supervisor, "waiting", 2))


def test_parts_end_in_the_order_of_their_stages(supervisor: Supervisor, tmp_path: Path) -> None:
    # Given two parts that write down when they are asked to end
    program = (
        "import signal, sys, time\n"
        "def end(*_):\n"
        "    time.sleep(0.2); open('order', 'a').write(sys.argv[1]); sys.exit()\n"
        "signal.signal(15, end); print('here', flush=True); time.sleep(600)"
    )
    for name, stage in (("a", 0), ("b", 1)):
        supervisor.add(part(name, [sys.executable, "-S", "-c", program, name], stage))
    await_(lambda: has_spoken(supervisor, "a") and has_spoken(supervisor, "b"))
    # When all is ended
    supervisor.stop()
    # Then the higher stage had ended before the lower one was asked
    assert (tmp_path / "order").read_text() == "ba"


def test_a_part_that_does_not_listen_is_killed(supervisor: Supervisor) -> None:
    supervisor.add(part("deaf", IGNORES_TERM, grace=0.3))
    await_(lambda: has_spoken(supervisor, "deaf"))
    pid = supervisor.pids()["deaf"]
    supervisor.stop()
    assert not is_alive(pid)


def test_impatience_ends_all_at_once(supervisor: Supervisor) -> None:
    # Given parts that would take their time
    for name in ("one", "two"):
        supervisor.add(part(name, IGNORES_TERM, grace=60))
    await_(lambda: has_spoken(supervisor, "one") and has_spoken(supervisor, "two"))
    pids = list(supervisor.pids().values())
    # When the second Ctrl-C comes
    supervisor.kill()
    began = time.monotonic()
    supervisor.stop()
    # Then none of them is waited for
    assert time.monotonic() - began < 10
    assert not any(map(is_alive, pids))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a process to its parent")
def test_parts_die_with_their_supervisor_by_whatever_death(tmp_path: Path) -> None:
    # Given a process that supervises a part which does not listen to TERM
    program = (
        "import sys, time, pathlib, os\n"
        "from unembed.worker.supervisor import Part, Supervisor\n"
        "supervisor = Supervisor(pathlib.Path(sys.argv[1]), print, lambda pids: print(*pids, flush=True))\n"
        "supervisor.start(); supervisor.add(Part('deaf', sys.argv[2:], os.environ, 0)); time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), *IGNORES_TERM], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    await_(lambda: "here" in (tmp_path / "logs" / "deaf.log").read_text())
    # When it is killed with -9
    process.kill()
    process.communicate()
    # Then the part is gone too
    await_(lambda: not is_alive(pid), 60)


def test_a_log_that_has_grown_large_is_set_aside(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unembed.worker.supervisor._LOG_LIMIT", 10)
    (tmp_path / "logs" / "sleeper.log").write_text("of long ago, and long")
    supervisor.add(part("sleeper", SLEEPS))
    await_(lambda: has_spoken(supervisor, "sleeper"))
    assert supervisor.last_words("sleeper") == "here"
    assert (tmp_path / "logs" / "sleeper.log.1").read_text() == "of long ago, and long"


@pytest.mark.parametrize(("code", "hopeless"), [(3, True), (2, True), (1, False)])
def test_a_part_that_lacks_what_it_needs_is_hopeless_at_once(supervisor: Supervisor, code: int, hopeless: bool) -> None:
    # Given a part that ends with a code, When it has ended once
    supervisor.add(
        part("dier", [sys.executable, "-S", "-c", f"import sys; print('here', flush=True); sys.exit({code})"])
    )
    await_(lambda: "dier" not in supervisor.pids() and has_spoken(supervisor, "dier"))
    # Then another start is worth nothing, or is worth trying
    assert supervisor.is_hopeless("dier") is hopeless


def test_a_part_that_ran_for_long_is_not_hopeless(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unembed.worker.supervisor._SOUND_AFTER", 0.0)
    supervisor.add(part("dier", [sys.executable, "-S", "-c", "import sys; print('here', flush=True); sys.exit(3)"]))
    await_(lambda: "dier" not in supervisor.pids() and has_spoken(supervisor, "dier"))
    assert not supervisor.is_hopeless("dier")


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (
            "here\n2026-01-01 10:00:00 CRITICAL cpu0 unembed.worker: no cuda\nbye\n",
            "no cuda",
        ),
        ("INFO: fine\nerror: UNEMBED_LEASE is 'x'; expected y\n", "UNEMBED_LEASE is 'x'; expected y"),
        ("Traceback (most recent call last):\n  File ...\nKeyError: 'x'\n", "KeyError: 'x'"),
        ("one\ntwo\n\n", "two"),
        ("", ""),
    ],
)
def test_the_last_words_are_the_last_error(supervisor: Supervisor, tmp_path: Path, log: str, words: str) -> None:
    (tmp_path / "logs" / "p.log").write_text(log)
    assert supervisor.last_words("p") == words
