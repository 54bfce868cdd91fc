"""`decode` and `results`: where the texts go, and what goes along."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders import DIM
from tests.unembed.conftest import DECODER, Hand, Run
from unembed.client import Client
from unembed.generations import json_lines
from unembed.results import MadeBy
from unembed.results.made_by import KEY

ROWS = 25
DECODE = ("decode", "corpus.parquet", "--decoder", DECODER, "--batch-size", 10)


@pytest.fixture(autouse=True)
def server(run: Run, url: str, hand: Hand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A server with a worker, and a corpus with columns of its own."""
    monkeypatch.setenv("UNEMBED_URL", url)
    vectors = np.linspace(-0.9, 1, ROWS * DIM, dtype=np.float32)
    columns = {
        "embedding": pa.FixedSizeListArray.from_arrays(vectors, DIM),
        "text": pa.array([f"original {index}" for index in range(ROWS)]),
        "payload": pa.array([{"url": f"https://e.org/{index}"} for index in range(ROWS)]),
    }
    pq.write_table(pa.table(columns), tmp_path / "corpus.parquet")
    hand.start()
    return url


def test_columns_of_the_corpus_go_along_and_the_file_says_what_made_it(run: Run, server: str) -> None:
    # Given a corpus, When it is decoded with a column that has the name of a result, and a field of another
    ran = run(*DECODE, "-o", "out.parquet", "--carry", "text,payload.url", "--seed", 7)
    # Then both are beside the texts, and one line says what the first is called
    assert ran.code == 0, ran.err
    table = pq.read_table("out.parquet")
    assert table["text"].to_pylist()[3] != "original 3"
    assert table["source_text"].to_pylist() == [f"original {index}" for index in range(ROWS)]
    assert table["payload.url"].to_pylist() == [f"https://e.org/{index}" for index in range(ROWS)]
    assert "of corpus.parquet, 'text' is written as 'source_text'" in ran.err
    # And the metadata names the job, its decoder and the versions
    with Client(server) as client:
        (job,) = client.jobs().jobs
    made_by = MadeBy.model_validate_json(table.schema.metadata[KEY])
    assert (made_by.job, made_by.decoder, made_by.seed, made_by.rows) == (job.id, DECODER, 7, ROWS)
    assert made_by.options == job.options
    assert len(str(made_by.checkpoint)) == 64


def test_a_job_that_was_submitted_gets_its_columns_from_the_corpus(run: Run, hand: Hand) -> None:
    # Given a job that has ended
    job = run("submit", "corpus.parquet", "--decoder", DECODER).out.strip()
    assert run("wait", job).code == 0
    # When its results are written with columns of the corpus, or as a copy of it
    ran = run("results", job, "-o", "out.jsonl", "--carry", "payload", "--from", "corpus.parquet")
    assert ran.code == 0, ran.err
    assert run("results", job, "-o", "copy.parquet", "--append", "--from", "corpus.parquet").code == 0
    # Then they are there
    last = json.loads(Path("out.jsonl").read_text().splitlines()[-1])
    assert last["payload"] == {"url": f"https://e.org/{ROWS - 1}"}
    copy, corpus = pq.read_table("copy.parquet"), pq.read_table("corpus.parquet")
    assert copy.column_names == ["embedding", "source_text", "payload", "text", "overall_quality"]
    assert copy["embedding"].equals(corpus["embedding"])
    # And another corpus is refused, as are columns without one
    pq.write_table(corpus[:9], "other.parquet")
    ran = run("results", job, "-o", "out.csv", "--carry", "text", "--from", "other.parquet")
    assert (ran.code, "other.parquet has 9 rows, but the job" in ran.err) == (2, True)
    ran = run("results", job, "-o", "out.csv", "--carry", "text")
    assert (ran.code, "name it with --from" in ran.err) == (2, True)
    assert not Path("out.csv").exists()


def test_stdout_has_the_texts_alone(run: Run, server: str) -> None:
    # Given stdout as the output, When a corpus is decoded, Then it has a line for each row and nothing else
    ran = run(*DECODE, "-o", "-")
    with Client(server) as client:
        rows = client.job(client.jobs().jobs[0].id).to_arrow().combine_chunks().to_batches()
    assert (ran.code, ran.out.encode()) == (0, b"".join(map(json_lines, rows)))
    assert f"{ROWS} rows written to stdout" in ran.err


def test_a_folder_of_parts_is_written_and_not_written_over(run: Run) -> None:
    # Given a folder that is not there, When a corpus is decoded into it, Then it is read as one
    assert run(*DECODE, "-o", "texts/").code == 0
    assert pq.read_table("texts")["index"].to_pylist() == list(range(ROWS))
    # And the same command again is refused before the work
    ran = run(*DECODE, "-o", "texts/")
    assert (ran.code, "texts holds the results of the job" in ran.err) == (2, True)


def test_five_texts_and_a_histogram_come_before_the_summary(run: Run) -> None:
    ran = run(*DECODE, "-o", "out.csv", "--scores", "all")
    assert ran.code == 0
    head, _, rest = ran.err.partition("TEXT, FROM BEST TO WORST")
    assert rest, head
    shown, _, _ = rest.partition("QUALITY")
    assert len([line for line in shown.splitlines() if line.strip()]) == 5
    assert rest.index("━") < rest.index("rows/s")
    assert "\x1b" not in ran.err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("-o", f"{'y' * 250}.jsonl"), "cannot be written: File name too long"),
        (("-o", "none/a.csv"), "does not exist"),
        (
            ("-o", "a.csv", "--carry", "nope"),
            "has no column 'nope' to carry; its columns are 'embedding', 'text', 'pay",
        ),
        (("-o", "a.csv", "--carry", "text", "--append"), "--append takes all columns along"),
        (("-o", "a.csv", "--format", "xlsx"), "the format is 'xlsx'"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_work(
    run: Run, server: str, options: tuple[str, ...], says: str
) -> None:
    ran = run(*DECODE, *options)
    assert (ran.code, says in ran.err, len(ran.err) < 600) == (2, True, True), ran.err
    with Client(server) as client:
        assert client.jobs().jobs == []


def test_the_longest_name_that_there_can_be_is_written(run: Run) -> None:
    name = f"{'y' * 249}.jsonl"
    assert run(*DECODE, "-o", name).code == 0
    assert len(Path(name).read_text().splitlines()) == ROWS


def test_a_disk_that_fills_up_is_one_line_with_the_way_to_the_texts(
    run: Run, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a disk without room for the last bytes of the file
    def full(_number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        ran = run(*DECODE, "-o", "out.jsonl")
    # Then one line has the reason, the job and the command that fetches the texts, and no file is left
    with Client(server) as client:
        (job,) = client.jobs().jobs
    (line,) = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    assert "out.jsonl cannot be written" in line
    assert "No space left on device (ENOSPC)" in line
    assert f"unembed results {job.id} -o ELSEWHERE" in line
    assert (ran.code, [path.name for path in Path().iterdir() if path.name.startswith((".unembed-", "out"))]) == (1, [])
    # And it does
    assert run("results", job.id, "-o", "elsewhere.jsonl").code == 0
    assert len(Path("elsewhere.jsonl").read_text().splitlines()) == ROWS


def test_an_array_has_no_columns_to_take_along(run: Run, tmp_path: Path) -> None:
    rows: Any = np.zeros((3, DIM), np.float32)
    np.save(tmp_path / "a.npy", rows)
    ran = run("decode", "a.npy", "-o", "out.csv", "--append")
    assert (ran.code, "a.npy is an array: it has no columns to take along" in ran.err) == (2, True)
