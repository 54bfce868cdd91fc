"""Columns that are submitted with a corpus come back beside its texts, with either client and on the command line."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders import DIM
from tests.unembed.both_clients import KINDS, made
from tests.unembed.conftest import DECODER, Hand, Run
from unembed.client import Client
from unembed.corpus import open_corpus
from unembed.errors import CorpusError, InputError
from unembed.generations import SCHEMA
from unembed.results import Layout, write_results

ROWS = 25
COLUMNS: dict[str, list[Any]] = {
    "title": [None if row == 3 else f"title {row}" for row in range(ROWS)],
    "text": [f"original {row}" for row in range(ROWS)],
    "year": [1990 + row for row in range(ROWS)],
    "price": [row / 4 for row in range(ROWS)],
    "new": [row % 2 == 0 for row in range(ROWS)],
    "seen": [dt.datetime(2026, 1, 1 + row, 12, tzinfo=dt.UTC) for row in range(ROWS)],
    "payload": [{"url": f"https://e.org/{row}", "tags": ["a", str(row)]} for row in range(ROWS)],
}
CARRY = ["title", "text", "year", "price", "new", "seen", "payload.url", "payload.tags"]
NAMES = ["title", "source_text", *CARRY[2:]]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A parquet file of 25 rows with columns of every kind."""
    vectors = pa.FixedSizeListArray.from_arrays(np.linspace(-0.9, 1, ROWS * DIM, dtype=np.float32), DIM)
    path = tmp_path / "corpus.parquet"
    pq.write_table(pa.table({"embedding": vectors, **COLUMNS}), path)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_columns_come_back_beside_the_texts(kind: str, url: str, hand: Hand, corpus: Path, tmp_path: Path) -> None:
    hand.start()

    async def play() -> None:
        async with made(kind, url, retries=1) as client:
            # Given a corpus that is submitted with some of its columns, in batches that its reader does not have
            job = await client.submit(corpus, decoder=DECODER, batch_size=10, carry=CARRY)
            await job.wait()
            # When its rows are read, Then each has its own
            rows = sorted([row async for row in job.results()], key=lambda row: row.index)
            assert [row.carried["title"] for row in rows] == COLUMNS["title"]
            assert rows[7].text == "text 7"
            assert dict(rows[7].carried) == {
                "title": "title 7",
                "source_text": "original 7",
                "year": 1997,
                "price": 1.75,
                "new": False,
                "seen": "2026-01-08T12:00:00+00:00",
                "payload.url": "https://e.org/7",
                "payload.tags": '["a", "7"]',
            }
            # And a table has them behind the results, with their types
            table = await job.to_arrow()
            assert table.column_names == [*SCHEMA.names, *NAMES]
            assert [table.schema.field(name).type for name in ("title", "year", "price", "new")] == [
                pa.string(),
                pa.int64(),
                pa.float64(),
                pa.bool_(),
            ]
            assert (await job.head(2))[1].carried["year"] == 1991
            # And a file that the server makes is the same as one that is written here
            await job.download(tmp_path / "theirs.parquet")
            write_results(tmp_path / "ours.parquet", iter(table.to_batches()))
            assert pq.read_table(tmp_path / "theirs.parquet").equals(pq.read_table(tmp_path / "ours.parquet"))

    asyncio.run(play())


def test_a_submit_that_broke_off_goes_on_with_the_same_columns(client: Client, hand: Hand, corpus: Path) -> None:
    # Given a submit under a key of which two batches have arrived
    given = {"decoder": DECODER, "batch_size": 10, "idempotency_key": "k", "carry": ["title", "payload.tags"]}

    def stop(sent: int, _total: int) -> None:
        if sent:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.submit(corpus, progress=stop, **given)
    # When it is repeated, and once more
    job = client.submit(corpus, **given)
    assert client.submit(corpus, **given).id == job.id
    hand.work()
    # Then all is there once
    assert [row.carried["title"] for row in job.wait().results("index")] == COLUMNS["title"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_the_columns_have_the_names_that_a_decode_gives_them(
    client: Client, hand: Hand, tmp_path: Path, suffix: str
) -> None:
    # Given a file of lines
    path = tmp_path / f"corpus.{suffix}"
    lines = [{"title": f"t{row}", "text": "x", "n": row, "embedding": [0.1, 0.2, 0.3, row + 1]} for row in range(3)]
    if suffix == "jsonl":
        path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(lines[0]))
            writer.writeheader()
            writer.writerows(lines)
    # When it is submitted with columns, and the same are taken from it when texts are written
    job = client.submit(path, decoder=DECODER, carry=["title", "text", "n"])
    hand.work()
    table = job.wait().to_arrow()
    beside = Layout.beside(open_corpus(path), ["title", "text", "n"])
    # Then they are called alike
    assert table.column_names == beside.schema.names
    assert table["title"].to_pylist() == ["t0", "t1", "t2"]
    assert table["n"].to_pylist() == ([0, 1, 2] if suffix == "jsonl" else ["0", "1", "2"])


