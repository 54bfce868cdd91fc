"""`unembed up` as its user meets it: a process with a terminal's signals, and a folder that outlives it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from tests.flow.conftest import DECODER, SLOWLY, environment
from tests.models.decoder import toy
from tests.worker.processes import await_, family_of, is_alive
from unembed.client import Client
from unembed.home import answers, running_server
from unembed.models.settings import Settings
from unembed.schemas import JobState

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

UNEMBED = [sys.executable, "-c", "from unembed.cli import main; main()"]
WAIT = 200  # seconds; the machine may be busy


class Up:
    """One run of `unembed up`; what it says is in `said`."""

    def __init__(self, home: Path, decoders: Path, said: Path, *, flower: bool) -> None:
        self.home = home
        self._said = said
        flowers = ["--flower-port", "0"] if flower else ["--no-flower"]
        with said.open("ab") as out:
            self.process = subprocess.Popen(
                [*UNEMBED, "up", "--home", str(home), "--port", "0", *flowers],
                stdout=out,
                stderr=out,
                env=environment(decoders) | {"FLOWER_URL_PREFIX": "flower"},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def said(self) -> str:
        return self._said.read_text()

    def until_ready(self) -> Up:
        def ready() -> bool:
            assert self.process.poll() is None, self.said
            server = running_server(self.home)
            return server is not None and server.pid == self.pid

        await_(ready, 120)
        return self

    def client(self) -> Client:
        server = running_server(self.home)
        assert server is not None
        return Client(server.url)


@pytest.fixture
def up(tmp_path: Path, decoders: Path) -> Iterator[Callable[..., Up]]:
    """Starts `unembed up`; whatever still runs at the end of the test is killed."""
    started: list[Up] = []

    def start(home: Path | None = None, *, flower: bool = False) -> Up:
        said = tmp_path / f"said-{len(started)}"
        started.append(Up(home or tmp_path / "home", decoders, said, flower=flower))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


@linux_only
def test_up_says_where_it_is_refuses_a_second_one_and_ends_with_ctrl_c(
    up: Callable[..., Up], decoders: Path, tmp_path: Path
) -> None:
    # Given a server that runs, from a folder whose path is too long for a socket
    home = tmp_path / "long" / ("x" * 150)
    running = up(home, flower=True).until_ready()
    server = running_server(home)
    assert server is not None
    # Then it has told the addresses, all of them on loopback
    await_(lambda: "ready" in running.said)
    assert server.url in running.said
    assert str(server.flower_url) in running.said
    await_(lambda: answers(str(server.flower_url), "/flower/healthcheck"))
    assert set(re.findall(r"http://([^:]+):", running.said)) == {"127.0.0.1"}
    # And it decodes
    with running.client() as client:
        assert client.submit(toy.vectors(4), decoder=DECODER).wait(timeout=WAIT).job.rows.ok == 4
    # And its pages lead to Flower
    assert f'<a href="{server.flower_url}">Flower</a>' in httpx2.get(server.url, headers={"Accept": "text/html"}).text
    # When another one is started from the same folder
    second = up(home)
    # Then it is refused, by the process that has it
    assert second.process.wait(60) == 1
    assert f"process {running.pid}" in second.said
    assert "Traceback" not in second.said
    # When Ctrl-C comes, as from a terminal
    family = family_of(running.pid)
    running.process.send_signal(signal.SIGINT)
    # Then it ends well, soon, and nothing is left of it
    assert running.process.wait(30) == 0
    assert not any(map(is_alive, family))
    assert "started again" not in running.said
    assert running_server(home) is None
    assert sorted(path.name for path in home.iterdir() if not path.name.startswith("unembed.db")) == [
        "lock",
        "logs",
        "redis",
    ]


@linux_only
def test_kill_9_leaves_nothing_behind_and_the_job_goes_on_at_the_next_start(up: Callable[..., Up]) -> None:
    # Given a job that is half done
    first = up().until_ready()
    with first.client() as client:
        handle = client.submit(toy.vectors(1600), decoder=DECODER, batch_size=160, options=SLOWLY)
        await_(lambda: handle.refresh().batches.done > 0 and handle.job.batches.running > 0, WAIT)
        done = handle.job.rows.written
    assert handle.job.state is JobState.RUNNING
    # When the whole is killed with -9
    family = family_of(first.pid)
    assert len(family) > 5
    first.process.kill()
    first.process.wait()
    # Then all of it is gone within seconds
    await_(lambda: not any(map(is_alive, family)), 60, f"{family}")
    # When it is started again from the same folder
    second = up().until_ready()
    # Then the job goes on and finishes: what was done is kept, and the batch that ran has used up one attempt
    with second.client() as client:
        resumed = client.job(handle.id)
        assert resumed.job.rows.written >= done
        resumed.wait(timeout=WAIT)
        assert [row.index for row in resumed.results(order="index")] == list(range(1600))
        batches = list(client.batches(handle.id))
        assert {(batch.error_code, batch.max_attempts) for batch in batches} == {(None, Settings().max_attempts)}
        assert {batch.attempt for batch in batches} == {1, 2}


@linux_only
def test_a_second_ctrl_c_ends_it_at_once(up: Callable[..., Up]) -> None:
    # Given a server with a worker that cannot listen
    running = up().until_ready()
    family = family_of(running.pid)
    workers = [pid for pid in family if b"worker\0cpu0" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    running.process.send_signal(signal.SIGINT)
    await_(lambda: "again to stop at once" in running.said)
    # When Ctrl-C comes a second time
    running.process.send_signal(signal.SIGINT)
    # Then it does not wait
    assert running.process.wait(6) == 0
    assert not any(map(is_alive, family))


def test_ctrl_c_while_it_starts_ends_it_too(up: Callable[..., Up], tmp_path: Path) -> None:
    # Given a server that is about to start its parts
    running = up()
    await_(lambda: (tmp_path / "home" / "logs" / "redis.log").exists())
    # When Ctrl-C comes
    running.process.send_signal(signal.SIGINT)
    # Then it ends, as interrupted, without a traceback
    assert running.process.wait(30) == 130
    assert "Traceback" not in running.said


def test_a_port_that_is_taken_is_named(tmp_path: Path, decoders: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        found = subprocess.run(
            [*UNEMBED, "up", "--home", str(tmp_path / "home"), "--port", str(port)],
            env=environment(decoders),
            capture_output=True,
            text=True,
            check=False,
        )
    assert found.returncode == 2
    assert f"port {port}" in found.stderr
    assert "--port" in found.stderr
