from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.builders import DIM
from tests.unembed.conftest import DECODER, Hand, Run, ServeWith
from unembed.cli import options
from unembed.cli.app import VERBS
from unembed.cli.options import SayBusy
from unembed.client import Client
from unembed.job import JobHandle
from unembed.schemas import DecodeOptions, JobState


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """25 rows, of which row 3 is not finite."""
    rows = np.linspace(-1, 1, 25 * DIM, dtype=np.float32).reshape(25, DIM)
    rows[3, 0] = np.nan
    np.save(tmp_path / "a.npy", rows)
    return tmp_path / "a.npy"


@pytest.fixture
def server(url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A server that the environment names."""
    monkeypatch.setenv("UNEMBED_URL", url)
    return url


def test_every_verb_has_help(run: Run) -> None:
    # Given the verbs, When each is asked for help, Then it has some, and the list of them shows it
    listed = run("--help").out
    for verb in VERBS:
        assert f" {verb} " in listed
        assert run(verb, "--help").code == 0


def test_a_word_that_is_no_verb_is_a_usage_error(run: Run) -> None:
    # Given no such verb, When it is used, Then the code is 2
    ran = run("decod")
    assert (ran.code, ran.out) == (2, "")
    assert "decod" in ran.err


def test_decode_writes_the_file_and_says_where_the_time_went(run: Run, server: str, hand: Hand, corpus: Path) -> None:
    # Given a server with a worker
    hand.start()
    # When a corpus with one bad row is decoded
    ran = run("decode", corpus, "-o", "out.parquet", "--decoder", DECODER, "--batch-size", 10)
    # Then the file has every row, the summary the counts and the parts, and the code says partial
    assert ran.code == 3, ran.err
    assert pq.read_table("out.parquet")["index"].to_pylist() == list(range(25))
    assert ran.out == ""
    for part in ("24 ok, 0 fallback, 1 error", "not_finite", "rows/s", "waited", "load", "decode", "score", "write"):
        assert part in ran.err
    assert "25 rows written to out.parquet" in ran.err
    # And both tell of the two vectors that are of no text
    assert "off manifold" in ran.err
    assert pq.read_table("out.parquet")["off_manifold"].to_pylist() == [True] * 2 + [False, None] + [False] * 21


def test_rows_without_a_vector_or_an_id_are_told_and_cost_no_other(
    run: Run, server: str, hand: Hand, tmp_path: Path
) -> None:
    # Given a batch output of which one request failed, and one row has no id
    answers = [
        {"custom_id": f"doc-{at}", "response": {"body": {"data": [{"embedding": [0.5] * DIM}]}}} for at in range(4)
    ]
    answers[1]["response"], answers[2]["custom_id"] = None, None
    (tmp_path / "out.jsonl").write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    hand.start()
    # When it is decoded without a word of where its vectors lie
    ran = run("decode", "out.jsonl", "-o", "texts.parquet", "--decoder", DECODER)
    # Then the others have their texts, and what was taken and lost is said
    assert ran.code == 3
    rows = pq.read_table("texts.parquet")
    assert rows["id"].to_pylist() == ["doc-0", "doc-1", None, "doc-3"]
    assert rows["status"].to_pylist() == ["ok", "error", "ok", "ok"]
    said = " ".join(ran.err.split())
    assert "vectors from 'response.body.data.0.embedding', ids from 'custom_id'" in said
    assert "1 of 4 rows holds no vector and is an error row: row 1 is null or missing" in said
    assert "1 of 4 rows has no id" in said


def test_a_query_of_a_store_is_a_corpus(run: Run, server: str, hand: Hand, tmp_path: Path) -> None:
    # Given a database of which one row has no vector
    with closing(sqlite3.connect(tmp_path / "docs.db")) as database, database:
        database.execute("create table docs (id text, title text, embedding blob)")
        vector = np.full(DIM, 0.5, np.float32).tobytes()
        rows = [("a", "A", vector), ("b", "B", None), ("c", "C", vector)]
        database.executemany("insert into docs values (?, ?, ?)", rows)
    hand.start()
    # When a query of it is decoded
    query = ("--query", "select * from docs order by id")
    ran = run("decode", "sqlite:docs.db", *query, "--carry", "title", "-o", "texts.parquet", "--decoder", DECODER)
    # Then its rows are those of the texts, and bring their other columns along
    assert ran.code == 3
    rows = pq.read_table("texts.parquet")
    assert rows["id"].to_pylist() == ["a", "b", "c"]
    assert rows["status"].to_pylist() == ["ok", "error", "ok"]
    assert rows["title"].to_pylist() == ["A", "B", "C"]
    assert f"sqlite:docs.db: 3 embeddings of {DIM} dimensions, float32" in ran.err
    # And without a query the tables are named
    ran = run("decode", "sqlite:docs.db", "-o", "texts.parquet")
    assert ran.code == 2
    assert "such as --query 'select id, embedding from docs'; its tables are 'docs'" in ran.err


def test_submit_prints_the_id_and_nothing_else_on_stdout(run: Run, server: str, hand: Hand, corpus: Path) -> None:
    # Given a server, When a corpus is submitted
    ran = run("submit", corpus, "--decoder", DECODER, "--batch-size", 10, "--seed", 7)
    job = ran.out.removesuffix("\n")
    # Then stdout is the id, and the job is there with the seed, under the file's name
    assert ran.code == 0
    assert "\n" not in job
    with Client(server) as client:
        found = client.job(job).job
    assert (found.seed, found.name, found.batches.total) == (7, "a.npy", 3)
    # And its idempotency key is shown, then and later; under it, the corpus is that job again
    assert f"idempotency key, to submit it again under: {found.idempotency_key}" in ran.err
    assert str(found.idempotency_key) in run("status", job).out
    again = ("--seed", 7, "--idempotency-key", found.idempotency_key)
    assert run("submit", corpus, "--decoder", DECODER, "--batch-size", 10, *again).out.strip() == job


def test_a_submit_that_is_interrupted_says_how_to_go_on(
    run: Run, server: str, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a person who presses Ctrl-C while the corpus is sent
    def press(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("unembed.calls.submission._send", press)
        ran = run("submit", corpus, "--decoder", DECODER)
    # When they do as they are told, Then it is the same job, and sent whole
    with Client(server) as client:
        (job,) = client.jobs().jobs
    assert (ran.code, ran.out) == (130, "")
    assert f"to go on with it, run the same command with --idempotency-key {job.idempotency_key}" in ran.err
    ran = run("submit", corpus, "--decoder", DECODER, "--idempotency-key", job.idempotency_key)
    assert (ran.code, ran.out.strip()) == (0, job.id)


@pytest.mark.parametrize("verb", ["decode", "submit"])
def test_every_way_of_decoding_reaches_the_worker(run: Run, server: str, hand: Hand, corpus: Path, verb: str) -> None:
    # Given every option of decoding at a value of its own
    given = {
        "candidates": 9, "rank_by": "decoder", "embed": 5, "edits": 2, "beams": 4, "length_penalty": 0.5,
        "temperature": 0.6, "top_k": 20, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.1, "no_repeat_ngram": 3,
        "max_pieces": 40, "round_trip": True, "scores": "none",
    }  # fmt: skip
    assert given.keys() == DecodeOptions.model_fields.keys()
    flags: list[object] = []
    for name, value in given.items():
        flags += [f"--{name.replace('_', '-')}"] + ([] if value is True else [value])
    # When a corpus is decoded with them as flags
    hand.start()
    ran = run(verb, corpus, "--decoder", DECODER, *flags, *(["-o", "out.csv"] if verb == "decode" else []))
    assert ran.code in (0, 3), ran.err
    # Then the job that a worker claims has them all
    with Client(server) as client:
        assert client.jobs().jobs[0].options == DecodeOptions.model_validate(given)


def test_a_job_is_found_by_its_labels(run: Run, server: str, corpus: Path) -> None:
    # Given two jobs, one with labels
    job = run("submit", corpus, "--decoder", DECODER, "--label", "team=search", "--label", "run=[red]=2").out.strip()
    other = run("submit", corpus, "--decoder", DECODER, "--name", "other").out.strip()
    # When jobs are listed by label or name, Then they are found, and the labels are shown as they are
    assert [found["id"] for found in json.loads(run("ls", "--json", "--label", "team=search").out)] == [job]
    assert [found["id"] for found in json.loads(run("ls", "--json", "--name", "OTHER").out)] == [other]
    assert "team=search, run=[red]=2" in run("status", job).out
    # And a label without a value, or by a name that none can have, is refused
    assert "labels.[run]" in run("submit", corpus, "--label", "[run]=1").err
    assert "--label is 'team'; expected NAME=VALUE" in run("submit", corpus, "--label", "team").err


def test_a_webhook_is_asked_for_with_a_secret(
    run: Run, server: str, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given no secret, or one that is too short, When a webhook is asked for, Then nothing is sent
    submit = ("submit", corpus, "--decoder", DECODER, "--webhook", "https://example.org/hook")
    assert "--webhook needs UNEMBED_WEBHOOK_SECRET" in run(*submit).err
    monkeypatch.setenv("UNEMBED_WEBHOOK_SECRET", "whsec_c2hvcnQ=")
    refused = run(*submit)
    assert ("UNEMBED_WEBHOOK_SECRET is set, but not usable" in refused.err, "c2hvcnQ" in refused.err) == (True, False)
    # And with one, then the job has it
    monkeypatch.setenv("UNEMBED_WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    job = run(*submit).out.strip()
    assert httpx2.get(f"{server}/v1/jobs/{job}/webhook").json()["url"] == "https://example.org/hook"


def test_a_job_is_followed_with_status_wait_results_and_ls(run: Run, server: str, hand: Hand, corpus: Path) -> None:
    # Given a job of which a part is done
    job = run("submit", corpus, "--decoder", DECODER, "--batch-size", 10).out.strip()
    hand.work(limit=1)
    # When it is looked at, Then status, ls and results say so, to people and to programs
    assert "9 ok, 0 fallback, 1 error, 15 not decoded" in run("status", job).out
    assert json.loads(run("status", job, "--json").out)["rows"] == {
        "total": 25,
        "ok": 9,
        "fallback": 0,
        "error": 1,
        "unwritten": 0,
    }
    assert job in run("ls").out
    assert [found["id"] for found in json.loads(run("ls", "--json", "--state", "running").out)] == [job]
    ran = run("results", job)
    assert "text 0" in ran.out
    assert "10 of 25 rows are finished so far" in ran.err
    # And when the rest is done, wait and status --watch end with the code of a partial job
    hand.work()
    assert run("wait", job).code == 3
    assert run("status", job, "--watch").code == 3
    # And results has all rows, or as many as are asked for
    lines = run("results", job, "--json").out.splitlines()
    assert [json.loads(line)["index"] for line in lines] == list(range(25))
    assert len(run("results", job, "--json", "--limit", 2).out.splitlines()) == 2
    assert run("results", job, "-o", "rows.csv").code == 0
    assert len(Path("rows.csv").read_text().splitlines()) == 26


def test_cancel_keeps_what_is_done(run: Run, server: str, hand: Hand, corpus: Path) -> None:
    # Given a job with one batch done
    job = run("submit", corpus, "--decoder", DECODER, "--batch-size", 10).out.strip()
    hand.work(limit=1)
    # When it is cancelled, Then it says what stays, and waiting for it ends with 1
    assert "10 of 25 rows are done and stay" in run("cancel", job).err
    assert run("wait", job).code == 1


def test_waiting_ends_at_its_timeout_with_the_way_back(run: Run, server: str, corpus: Path) -> None:
    # Given a job that no worker takes, When it is waited for, Then the code is 5 and the command to go on is there
    job = run("submit", corpus, "--decoder", DECODER).out.strip()
    ran = run("wait", job, "--timeout", 0.2)
    assert ran.code == 5
    assert f"unembed wait {job}" in ran.err


def test_an_interrupt_leaves_the_job_and_says_how_to_go_on(
    run: Run, server: str, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a person who presses Ctrl-C while waiting
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(JobHandle, "wait", interrupted)
    # When a corpus is decoded
    ran = run("decode", corpus, "-o", "out.parquet", "--decoder", DECODER)
    # Then the code is 130, the job goes on, and the commands to come back are there
    with Client(server) as client:
        (job,) = client.jobs().jobs
    assert (ran.code, job.state) == (130, JobState.QUEUED)
    assert f"unembed wait {job.id} && unembed results {job.id} -o out.parquet" in ran.err


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["decode", "none.npy", "-o", "o.csv"], 2, "none.npy does not exist"),
        (["decode", "a.npy", "-o", "o.txt"], 2, "suffix '.txt'"),
        (["decode", "a.npy", "-o", "o.csv", "--decoder", "nobody"], 2, "'nobody'"),
        (["decode", "a.npy", "-o", "o.csv", "--temperature", "9"], 2, "--temperature is 9.0"),
        (["decode", "a.npy", "-o", "o.csv", "--candidates", "65"], 2, "--candidates is 65; expected at most 64"),
        (["submit", "a.npy", "--beams", "0"], 2, "--beams is 0; expected at least 1"),
        (["submit", "a.npy", "--min-p", "2"], 2, "--min-p is 2.0; expected at most 1"),
        (["submit", "a.npy", "--length-penalty", "9"], 2, "--length-penalty is 9.0"),
        (["worker", "--gpu-memory", "much"], 2, "--gpu-memory is 'much'; expected bytes, or a size with a unit"),
        (["decode", "a.npy", "-o", "out.csv", "--gpu-memory", "-1"], 2, "--gpu-memory is '-1'; expected bytes"),
        (["submit", "a.npy", "--rank-by", "luck"], 2, "--rank-by is 'luck'; expected 'auto', 'sketch' or"),
        (["submit", "a.npy", "--candidates", "4", "--beams", "2"], 2, "candidates is 4 with beams 2"),
        (["decode", "a.npy", "-o", "o.csv", "--column", "x"], 2, "no column 'x'"),
        (["submit", "a.npy", "--decoder", DECODER, "--batch-size", "0"], 2, "--batch-size"),
        (["status", "nope"], 1, "nope"),
        (["status", "nope", "--url", "localhost"], 2, "must look like http://"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_a_code(
    run: Run, server: str, corpus: Path, args: list[str], code: int, says: str
) -> None:
    # Given something that cannot be done, When it is asked for, Then it is an error and never a traceback
    ran = run(*args)
    assert (ran.code, ran.out) == (code, "")
    assert says in ran.err
    assert "Traceback" not in ran.err


def test_no_server_is_code_5_and_says_how_to_get_one(run: Run) -> None:
    # Given no server, When jobs are listed, Then the code is 5
    ran = run("ls")
    assert ran.code == 5
    assert "unembed up" in ran.err


def test_no_room_is_code_5_when_nobody_waits_for_it(
    run: Run, serve_with: ServeWith, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a queue that is full, and a client that does not wait until there is room
    monkeypatch.setenv("UNEMBED_URL", serve_with(max_queued_rows=25))
    assert run("submit", corpus, "--decoder", DECODER).code == 0
    monkeypatch.setattr(options, "Client", partial(Client, busy_timeout=0.0))
    # When a corpus is sent, Then the code is that of what may work later
    ran = run("submit", corpus, "--decoder", DECODER, "--name", "later")
    assert (ran.code, ran.out) == (5, "")
    assert "25 more would pass the limit of 25" in ran.err


def test_retry_says_what_waits_and_what_stays_dead(run: Run, server: str, hand: Hand, client: Client) -> None:
    # Given a job of two dead batches, of which one has lost its vectors
    vectors = np.ones((6, DIM), np.float32)
    job = client.submit(vectors, decoder=DECODER, batch_size=3)
    hand.fail(0)
    hand.fail(1)
    hand.lose_payload(f"{job.id}-0")
    # When it is retried, Then the one waits, and it is said how the other can come back
    ran = run("retry", job.id)
    assert (ran.code, ran.out) == (0, "")
    assert f"unembed wait {job.id}" in ran.err
    assert "lost their vectors: 1 of its batches" in ran.err
    assert "--idempotency-key" in ran.err
    # And of a job that has nothing dead there is nothing to retry
    hand.work()
    hand.lose_payload(f"{job.id}-1")
    assert run("retry", job.id).code == 1


def test_the_rows_of_a_dead_batch_are_errors_wherever_they_are_counted(
    run: Run, server: str, hand: Hand, client: Client
) -> None:
    # Given a job of two batches, of which one is dead and one is done
    job = client.submit(np.ones((6, DIM), np.float32), decoder=DECODER, batch_size=3)
    hand.fail(0)
    hand.work()
    # Then the job, its results, its status and the list say the same
    rows = job.refresh().rows
    assert (rows.ok, rows.error, rows.written) == (3, 3, 6)
    statuses = [row.status.value for row in job.results(order="index")]
    assert statuses == ["error"] * 3 + ["ok"] * 3
    assert "6 of 6: 3 ok, 0 fallback, 3 error" in " ".join(run("status", job.id).out.split())
    assert "not decoded" not in run("status", job.id).out
    assert " 6/6 3 " in " ".join(run("ls").out.split())
    # And when it is tried again and done, none is left
    run("retry", job.id)
    hand.work()
    assert job.refresh().rows.error == 0


def test_rm_removes_what_has_ended(run: Run, server: str, hand: Hand, client: Client) -> None:
    # Given two ended jobs, and one that waits
    vectors = np.ones((2, DIM), np.float32)
    ended = [client.submit(vectors, decoder=DECODER) for _ in range(2)]
    hand.work()
    waits = client.submit(vectors, decoder=DECODER)
    # When they are removed, Then the two are gone, and the third is there and says what to do
    ran = run("rm", *(job.id for job in ended), waits.id)
    assert ran.code == 1
    assert [f"the job {job.id} is removed" in ran.err for job in ended] == [True, True]
    assert "cancel it" in ran.err
    assert [job.id for job in client.jobs().jobs] == [waits.id]


def test_a_server_without_room_is_no_silence(
    run: Run, serve_with: ServeWith, hand: Hand, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a server with room for ten rows, and a worker that begins when somebody was refused
    url = serve_with(max_queued_rows=10)
    say = SayBusy.__call__

    def say_and_work(self: SayBusy, why: str, pause: float) -> None:
        say(self, why, pause)
        hand.start()

    monkeypatch.setattr(SayBusy, "__call__", say_and_work)
    # When 25 rows are submitted, in more batches than are sent at once and may pass the limit together
    ran = run("submit", corpus, "--decoder", DECODER, "--batch-size", 1, "--url", url)
    # Then it is said once why it takes so long, and the job is sent whole
    assert ran.code == 0
    assert ran.err.count("the server has no room yet") == 1
    assert "limit of 10" in ran.err
