"""A client and a server of different versions understand each other: parts are upgraded one after the other.

tests/data/recorded has what a client and a server of an older version said to each other, a request and its answer a
line; the file is named after the revision that its tables had. It was recorded by hand, from a checkout of that
version, with a real worker.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import httpx2
import numpy as np
import pytest

from tests.unembed.conftest import Hand
from tests.worker.processes import await_
from unembed.client import Client
from unembed.schemas import DecodeOptions, JobCreate, JobState, Priority, RowStatus

RECORDED: Final = sorted((Path(__file__).parent.parent / "data" / "recorded").glob("*.jsonl"))
ROWS: Final = 6
DIM: Final = 384


def exchanges(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def as_bytes(body: Any) -> bytes:
    """A body as it was sent: what is no JSON is kept in base 64."""
    if body is None:
        return b""
    return base64.b64decode(body) if isinstance(body, str) else json.dumps(body).encode()


def missing(older: Any, newer: Any, where: str = "") -> list[str]:
    """What an older answer has and a newer one has not, or has as something else; values may differ."""
    if isinstance(older, dict) and isinstance(newer, dict):
        lacks = [f"{where}.{name}" for name in older.keys() - newer.keys()]
        return lacks + [
            each for name in older.keys() & newer.keys() for each in missing(older[name], newer[name], name)
        ]
    if isinstance(older, list) and isinstance(newer, list):
        return missing(older[0], newer[0], where) if older and newer else []
    kinds = {type(older), type(newer)} - {type(None)}
    return [] if len(kinds) < 2 or kinds <= {int, float} else [f"{where}: {older!r}, now {newer!r}"]


def job_of(recorded: list[dict[str, Any]]) -> str:
    """The id of the one job of a recording."""
    return str(recorded[0]["answer"]["body"]["id"])


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
def test_an_older_client_gets_what_it_expects(file: Path, url: str, hand: Hand) -> None:
    # Given what a client of an older version sends, and a server of this one with a worker
    recorded = exchanges(file)
    hand.start()
    older_job = job_of(recorded)
    with httpx2.Client(base_url=url) as http:
        job = None
        for exchange in recorded:
            request, answer = exchange["request"], exchange["answer"]
            path = request["path"].replace(older_job, job or older_job)
            if job and request["method"] == "GET" and request["path"].endswith(older_job):
                await_(lambda: http.get(f"/v1/jobs/{job}").json()["state"] == "succeeded")  # noqa: B023
            # When it is sent, word for word
            found = http.request(
                request["method"], path, headers=request["headers"], content=as_bytes(request["body"]) or None
            )
            job = job or found.json()["id"]
            # Then the answer is as it was then, and has all that it had then
            assert found.status_code == answer["status"], (path, found.text)
            assert found.headers["content-type"] == answer["content_type"], path
            if isinstance(answer["body"], (dict, list)):
                assert missing(answer["body"], found.json()) == [], path


class Older(BaseHTTPRequestHandler):
    """A server that knows only what was recorded: the answer to a path, whatever its query."""

    answers: dict[tuple[str, str], dict[str, Any]]
    asked: list[tuple[str, str, Any]]

    def answer(self) -> None:
        sent = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = self.path.partition("?")[0]
        if "json" in self.headers.get("content-type", ""):
            self.asked.append((self.command, path, json.loads(sent)))
        answer = self.answers.get((self.command, path))
        content = as_bytes(answer["body"]) if answer else b""
        self.send_response(answer["status"] if answer else 404)
        for name, value in (answer["headers"] | {"content-type": answer["content_type"]} if answer else {}).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = answer  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def older_server(recorded: list[dict[str, Any]]) -> Iterator[tuple[str, list[tuple[str, str, Any]]]]:
    answers: dict[tuple[str, str], dict[str, Any]] = {}
    for exchange in recorded:
        request = exchange["request"]
        if exchange["answer"]["status"] < 400:
            answers.setdefault((request["method"], request["path"].partition("?")[0]), exchange["answer"])
    asked: list[tuple[str, str, Any]] = []
    handler = type("Recorded", (Older,), {"answers": answers, "asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
def test_an_older_server_answers_the_client_of_this_version(file: Path) -> None:
    # Given what a server of an older version answers
    recorded = exchanges(file)
    vectors = np.zeros((ROWS, DIM), np.float32)
    with older_server(recorded) as (url, asked), Client(url, retries=0) as client:
        # When the client of this version has a corpus decoded there
        job = client.submit(vectors, batch_size=2, idempotency_key="key", name="rolling").wait(timeout=60)
        # Then it reads all that it is told
        assert job.id == job_of(recorded)
        assert job.job.state is JobState.SUCCEEDED
        assert job.to_arrow().num_rows == ROWS
        assert [row.status for row in job.results()] == [RowStatus.OK] * ROWS
        assert [batch.rows for batch in client.batches(job.id)] == [2] * 3
        assert "ret-v21-minilm" in {decoder.name for decoder in client.decoders()}
    # And it asked for nothing that the older one would have refused, for it refuses fields that it does not know
    older_fields = set(recorded[0]["request"]["body"])
    for method, path, body in asked:
        if (method, path) == ("POST", "/v1/jobs"):
            assert set(body) <= older_fields
            assert set(body["options"]) <= set(recorded[0]["request"]["body"]["options"])


def with_more(answer: Any) -> Any:
    """What a newer server may answer: every object in it has a field that nobody has heard of.

    But for options: those of a job are those that it was sent with.
    """
    if isinstance(answer, list):
        return [with_more(one) for one in answer]
    if isinstance(answer, dict):
        known = {name: one if name == "options" else with_more(one) for name, one in answer.items()}
        return known | {"unheard_of": "something"}
    return answer


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
def test_a_newer_server_may_say_more(file: Path) -> None:
    # Given a server whose answers have fields that this version does not know
    recorded = exchanges(file)
    for exchange in recorded:
        exchange["answer"]["body"] = with_more(exchange["answer"]["body"])
    with older_server(recorded) as (url, _), Client(url, retries=0) as client:
        # When the client of this version asks for a job, its batches and the decoders
        job = client.job(job_of(recorded))
        # Then it reads what it knows, and leaves out the rest
        assert job.job.rows.total == ROWS
        assert not hasattr(job.job, "unheard_of")
        assert [batch.rows for batch in client.batches(job.id)] == [2] * 3
        assert "ret-v21-minilm" in {decoder.name for decoder in client.decoders()}


def test_a_job_says_what_was_asked_for_and_nothing_else() -> None:
    # Given a job with defaults, and one with choices, some of them what is the default here
    plain = JobCreate(embedding_dim=4)
    chosen = JobCreate(
        embedding_dim=4, name="mine", priority=Priority.HIGH, options=DecodeOptions(candidates=8, embed=2)
    )
    # When they are sent, Then what was left as it is, is left to the server
    assert plain.model_dump(mode="json") == {"decoder": plain.decoder, "embedding_dim": 4, "seed": 0, "options": {}}
    # And what was chosen is said, whatever the server's own default is
    assert chosen.model_dump(mode="json") == {
        **plain.model_dump(mode="json"),
        "name": "mine",
        "priority": "high",
        "options": {"candidates": 8, "embed": 2},
    }
    # And both are read as they were meant
    assert [JobCreate.model_validate(each.model_dump(mode="json")) for each in (plain, chosen)] == [plain, chosen]
