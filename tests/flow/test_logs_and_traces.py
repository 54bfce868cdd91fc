"""What a run leaves to read: logs of one form from all parts, and one trace from a request to SQL."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from tests.flow.conftest import DECODER, environment
from tests.flow.traces import Receiver, receiver
from tests.models.decoder import toy
from tests.worker.processes import await_
from unembed.client import Client
from unembed.home import running_server
from unembed.references import CorpusFile
from unembed.schemas import Batch, BatchState, batch_id_of

# Of one run, which is made for this module.
pytestmark = pytest.mark.xdist_group("logs and traces")

UNEMBED = [sys.executable, "-c", "from unembed.cli import main; main()"]
WAIT = 120  # seconds; the machine may be busy
OURS = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"  # a traceparent, of a request's sender


@dataclass
class Run:
    """A run of `unembed up`, of whose jobs one had a batch that failed and was tried again."""

    home: Path
    url: str
    failing: Batch  # when it was done
    submitted: str  # the id of a job of two batches, sent by `unembed submit`
    refused: dict[str, Any]  # the problem that a request met
    refused_id: str  # in that answer's header
    spans: Receiver

    def records(self) -> list[dict[str, Any]]:
        """Every line of every log; each of them is JSON, or this raises."""
        lines = (line for log in sorted((self.home / "logs").iterdir()) for line in log.read_text().splitlines())
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def run(decoders: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("run")
    home, said = folder / "home", folder / "home" / "logs" / "up.log"
    said.parent.mkdir(parents=True)
    with receiver() as spans:
        variables = environment(decoders) | {
            "UNEMBED_CORPUS_ROOTS": str(folder),
            "UNEMBED_BACKOFF": "1",
            "UNEMBED_MAX_ATTEMPTS": "9",
            "OTEL_EXPORTER_OTLP_ENDPOINT": spans.url,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        with said.open("ab") as out:
            process = subprocess.Popen(
                [*UNEMBED, "up", "--home", str(home), "--port", "0", "--flower-port", "0", "--log-format", "json"],
                stdout=out,
                stderr=out,
                env=variables,
                start_new_session=True,
            )
        try:
            await_(lambda: running_server(home) or process.poll() is not None, WAIT, "it is ready")
            server = running_server(home)
            assert server is not None, said.read_text()
            failing = _fail_once(server.url, folder / "corpus.npy")
            submitted = _submit(server.url, folder / "corpus.npy", spans)
            answer = httpx2.get(f"{server.url}/v1/jobs/none", headers={"X-Request-ID": "mine-7"})
            await_(lambda: spans.spans(batch=failing.id, outcome="done"), WAIT, "the last span has come")
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT) == 0, said.read_text()
            yield Run(home, server.url, failing, submitted, answer.json(), answer.headers["X-Request-ID"], spans)
        finally:
            process.kill()
            process.wait()


def _fail_once(url: str, file: Path) -> Batch:
    """A batch by reference whose file is away at its first attempt, and back later."""
    away = file.with_suffix(".away")
    np.save(file, toy.vectors(8))
    with Client(url) as client, httpx2.Client(base_url=url, headers={"traceparent": OURS}) as http:
        handle = client.submit(file, decoder=DECODER, by_reference=True)
        handle.wait(timeout=WAIT)
        reference = next(iter(client.batches(handle.id))).reference
        assert reference is not None
        file.rename(away)
        job = http.post("/v1/jobs", json={"decoder": DECODER, "embedding_dim": toy.DIM, "name": "a\nb"}).json()["id"]
        given = {
            "file": reference.model_dump(mode="json", include=set(CorpusFile.model_fields)),
            "batches": [{"ordinal": 0, "first_index": 0, "rows": 8, "start": 0}],
        }
        answer = http.post(f"/v1/jobs/{job}/batches", json=given)
        assert answer.status_code == 201, answer.text
        http.post(f"/v1/jobs/{job}/seal", json={"batches": 1, "rows": 8})
        found: list[Batch] = []

        def is_(state: BatchState, code: str | None) -> bool:
            found[:] = list(client.batches(job))
            return (found[0].state, found[0].error_code) == (state, code)

        await_(lambda: is_(BatchState.QUEUED, "file_missing"), WAIT, "it has failed")
        away.rename(file)
        await_(lambda: is_(BatchState.DONE, None), WAIT, "it is done")
    return found[0]


def _submit(url: str, file: Path, spans: Receiver) -> str:
    """The id of a job of two batches that the command line sent, with traces, and that is done."""
    done = subprocess.run(
        [*UNEMBED, "submit", str(file), "--decoder", DECODER, "--batch-size", "4", "--url", url],
        env=os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": spans.url},
        capture_output=True,
        text=True,
        check=True,
    )
    with Client(url) as client:
        job = client.job(done.stdout.strip()).wait(timeout=WAIT).id
    await_(lambda: len(spans.spans(job=job, outcome="done")) == 2, WAIT, "its spans have come")
    return job


def test_every_line_of_every_part_is_a_record(run: Run) -> None:
    # Given the logs of a run: of Redis, the API, a worker and its child, Flower, and of `unembed up` itself
    assert {log.name for log in (run.home / "logs").iterdir()} == {
        "api.log",
        "flower.log",
        "redis.log",
        "up.log",
        "worker-cpu0.log",
    }
    # When they are read / Then each line is JSON, and says when, how bad, who, what, and in which part
    records = run.records()
    for record in records:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["time"]), record
        assert record["level"] in ("debug", "info", "warning", "error", "critical"), record
        assert record["logger"], record
        assert record["message"], record
    assert {record["part"] for record in records} == {
        *("api", "flower", "migrations", "redis", "supervisor", "sweeper", "worker"),
    }
    # And in which process, but for what was printed, not logged
    assert all("pid" in record and "process" in record for record in records if record["logger"][-7:] != ".output")
    # And the lines of a worker, of its main process as of its child, name it
    of_worker = [record for record in records if record["part"] == "worker"]
    assert {record["worker"].partition("@")[0] for record in of_worker} == {"cpu0"}
    assert len({record["pid"] for record in of_worker}) == 2


def test_a_failing_batch_is_found_by_its_id_in_the_api_the_worker_and_the_sweeper(run: Run) -> None:
    # Given a batch that failed once, at least, and was done then
    found = [record for record in run.records() if record.get("batch") == run.failing.id]
    # When its id is looked for / Then there it is accepted, it fails, its message is sent again, and it is done
    assert {record["part"] for record in found} == {"api", "sweeper", "worker"}
    assert {record["job"] for record in found} == {run.failing.job_id}
    failed = [record for record in found if record["level"] == "error"]
    assert [record["attempt"] for record in failed] == list(range(1, run.failing.attempt))
    assert {record["error_code"] for record in failed} == {"file_missing"}
    assert all("FileMissingError" in record["exception"] for record in failed)
    (done,) = (record for record in found if record["message"] == "the attempt has ended: done")
    assert done["attempt"] == run.failing.attempt
    # And the job's end is a line too
    assert any(
        record["message"] == "the job has ended: succeeded" and record["job"] == run.failing.job_id
        for record in run.records()
    )


def test_a_request_is_found_by_the_id_that_came_with_it(run: Run) -> None:
    # Given a request with an id of its own that met a problem: its answer and the problem have the id
    assert run.refused_id == "mine-7"
    assert run.refused["request_id"] == "mine-7"
    # When the id is looked for in the log / Then the request is there
    (access,) = (record for record in run.records() if record.get("request_id") == "mine-7")
    assert (access["method"], access["path"], access["status"]) == ("GET", "/v1/jobs/none", 404)
    assert access["logger"] == "uvicorn.access"


def test_one_trace_goes_from_the_request_to_sql_and_an_attempt_more_is_a_span_more(run: Run) -> None:
    # Given the trace that the sender of a batch had begun
    trace = OURS.split("-")[1]
    spans = [span for span in run.spans.spans() if span.trace == trace]
    by_name = {span.name: span for span in spans}
    # When its spans are read / Then the request goes on where the sender was, and the batch is stored within it
    request = by_name["POST /v1/jobs/{job_id}/batches"]
    assert (request.service, request.parent) == ("unembed-api", OURS.split("-")[2])
    stored = by_name["store batches"]
    assert stored.parent == request.id
    # And each attempt is a span of the worker's, after a wait in the queue; the failed ones say why
    attempts = [span for span in spans if span.name == "attempt"]
    assert [span.attributes["unembed.attempt"] for span in attempts] == list(range(1, run.failing.attempt + 1))
    assert {(span.service, span.parent) for span in attempts} == {("unembed-worker", stored.id)}
    assert [span.failed for span in attempts] == [True] * (run.failing.attempt - 1) + [False]
    assert attempts[0].why.startswith("file_missing: ")
    waits = [span for span in spans if span.name == "queue wait"]
    assert len(waits) == len(attempts)
    assert all(wait.ended - wait.began >= 0.9e9 for wait in waits[1:]), "the back-off is a part of the wait"
    # And within the last one the batch was claimed, read, decoded and written, which ended the job
    within = {span.name: span for span in spans if span.parent == attempts[-1].id}
    assert set(within) == {"claim", "read payload", "decode", "write results"}
    assert within["decode"].attributes["unembed.rows"] == 8
    assert within["decode"].attributes["unembed.device"] == "cpu"
    assert within["decode"].attributes["unembed.precision"] == "float32"
    end = by_name["job end"]
    assert end.parent == within["write results"].id
    assert end.attributes["unembed.state"] == "succeeded"
    # And the log's lines of the attempts say in which trace they are
    of_batch = [record for record in run.records() if record.get("batch") == run.failing.id]
    assert {record.get("trace_id") for record in of_batch if record["part"] == "worker"} == {trace}


def test_the_command_that_sent_a_corpus_is_where_its_trace_begins(run: Run) -> None:
    # Given a job of two batches that `unembed submit` has sent
    (submit,) = (span for span in run.spans.spans(job=run.submitted) if span.name == "submit")
    trace = [span for span in run.spans.spans() if span.trace == submit.trace]
    # When its trace is read / Then it begins there, and each of the batches was sent, stored and decoded within it
    assert (submit.service, submit.parent) == ("unembed-cli", "")
    puts = [span for span in trace if span.name == "PUT /v1/jobs/{job_id}/batches/{ordinal}"]
    assert [span.parent for span in puts] == [submit.id] * 2
    stored = {span.parent: span for span in trace if span.name == "store batch"}
    assert set(stored) == {span.id for span in puts}
    attempts = {span.parent: span for span in trace if span.name == "attempt"}
    assert set(attempts) == {span.id for span in stored.values()}
    # And one of them ended the job
    (end,) = (span for span in trace if span.name == "job end")
    assert end.attributes["unembed.state"] == "succeeded"


def test_no_text_and_no_vector_is_in_logs_or_traces(run: Run) -> None:
    # Given the texts that were decoded
    import sqlite3

    with sqlite3.connect(run.home / "unembed.db") as database:
        texts = [text for (text,) in database.execute("SELECT text FROM generations WHERE text <> ''")]
    assert texts
    # When logs and spans are searched for them / Then none is there
    told = "\n".join([json.dumps(run.records()), *(f"{span.name} {span.attributes}" for span in run.spans.spans())])
    assert not [text for text in texts if len(text) > 3 and text in told]
    assert run.failing.id == batch_id_of(run.failing.job_id, 0)
