"""What goes in, by the command line: several IN, and the first line, which says what was read."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.builders import DIM
from tests.unembed.conftest import DECODER, Run
from unembed.client import Client

VECTORS = np.random.default_rng(3).normal(size=(6, DIM)).astype(np.float32)


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    """A folder that the server may read."""
    (tmp_path / "corpora").mkdir()
    return tmp_path / "corpora"


def submitted(run: Run, url: str, client: Client, *given: object) -> tuple[str, str | None, int]:
    """What was said, and the job's name and rows."""
    ran = run("submit", *given, "--decoder", DECODER, "--url", url)
    assert ran.code == 0, ran.err
    job = client.job(ran.out.strip()).job
    return ran.err.splitlines()[0], job.name, job.rows.total


@pytest.mark.parametrize("more", [[], ["--by-reference"]])
def test_several_files_are_one_job(run: Run, url: str, client: Client, corpora: Path, more: list[str]) -> None:
    # Given shards in a folder
    for shard in (0, 1, 10):
        np.save(corpora / f"part-{shard}.npy", VECTORS[:2])
    # When they are listed, as the shell does, or named as a folder or a pattern, Then they are one job
    listed = sorted(corpora.glob("*.npy"))
    said, name, rows = submitted(run, url, client, *listed, *more)
    assert (name, rows) == ("part-0.npy and 2 more", 6)
    assert submitted(run, url, client, corpora, *more)[1:] == (corpora.name, 6)
    assert submitted(run, url, client, f"{corpora}/part-1*", *more)[1:] == ("part-1*", 4)
    if not more:
        assert said == f"{listed[0]} and 2 more: 6 embeddings of {DIM} dimensions, float32"


@pytest.mark.parametrize(("name", "called"), [(b"caf\xe9.npy", r"caf\xe9.npy"), (b"x" * 220 + b".npy", None)])
def test_a_file_of_any_name_is_submitted(
    run: Run, url: str, client: Client, tmp_path: Path, name: bytes, called: str | None
) -> None:
    # Given a file whose name is no UTF-8, or longer than that of a job may be
    path = tmp_path / os.fsdecode(name)
    np.save(path, VECTORS)
    # When it is submitted without a name, Then its job has one that can be shown
    _, found, rows = submitted(run, url, client, path)
    assert rows == 6
    assert found is not None
    assert found == called if called else found.endswith("xx.npy")
    assert len(found) <= 200


def test_stdin_is_submitted(run: Run, url: str, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    np.save(buffer, VECTORS)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(buffer.getvalue())))
    said, name, rows = submitted(run, url, client, "-")
    assert (said, name, rows) == (f"stdin: 6 embeddings of {DIM} dimensions, float32", "stdin", 6)


def test_what_cannot_be_read_ends_with_one_line_before_anything_starts(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("")
    for given, says in (("none.npy", "does not exist"), (tmp_path, "has no file of vectors, only 'notes.md'")):
        ran = run("decode", given, "-o", "texts.jsonl")
        assert ran.code == 2
        assert ran.err.startswith("error: ")
        assert says in ran.err
        assert ran.err.count("\n") == 1
    ran = run("decode", "none.npy", "-o", "texts.jsonl", "--input-format", "excel")
    assert "error: the input format is 'excel', but expected one of parquet, arrow" in ran.err
