"""The script, the shell script for cron, and xargs: they write the texts, repeat nothing, and end as the job did."""

from __future__ import annotations

import re
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.unembed.examples.conftest import EXAMPLES, ROWS, Sh
from unembed.client import Client

DAY = "2026-01-31"
TEXTS = Path("texts.parquet")


class Ended(NamedTuple):
    code: int
    out: str
    err: str


Night = Callable[..., Ended]


@pytest.fixture(params=["nightly.py", "nightly.sh"])
def night(
    request: pytest.FixtureRequest, sh: Sh, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Night:
    """Runs one of the two scripts."""

    def in_bash(*words: str) -> Ended:
        done = sh("bash", EXAMPLES / "nightly.sh", *words)
        return Ended(done.returncode, done.stdout, done.stderr)

    def in_this_process(*words: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["nightly.py", *words])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(EXAMPLES / "nightly.py"), run_name="__main__")
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, *capsys.readouterr())

    return in_bash if request.param == "nightly.sh" else in_this_process


def test_a_night_is_decoded_once_however_often_it_is_run(night: Night, server: str) -> None:
    # Given a corpus, When its night is run twice
    for _ in range(2):
        ended = night("corpus.parquet", "texts.parquet", DAY)
        # Then the texts are there, in order, the code is 0, and cron has nothing to mail but what the script says
        assert (ended.code, ended.out) == (0, "")
        assert re.fullmatch(r"(7 rows of job \w+, now succeeded, are in texts.parquet\n)?", ended.err)
        assert pq.read_table(TEXTS)["text"].to_pylist() == [f"text {at}" for at in range(ROWS)]
    # And there is one job, with the names to find it by
    with Client(server) as client:
        (job,) = client.jobs().jobs
    assert job.name == job.idempotency_key == f"corpus.parquet of {DAY}"
    assert job.labels == {"pipeline": "nightly"}


def test_rows_without_a_text_are_told_by_the_code_and_the_others_are_written(night: Night, server: str) -> None:
    # Given a corpus of which one row is no vector, When its night is run
    rows = np.ones((3, 384), np.float32)
    rows[1, 0] = np.nan
    np.save("corpus.npy", rows)
    ended = night("corpus.npy", "texts.parquet")
    # Then the code is 3, something is said, and the file has all rows
    assert ended.code == 3
    assert "job " in ended.err
    assert pq.read_table(TEXTS)["text"].to_pylist() == ["text 0", None, "text 2"]


def test_without_a_corpus_the_night_ends_with_a_line_and_the_code(night: Night, idle: str) -> None:
    ended = night("none.parquet", "texts.parquet")
    assert ended.code == 2
    assert re.fullmatch(r"error: [^\n]+\n", ended.err)
    assert not TEXTS.exists()


def test_a_night_whose_job_was_cancelled_has_failed(night: Night, idle: str) -> None:
    # Given a night whose job somebody has cancelled, When it is run, Then the code is 1
    with Client(idle) as client:
        client.submit("corpus.parquet", idempotency_key=f"corpus.parquet of {DAY}").cancel()
    assert night("corpus.parquet", "texts.parquet", DAY).code == 1


def test_many_files_are_a_job_each(sh: Sh, server: str) -> None:
    # Given files, one with a space in its name, and one that is sent already, When xargs sends them
    shutil.copy("corpus.parquet", "another corpus.parquet")
    done = sh("bash", EXAMPLES / "many_files.sh", "corpus.parquet", "another corpus.parquet")
    # Then each has a job, and a file of texts under the job's id
    assert (done.returncode, done.stderr) == (0, "")
    with Client(server) as client:
        jobs = client.jobs().jobs
    assert {re.sub(" of .*", "", str(job.idempotency_key)) for job in jobs} == {
        "corpus.parquet",
        "another corpus.parquet",
    }
    for job in jobs:
        assert pq.read_table(f"{job.id}.parquet").num_rows == ROWS
    # And when one cannot be sent, Then the code says so
    assert sh("bash", EXAMPLES / "many_files.sh", "none.parquet").returncode == 123


@pytest.mark.skipif(shutil.which("flock") is None, reason="flock is not installed")
def test_the_line_for_cron_lets_no_second_run_begin(sh: Sh, folder: Path) -> None:
    # Given the line in the script, with the paths of this folder, and somebody who holds the lock
    line = next(each for each in (EXAMPLES / "nightly.sh").read_text().splitlines() if "* * *" in each)
    command = line.partition("* * *")[2].replace("/srv/unembed", str(EXAMPLES)).replace("/data", str(folder))
    command = command.replace("/tmp/unembed-nightly.lock", str(folder / "lock"))
    # When it is run, Then it ends with 75; and without the lock it goes as far as it can without a server
    assert sh("flock", folder / "lock", "bash", "-c", command).returncode == 75
    assert sh("bash", "-c", command).returncode == 5
