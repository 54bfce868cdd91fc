"""The application in a real server process, over a real socket."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from tests.api.conftest import DECODER, payload, write_decoder
from tests.builders import DIM
from unembed.schemas import ARROW_STREAM

of_one_server = pytest.mark.xdist_group("server")
STARTUP_SECONDS = 120.0
MAX_BATCH_BYTES = 16 * 1024


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "uvicorn", "--factory", "unembed.api.app:create_app", *arguments]


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path, redis_server: str
) -> Iterator[tuple[str, int]]:
    """Host and port of a server process; one for this module, for it takes seconds to start."""
    folder = tmp_path_factory.mktemp("server")
    write_decoder(folder / "decoders")
    environment = {
        "UNEMBED_DATABASE_URL": f"sqlite:///{shutil.copy(_sqlite_template, folder / 'unembed.db')}",
        "UNEMBED_REDIS_URL": redis_server,
        "UNEMBED_DECODERS": str(folder / "decoders"),
        "UNEMBED_MAX_BATCH_BYTES": str(MAX_BATCH_BYTES),
    }
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        port = listening.getsockname()[1]
        process = subprocess.Popen(
            command("--fd", str(listening.fileno())),
            env={**os.environ, **environment},
            pass_fds=[listening.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    try:
        _await_ready(f"http://127.0.0.1:{port}/readyz", process)
        yield "127.0.0.1", port
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=60)
    assert b"Traceback" not in output, output.decode()


def _await_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(httpx2.TransportError):
            if httpx2.get(url, timeout=5).status_code == 200:
                return
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"the server did not get ready: {process.communicate()[0].decode()}")


@of_one_server
def test_a_job_is_created_filled_and_sealed_over_a_socket(server: tuple[str, int]) -> None:
    # Given a server process
    host, port = server
    with httpx2.Client(base_url=f"http://{host}:{port}", timeout=30) as client:
        # When a job goes its way
        job = client.post("/v1/jobs", json={"decoder": DECODER, "embedding_dim": DIM}).json()["id"]
        headers = {"Content-Type": ARROW_STREAM}
        batches = [
            client.put(f"/v1/jobs/{job}/batches/{n}?first_index={2 * n}", content=payload(), headers=headers)
            for n in range(3)
        ]
        sealed = client.post(f"/v1/jobs/{job}/seal", json={"batches": 3, "rows": 6})
    # Then it waits for a worker
    assert [batch.status_code for batch in batches] == [201, 201, 201]
    assert (sealed.json()["state"], sealed.json()["batches"]["queued"]) == ("queued", 3)


@of_one_server
@pytest.mark.parametrize("declared", [True, False])
def test_a_body_that_is_too_large_is_answered_before_it_was_sent(server: tuple[str, int], declared: bool) -> None:
    # Given a batch that has no end in sight, its length announced or not
    length = "Content-Length: 1000000000" if declared else "Transfer-Encoding: chunked"
    job = httpx2.post(
        f"http://{server[0]}:{server[1]}/v1/jobs", json={"decoder": DECODER, "embedding_dim": DIM}, timeout=30
    ).json()["id"]
    with socket.create_connection(server, timeout=20) as connection:
        head = [f"PUT /v1/jobs/{job}/batches/0?first_index=0 HTTP/1.1", "Host: localhost"]
        connection.sendall("\r\n".join([*head, f"Content-Type: {ARROW_STREAM}", length, "", ""]).encode())
        # When no more than a little over the limit was sent of it
        if not declared:
            for _ in range(5):
                connection.sendall(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
        # Then the answer is there, the connection ends, and nobody waits for the rest
        answer = b""
        while received := connection.recv(65_536):
            answer += received
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"too_large"' in answer


def test_a_server_that_others_could_reach_does_not_start_without_a_key() -> None:
    # Given a host that is not loopback, and no key
    environment = {**os.environ, "UNEMBED_HOST": "0.0.0.0"}
    # When the server starts
    ended = subprocess.run(command("--port", "0"), env=environment, capture_output=True, text=True, timeout=120)
    # Then it ends, and its last line says what to set
    assert ended.returncode != 0
    last = ended.stderr.strip().splitlines()[-1]
    assert "0.0.0.0" in last
    assert "UNEMBED_API_KEYS" in last