def test_columns_of_a_frame_are_carried_and_rows_in_files_have_them(
    client: Client, hand: Hand, tmp_path: Path, corpus: Path
) -> None:
    # Given a table in memory, whose texts are to be written into files
    table = pq.read_table(corpus)
    job = client.submit(table, decoder=DECODER, carry=["year"], results_to=tmp_path / "texts")
    hand.work()
    # When its rows are read, Then they have what they carry
    assert [row.carried["year"] for row in job.wait().results("index")] == COLUMNS["year"]


def test_what_cannot_be_carried_is_refused_and_nothing_is_begun(client: Client, corpus: Path, tmp_path: Path) -> None:
    def rows() -> Iterator[np.ndarray]:
        yield np.ones((2, DIM), np.float32)

    long = tmp_path / "long.parquet"
    vectors = pa.FixedSizeListArray.from_arrays(np.ones(2 * DIM, np.float32), DIM)
    pq.write_table(pa.table({"embedding": vectors, "note": ["", "x" * 5000]}), long)
    for source, given, error, says in (
        (corpus, {"carry": ["titel"]}, CorpusError, "has no column 'titel' to carry"),
        (corpus, {"carry": "title"}, InputError, "carry is 'title'; expected the names of columns, in a list"),
        (corpus, {"carry": ["title"], "by_reference": True}, InputError, "leave out carry"),
        (rows(), {"carry": ["title"]}, InputError, "columns are carried from files, frames and tables"),
        (np.ones((2, DIM), np.float32), {"carry": ["title"]}, CorpusError, "is an array"),
    ):
        with pytest.raises(error, match=says):
            client.submit(source, decoder=DECODER, **given)
    assert client.jobs().jobs == []
    # And a row that carries too much is named; the job that was begun is cancelled
    with pytest.raises(InputError, match="row 1 carries 5,000 bytes, 5,000 of them in 'note'; expected at most 4,096"):
        client.submit(long, decoder=DECODER, carry=["note"])
    assert [job.state for job in client.jobs().jobs] == ["cancelled"]


def test_the_command_line_carries_columns(
    run: Run, url: str, hand: Hand, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNEMBED_URL", url)
    hand.start()
    # Given a corpus that is submitted with columns
    job = run("submit", "corpus.parquet", "--decoder", DECODER, "--carry", "title,payload.url", "--carry", "text")
    assert job.code == 0, job.err
    assert run("wait", job.out.strip()).code == 0
    # When its results are written or printed, Then the columns are there, without the corpus
    for name in ("out.jsonl", "out.csv"):
        assert run("results", job.out.strip(), "-o", name).code == 0
    first = json.loads(Path("out.jsonl").read_text().splitlines()[0])
    assert [first[name] for name in ("title", "payload.url", "source_text")] == [
        "title 0",
        "https://e.org/0",
        "original 0",
    ]
    assert Path("out.csv").read_text().splitlines()[0].endswith(",title,payload.url,source_text")
    printed = run("results", job.out.strip(), "--json", "--limit", 1)
    assert json.loads(printed.out) == first
    # And with columns of the corpus, those are in their place
    assert run("results", job.out.strip(), "-o", "o.jsonl", "--carry", "year", "--from", "corpus.parquet").code == 0
    assert list(json.loads(Path("o.jsonl").read_text().splitlines()[0])) == [*SCHEMA.names, "year"]
    # And by reference there is nothing to carry
    refused = run("submit", "corpus.parquet", "--decoder", DECODER, "--by-reference", "--carry", "title")
    assert (refused.code, "--carry does not go with --by-reference" in refused.err) == (2, True)
