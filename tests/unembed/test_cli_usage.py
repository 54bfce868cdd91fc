"""A command line that is wrong: what was meant is said, on one line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.builders import DIM
from tests.unembed.conftest import DECODER, Run
from unembed.client import Client


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["decod"], "there is no verb 'decod'. Did you mean 'decode'? see unembed --help"),
        (["jobs"], "there is no verb 'jobs'. Did you mean 'ls'?"),
        (["help"], "Did you mean '--help'?"),
        (["xyzzy"], "there is no verb 'xyzzy'; see unembed --help"),
        (["keys", "ad"], "there is no verb 'ad'. Did you mean 'add'? see unembed keys --help"),
        (["ls", "--stat", "running"], "there is no option '--stat'. Did you mean '--state'? see unembed ls --help"),
        (["submit", "a.npy", "--canditates", "4"], "there is no option '--canditates'. Did you mean '--candidates'?"),
        (["ls", "--state", "runing"], "--state is 'runing'; expected receiving, queued, running,"),
        (["ls", "--state", "runing"], "Did you mean 'running'?"),
        (["submit", "a.npy", "--priority", "hihg"], "expected high, normal, low. Did you mean 'high'?"),
        (["submit", "a.npy", "--rank-by", "sketsh"], "'decoder'. Did you mean 'sketch'?"),
        (["submit", "a.npy", "--cells", "INT8"], "Did you mean 'int8'?"),
        (["submit", "a.npy", "--input-format", "jsn"], "Did you mean 'json'?"),
        (["decode", "a.npy", "-o", "o", "--format", "parket"], "Did you mean 'parquet'?"),
        (["ls", "--limit"], "--limit has no value; see unembed ls --help"),
        (["ls", "--limit", "0"], "--limit is '0'; expected at least 1"),
        (["ls", "--limit", "many"], "--limit is 'many'; expected a whole number"),
        (["ls", "all"], "'all' is one argument too many"),
        (["status"], "JOB is missing: the id of a job"),
        (["decode", "a.npy"], "--output (-o) is missing: a .parquet, .arrow,"),
    ],
)
def test_a_wrong_word_is_named_with_the_one_that_was_meant(run: Run, args: list[str], says: str) -> None:
    # Given a file, and a command line with a wrong word, When it is run
    np.save("a.npy", np.ones((2, DIM), np.float32))
    ran = run(*args)
    # Then one line says which word, and what was meant; the code is that of wrong usage
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err
    assert len(ran.err.splitlines()) == 1
    assert ran.err.startswith("error: ")


def test_a_decoder_a_job_and_a_label_that_are_misspelt_are_named(
    run: Run, url: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a server with a decoder and a job
    monkeypatch.setenv("UNEMBED_URL", url)
    np.save("a.npy", np.ones((2, DIM), np.float32))
    client.submit("a.npy", decoder=DECODER, name="nightly", labels={"team": "search"})
    # When their names are misspelt, Then the right ones are said
    assert f"Did you mean {DECODER!r}?" in run("submit", "a.npy", "--decoder", "toyy").err
    ran = run("status", "nigthly")
    assert ran.code == 1
    assert "no job has the id or the name 'nigthly'. Did you mean 'nightly'?" in ran.err
    assert "no jobs. Did you mean 'team=search'?" in run("ls", "--label", "tem=search").err
    assert "no jobs. Did you mean 'nightly'?" in run("ls", "--name", "nigthly").err
    assert f"no jobs. Did you mean {DECODER!r}?" in run("ls", "--decoder", "tyo").err
    # And where nothing is near, nothing is guessed
    assert run("ls", "--label", "zzz").err == "no jobs\n"


def test_a_job_is_named_by_its_name_while_it_is_the_only_one(
    run: Run, url: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a job, and one with its name inside a longer name
    monkeypatch.setenv("UNEMBED_URL", url)
    vectors = np.ones((2, DIM), np.float32)
    job = client.submit(vectors, decoder=DECODER, name="a night/1")
    client.submit(vectors, decoder=DECODER, name="not a night/1")
    # When it is named, Then it is found
    assert json.loads(run("status", "a night/1", "--json").out)["id"] == job.id
    # And when another one has the name, Then none of them is touched, and their ids are said
    other = client.submit(vectors, decoder=DECODER, name="a night/1")
    ran = run("cancel", "a night/1")
    assert ran.code == 2
    assert f"2 jobs have the name 'a night/1'; name one by its id, the newest first: {other.id}, {job.id}" in ran.err
    assert client.job(job.id).job.state == "queued"


def test_without_a_verb_the_verbs_are_shown(run: Run) -> None:
    # Given nothing, When it is run, Then the help comes, with the code of wrong usage
    ran = run()
    assert ran.code == 2
    assert " decode " in ran.out + ran.err
    assert "error" not in ran.err
