"""The reference of the API, and its examples, each of which is run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import uvicorn
from fastapi.testclient import TestClient
from pydantic import SecretStr

from tests import services
from tests.builders import make_job, run_job
from unembed.api.app import create_app
from unembed.api.pages.examples import EXAMPLES
from unembed.api.pages.schema_words import words_of
from unembed.models.database import create_engine, upgrade
from unembed.models.payloads import Payloads
from unembed.models.settings import Settings
from unembed.models.sqlite import sqlite_url
from unembed.models.store import Store
from unembed.schemas import Job

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

# An example that ends otherwise than with a 2xx, for want of what only a deployment has.
OTHERWISE = {"read_webhook": 404}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("reference")
    with services.redis_server() as redis_url:
        settings = Settings(
            database_url=sqlite_url(folder / "unembed.db"), redis_url=redis_url, corpus_roots=("/data/corpora",)
        )
        engine = create_engine(settings.database_url)
        upgrade(engine)
        yield Store(engine, settings)
        engine.dispose()


@pytest.fixture(scope="module")
def address(store: Store) -> Iterator[str]:
    """Of a real server."""
    server = uvicorn.Server(uvicorn.Config(create_app(store.settings), host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server has ended before it started"
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(60)


def job_for(store: Store, operation: str) -> Job:
    """A job in the state that this operation is for: it still receives, or a batch of it is dead, or it has ended."""
    job = make_job(store, embedding_dim=384)
    if operation in ("put_batch", "post_batches"):
        return job
    batch, _ = store.jobs.add_batch(job.id, 0, 0, 1, 1536, "0" * 64)
    if operation in ("seal_job", "cancel_job"):
        return job
    store.jobs.seal(job.id, 1, 1)
    if operation != "retry_job":
        return run_job(store, job)
    with closing(Payloads.at(store.settings.redis_url, 600)) as payloads:
        payloads.put(batch.id, b"its vectors")
    while claim := store.attempts.claim(batch.id, "cpu0@here", 60.0):
        store.attempts.fail(batch.id, claim.attempt, "decode_failed", "for a test", final=True)
    return store.jobs.get(job.id)


def run(command: str, folder: Path, **variables: str) -> tuple[str, int]:
    """What a shell prints for an example, and the status of the answer."""
    # The status goes where the example's own output does not.
    curl = 'curl() { command curl -w "%{stderr}%{http_code}" "$@"; }\n'
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", curl + command],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout, int(ran.stderr[-3:])


@pytest.mark.parametrize("operation", EXAMPLES)
def test_an_example_runs_as_it_stands(store: Store, address: str, tmp_path: Path, operation: str) -> None:
    # Given what earlier examples have made: a job, a file, a batch
    variables = {"API": address}
    if "$JOB" in EXAMPLES[operation]:
        variables["JOB"] = job_for(store, operation).id
    if "$FILE" in EXAMPLES[operation] or "$BATCH" in EXAMPLES[operation]:
        variables["FILE"] = json.loads(run(EXAMPLES["upload_file"], tmp_path, **variables)[0])["id"]
    if "$BATCH" in EXAMPLES[operation]:
        variables["BATCH"] = json.loads(run(EXAMPLES["create_openai_batch"], tmp_path, **variables)[0])["id"]
    # When the example is pasted into a shell
    said, status = run(EXAMPLES[operation], tmp_path, **variables)
    # Then it does what it says
    assert status == OTHERWISE.get(operation, status), said
    assert operation in OTHERWISE or status in (200, 201, 204), said


@on_sqlite
def test_every_operation_is_there_with_an_example(browser: TestClient) -> None:
    page = browser.get("/docs").text
    described = browser.get("/openapi.json").json()
    operations = {each["operationId"] for methods in described["paths"].values() for each in methods.values()}
    assert operations == {*EXAMPLES}
    for each in operations:
        assert f'<h3 id="{each}">' in page
        assert f'href="#{each}"' in page
    # And every schema, and no link leads to one that is not there
    anchors = set(re.findall(r'id="([^"]+)"', page))
    assert {f"schema-{name}" for name in described["components"]["schemas"]} <= anchors
    assert set(re.findall(r'href="#([^"]+)"', page)) <= anchors


@on_sqlite
def test_an_operation_says_what_it_takes_and_answers(browser: TestClient) -> None:
    page = " ".join(browser.get("/docs").text.split())
    part = page[page.index('<h3 id="put_batch">') : page.index('<h3 id="read_batch">')]
    assert "Sending the same batch again is safe." in part
    assert '<th scope="row"><code>first_index</code></th><td>query, needed</td>' in part
    assert "float16 or float32 or float64" in part
    assert "<code>application/vnd.apache.arrow.stream</code> or <code>application/octet-stream</code>" in part
    assert '<dt>201</dt><dd><a href="#schema-Batch">Batch</a></dd>' in part
    assert "<dt>408</dt>" in part
    # What any request may be answered is said once
    assert "<dt>401</dt>" not in page


@on_sqlite
def test_the_reference_needs_no_key_and_nothing_from_elsewhere(browse: Callable[..., TestClient]) -> None:
    # Given a server with a key, When its reference is read without one
    answer = browse(api_keys=(SecretStr("the-key"),)).get("/docs")
    # Then it is there, as /openapi.json is, and loads nothing from elsewhere
    assert answer.status_code == 200
    assert not re.search(r'(src|href)="(https?:)?//', answer.text)
    # And it names the server that was asked
    assert "export API=http://127.0.0.1:8765" in answer.text


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "string"}, "string"),
        ({"type": "string", "maxLength": 200, "minLength": 1, "pattern": r"^[^\x00]*$"}, "string, 1 to 200 characters"),
        ({"type": "string", "pattern": "^whsec_"}, "string, ^whsec_"),
        (
            {"type": "integer", "minimum": 0, "exclusiveMaximum": 2147483648},
            "integer, 0 or more and below 2,147,483,648",
        ),
        ({"type": "integer", "format": "int64", "minimum": 1}, "integer, int64, 1 or more"),
        ({"type": "number", "minimum": 0.0, "maximum": 1.0, "default": 0.5}, "number, 0 to 1; 0.5 if not given"),
        ({"anyOf": [{"$ref": "#/components/schemas/Job"}, {"type": "null"}]}, "Job or null"),
        ({"enum": ["a", "b"], "default": "a"}, "a or b; a if not given"),
        ({"type": "array", "items": {"type": "string"}, "maxItems": 3}, "list of string, 3 of them at most"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "object of integer by name"),
        ({"type": "object", "patternProperties": {"^a": {"type": "string"}}}, "object of string by name"),
        ({"type": "boolean", "default": False}, "boolean; false if not given"),
        ({"const": 1}, "1"),
        ({}, "anything"),
    ],
)
def test_a_schema_is_said_in_words(schema: dict[str, object], says: str) -> None:
    assert words_of(schema).text == says
