"""The parts as an operator starts them, one by one: `db upgrade`, `serve`, `worker`."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.flow.conftest import DECODER
from tests.models.decoder import toy
from tests.unembed.conftest import Run
from tests.worker.processes import await_
from unembed.client import Client
from unembed.schemas import JobState

UNEMBED = [sys.executable, "-c", "from unembed.cli import main; main()"]


AS_JSON = ("--log-format", "json")


@contextmanager
def running(arguments: list[str], variables: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen([*UNEMBED, *arguments], env=variables, stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def is_ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx2.TransportError:
        return False


def test_an_operator_starts_the_parts_one_by_one(variables: dict[str, str], tmp_path: Path) -> None:
    # Given tables, an API and a worker, each started by its own verb, and logging as JSON
    upgraded = subprocess.run(
        [*UNEMBED, "db", "upgrade"], env=variables | {"UNEMBED_LOG_FORMAT": "json"}, capture_output=True, check=True
    )
    (tmp_path / "migrations.log").write_bytes(upgraded.stdout + upgraded.stderr)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with (
        running(["serve", "--port", str(port), *AS_JSON], variables, tmp_path / "api.log") as api,
        running(["worker", "--name", "by-hand", *AS_JSON], variables, tmp_path / "worker.log") as worker,
    ):
        await_(lambda: is_ready(url), 60)
        # When a corpus is submitted
        with Client(url) as client:
            handle = client.submit(toy.vectors(20), decoder=DECODER, batch_size=6).wait(timeout=120)
            # Then that worker decodes it
            assert handle.job.state is JobState.SUCCEEDED
            assert {str(batch.worker).split("@")[0] for batch in client.batches(handle.id)} == {"by-hand"}
        # And TERM ends both well
        for process in (worker, api):
            process.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
        assert api.wait(30) in (0, -signal.SIGTERM)
    # And every line that any of them has written, to the last, is a record of its part
    for part in ("migrations", "api", "worker"):
        records = [json.loads(line) for line in (tmp_path / f"{part}.log").read_text().splitlines()]
        assert records, part
        assert {record["part"] for record in records} <= {part, "sweeper", "webhooks"}


def test_a_worker_without_its_device_ends_and_takes_no_batch(
    variables: dict[str, str], tmp_path: Path, run: Run
) -> None:
    # Given a machine without a GPU of this number
    run(["db", "upgrade"], variables)
    log = tmp_path / "worker.log"
    with running(["worker"], variables | {"UNEMBED_DEVICE": "cuda:99"}, log) as worker:
        # When a worker is started for it / Then it says why it cannot work, and ends
        assert worker.wait(60) != 0
    assert "device 'cuda:99' is not available here; there are: auto, " in log.read_text()


def test_the_tables_revision_is_told_and_checked(variables: dict[str, str], run: Run) -> None:
    # Given a database without tables
    before = run(["db", "revision"], variables)
    assert (before.code, before.out) == (0, "")
    assert run(["db", "check"], variables).code == 5
    # When it is upgraded, twice
    for _ in range(2):
        assert run(["db", "upgrade"], variables).code == 0
    # Then it has a revision, and is what is expected
    assert run(["db", "revision"], variables).out.strip()
    assert run(["db", "check"], variables).code == 0
