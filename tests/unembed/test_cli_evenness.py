"""What goes for every verb: JSON, quiet, and the key of a server."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import typer
from pydantic import SecretStr

from tests.builders import DIM
from tests.unembed.conftest import DECODER, Hand, Run, ServeWith
from unembed.cli.app import VERBS, app
from unembed.client import Client
from unembed.schemas import Job, Problem

# These print nothing on stdout, or print JSON always.
WITHOUT_JSON: Final = {
    *("demo", "up", "serve", "worker", "flower", "train", "adapt", "embed", "bank", "hybrid"),
    *("add-sketch", "add-calibration", "add-manifold", "add-self-test", "encoders add"),
}
WITHOUT_QUIET: Final = {"serve", "worker", "flower", "doctor"}


def _verbs(command: Any, name: str = "") -> dict[str, set[str]]:
    """Each verb, with all its options."""
    if hasattr(command, "list_commands"):
        there = {each: command.get_command(None, each) for each in command.list_commands(None)}
        return {key: found for each, one in there.items() for key, found in _verbs(one, f"{name} {each}").items()}
    return {name.strip(): {option for param in command.params for option in param.opts}}


@pytest.fixture(scope="module")
def verbs() -> dict[str, set[str]]:
    return _verbs(typer.main.get_command(app))


def test_every_verb_that_prints_prints_json_too(verbs: dict[str, set[str]]) -> None:
    assert {name for name, options in verbs.items() if "--json" not in options} == WITHOUT_JSON


def test_every_verb_that_says_something_can_be_hushed(verbs: dict[str, set[str]]) -> None:
    assert {name for name, options in verbs.items() if not {"--quiet", "-q"} <= options} == WITHOUT_QUIET


def test_every_verb_that_asks_a_server_takes_its_key(verbs: dict[str, set[str]]) -> None:
    asks = {name for name, options in verbs.items() if "--url" in options}
    assert asks == {name for name, options in verbs.items() if {"--api-key", "--api-key-file"} <= options}
    assert {"decode", "submit", "status", "wait", "results", "cancel", "retry", "rm", "ls", "open", "decoders"} <= asks


def test_no_option_is_there_twice() -> None:
    for verb in VERBS:
        command = typer.main.get_command(app).get_command(None, verb)  # type: ignore[attr-defined]
        options = [option for param in command.params for option in param.opts]
        assert len(options) == len(set(options)), verb


@pytest.fixture
def server(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv("UNEMBED_URL", url)
    np.save(tmp_path / "a.npy", np.linspace(-1, 1, 5 * DIM, dtype=np.float32).reshape(5, DIM))
    return url


def test_a_job_is_the_apis_document_wherever_it_is_printed(run: Run, server: str, hand: Hand) -> None:
    # Given a corpus, When it is submitted, waited for, looked at, cancelled and removed as JSON
    ran = run("submit", "a.npy", "--decoder", DECODER, "--json")
    job = Job.model_validate_json(ran.out)
    hand.work()
    for verb in ("wait", "status"):
        seen = Job.model_validate_json(run(verb, job.id, "--json").out)
        # Then each time stdout is the job as the API has it
        assert (seen.id, seen.state) == (job.id, "succeeded")
    other = Job.model_validate_json(run("submit", "a.npy", "--decoder", DECODER, "--json").out)
    assert Job.model_validate_json(run("cancel", other.id, "--json").out).state == "cancelled"
    assert json.loads(run("rm", other.id, job.id, "--json").out) == [{"id": other.id}, {"id": job.id}]
    assert json.loads(run("ls", "--json").out) == []
    # And a decode prints it when the texts are in their file
    hand.start()
    decoded = Job.model_validate_json(run("decode", "a.npy", "-o", "o.jsonl", "--decoder", DECODER, "--json").out)
    assert decoded.rows.ok == len(Path("o.jsonl").read_text().splitlines()) == 5


def test_decoders_and_dry_runs_are_json_with_the_names_of_the_api(run: Run, server: str) -> None:
    # Given a server, When its decoders are listed, Then they are those of the API
    with Client(server) as client:
        assert json.loads(run("decoders", "--json").out) == [one.model_dump(mode="json") for one in client.decoders()]
    assert DECODER in run("decoders").out
    # And a dry run says rows, errors by code, and the server's estimate
    found = json.loads(run("submit", "a.npy", "--decoder", DECODER, "--dry-run", "--json").out)
    assert (found["rows"], found["embedding_dim"], found["batches"], found["errors"]) == (5, DIM, 1, {})
    assert found["estimate"]["rows"] == 5


def test_the_decoders_of_this_machine_are_listed_where_no_server_runs(run: Run, server_settings: object) -> None:
    # Given no server, but a folder of decoders, When they are listed, Then they come from there
    ran = run("decoders", "--json", "-q")
    assert DECODER in [one["name"] for one in json.loads(ran.out)]
    assert ran.err == ""


@pytest.mark.parametrize(
    ("args", "code", "status", "exit_code"),
    [
        (["status", "nope", "--json"], "not_found", 404, 1),
        (["ls", "--stat", "x", "--json"], "input", 400, 2),
        (["submit", "none.npy", "--json"], "corpus", 400, 2),
        (["ls", "--json", "--url", "http://127.0.0.1:1", "--api-key-file", "none"], "input", 400, 2),
    ],
)
def test_an_error_is_the_apis_problem_document_on_the_last_line_of_stderr(
    run: Run, server: str, args: list[str], code: str, status: int, exit_code: int
) -> None:
    # Given a command that fails, When it is run with --json, Then stdout is empty, and stderr ends with one document
    ran = run(*args)
    assert (ran.code, ran.out) == (exit_code, "")
    problem = Problem.model_validate_json(ran.err.splitlines()[-1])
    assert (problem.code, problem.status) == (code, status)
    assert problem.detail


def test_a_wait_that_gives_up_is_a_problem_too(run: Run, server: str) -> None:
    # Given a job that no worker takes, When it is waited for in vain, Then the problem names the way back
    job = run("submit", "a.npy", "--decoder", DECODER, "-q").out.strip()
    ran = run("wait", job, "--timeout", "0.1", "--json")
    assert (ran.code, ran.out) == (5, "")
    assert f"unembed wait {job}" in Problem.model_validate_json(ran.err).detail


def test_quiet_leaves_the_result_and_the_warnings(run: Run, server: str, hand: Hand) -> None:
    # Given a corpus with a row that cannot be decoded, When it is decoded quietly
    rows = np.ones((5, DIM), np.float32)
    np.save("b.npy", rows)
    hand.start()
    ran = run("decode", "b.npy", "-o", "o.jsonl", "--decoder", DECODER, "-q")
    # Then nothing at all is said
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    # And an id is all that submit says, and wait says nothing
    ran = run("submit", "b.npy", "--decoder", DECODER, "--quiet")
    assert (ran.code, ran.err, len(ran.out.split())) == (0, "", 1)
    assert run("wait", ran.out.strip(), "-q")[1:] == ("", "")
    # And a warning is said all the same, as is an error
    Path("c.jsonl").write_text('{"embedding": [1, 2, 3]}\n{"embedding": null}\n'.replace("[1, 2, 3]", str([0.5] * DIM)))
    ran = run("decode", "c.jsonl", "-o", "o.jsonl", "--decoder", DECODER, "-q")
    assert ran.code == 3
    assert ran.err == "1 of 2 rows holds no vector and is an error row: row 1 is null or missing\n"
    assert run("status", "nope", "-q").err.startswith("error: no job has the id or the name 'nope'")
    # And the next command is as loud as ever
    assert "rows sent; next:" in run("submit", "b.npy", "--decoder", DECODER).err


def test_json_and_texts_cannot_both_be_on_stdout(run: Run, server: str) -> None:
    ran = run("decode", "a.npy", "-o", "-", "--decoder", DECODER, "--json")
    assert ran.code == 2
    assert "name a file with -o" in ran.err


def test_a_key_comes_from_an_option_a_file_or_the_environment(
    run: Run, serve_with: ServeWith, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a server that asks for a key, and a file that holds it
    monkeypatch.setenv("UNEMBED_URL", serve_with(api_keys=(SecretStr("the-key"),)))
    (tmp_path / "key").write_text("the-key\n")
    # When none or a wrong one is sent, Then the code is 4
    assert run("ls").code == 4
    assert run("ls", "--api-key", "another").code == 4
    # And when the right one is named in any way, Then the server answers
    assert run("ls", "--api-key", "the-key").code == 0
    assert run("ls", "--api-key-file", "key").code == 0
    assert run("ls").code == 4, "an option holds for its command alone"
    monkeypatch.setenv("UNEMBED_API_KEY_FILE", "key")
    assert run("ls").code == 0
    with Client() as client:
        assert client.jobs().jobs == [], "in Python too"
    monkeypatch.setenv("UNEMBED_API_KEY", "another")
    assert run("ls").code == 4, "the key itself goes before the file of the environment"
    assert run("ls", "--api-key-file", "key").code == 0, "an option goes before the environment"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--api-key", "k", "--api-key-file", "key"], "both given"),
        (["--api-key-file", "none"], "--api-key-file is 'none', which cannot be read: No such file or directory"),
        (["--api-key-file", "empty"], "which is empty; expected a file with a key"),
        (["--api-key-file", "binary"], "it is no text"),
    ],
)
def test_a_key_that_cannot_be_had_is_said_and_never_shown(run: Run, server: str, args: list[str], says: str) -> None:
    Path("key").write_text("s3cret")
    Path("empty").write_text("\n")
    Path("binary").write_bytes(b"\xff\xfe")
    ran = run("ls", *args)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err
    assert "s3cret" not in ran.err


def test_the_help_says_that_a_key_on_the_command_line_is_seen(run: Run) -> None:
    said = " ".join(run("ls", "--help").out.replace("│", " ").split())
    assert "Others on this machine can see it in the list of processes" in said


def test_the_page_of_a_job_is_printed_where_there_is_no_terminal(run: Run, server: str) -> None:
    # Given a job, When its page is asked for, Then stdout is its address alone
    job = run("submit", "a.npy", "--decoder", DECODER, "--name", "mine", "-q").out.strip()
    assert run("open", "mine").out == f"{server}/jobs/{job}\n"
    assert run("open").out == f"{server}/\n"
    assert json.loads(run("open", job, "--json").out) == {"url": f"{server}/jobs/{job}"}
    assert run("open", "yours").code == 1


def test_the_tables_of_a_database_are_told_as_json(run: Run, tmp_path: Path, database_url: str) -> None:
    # Given a database, When its revision is asked for, and checked, Then both are JSON; an empty one has none
    found = json.loads(run("db", "revision", "--json", "--database-url", database_url).out)
    assert json.loads(run("db", "check", "--json", "--database-url", database_url).out) == found
    with closing(sqlite3.connect(tmp_path / "empty.db")) as empty:
        empty.execute("select 1")
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    assert json.loads(run("db", "revision", "--json", "--database-url", url).out) == {"revision": None}
    assert json.loads(run("db", "upgrade", "--json", "--database-url", url).out) == found | {"before": None}


def test_a_pipe_that_closes_early_is_no_traceback(server: str, client: Client) -> None:
    # Given a job list that is longer than what is read of it
    for _ in range(3):
        client.submit(np.ones((2, DIM), np.float32), decoder=DECODER)
    # When only its first line is read, Then nothing is said about that
    command = f"{Path(sys.executable).with_name('unembed')} ls --json | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == "[\n"
    assert "Traceback" not in done.stderr
