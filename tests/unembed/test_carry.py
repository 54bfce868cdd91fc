"""Columns of the corpus beside the texts, and copies of the corpus with them."""

from __future__ import annotations

import csv
import datetime as dt
import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unembed.corpus import Corpus, open_corpus
from unembed.corpus.table import Table
from unembed.errors import CorpusError, InputError
from unembed.generations import SCHEMA, from_columns
from unembed.results import Layout, write_results
from unembed.schemas import RowStatus

ROWS = 5000  # several batches of every reader

COLUMNS = {
    "id": [f"r{index}" for index in range(ROWS)],
    "text": [f"original {index}" for index in range(ROWS)],
    "url": [None if index == 1 else f"https://e.org/{index}" for index in range(ROWS)],
    "payload": [{"lang": "en", "n": index, "tags": ["x", str(index)]} for index in range(ROWS)],
    "embedding": [[float(index), 0.5, -1.25] for index in range(ROWS)],
}


def corpus_with(table: Table) -> Corpus:
    """A corpus with these columns, whatever its vectors are."""
    return Corpus("it", table.rows or 0, 2, np.dtype(np.float32), lambda: iter(()), str, table=table)


def batches(
    indices: Iterable[int] = range(ROWS), size: int = 1500, *, with_ids: bool = True
) -> Iterator[pa.RecordBatch]:
    every = list(indices)
    for first in range(0, len(every), size):
        some = every[first : first + size]
        yield from_columns(
            some,
            id=[f"r{index}" for index in some] if with_ids else None,
            text=[f"text {index}" for index in some],
            status=RowStatus.OK,
            overall_quality=[0.5] * len(some),
        )


@pytest.fixture(params=["parquet", "jsonl", "arrow"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"corpus.{request.param}"
    table = pa.table(COLUMNS)
    match request.param:
        case "parquet":
            pq.write_table(table, path, row_group_size=700)
        case "arrow":
            with pa.ipc.new_file(str(path), table.schema) as writer:
                writer.write_table(table, max_chunksize=900)
        case _:
            path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    return path


def test_columns_go_along_row_by_row_with_their_types(corpus: Path, tmp_path: Path) -> None:
    # Given a corpus, When a text column, a nested one and a field in one are carried into parquet
    layout = Layout.beside(open_corpus(corpus), ["text", "url", "payload", "payload.n"])
    assert write_results(tmp_path / "out.parquet", batches(), layout=layout) == ROWS
    # Then they stand behind the results, row by row, and the one that has a result's name is prefixed
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == [*SCHEMA.names, "source_text", "url", "payload", "payload.n"]
    assert table["text"].to_pylist() == [f"text {index}" for index in range(ROWS)]
    assert table["source_text"].to_pylist() == COLUMNS["text"]
    assert table["url"].to_pylist() == COLUMNS["url"]
    assert table["payload"].to_pylist() == COLUMNS["payload"]
    assert table["payload.n"].to_pylist() == list(range(ROWS))
    assert layout.note == f"of {corpus}, 'text' is written as 'source_text'"


def test_rows_without_a_result_are_passed_over(corpus: Path, tmp_path: Path) -> None:
    # Given results of some rows, with gaps within and between the source's batches
    some = [0, 1, 2, 699, 700, 703, 2500, *range(3000, 3003), ROWS - 1]
    layout = Layout.beside(open_corpus(corpus), ["url"])
    # When they are written, Then each has its own row of the source
    write_results(tmp_path / "out.jsonl", batches(some, 4), layout=layout)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["index"], row["url"]) for row in rows] == [(index, COLUMNS["url"][index]) for index in some]


def test_json_has_nested_values_as_they_are_and_csv_has_them_as_json(corpus: Path, tmp_path: Path) -> None:
    layout = Layout.beside(open_corpus(corpus), ["payload", "embedding"])
    write_results(tmp_path / "out.jsonl", batches(range(3)), layout=layout)
    (first, *_) = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert (first["payload"], first["embedding"]) == (COLUMNS["payload"][0], COLUMNS["embedding"][0])
    write_results(tmp_path / "out.csv", batches(range(3)), layout=layout)
    with (tmp_path / "out.csv").open(newline="") as file:
        row = list(csv.DictReader(file))[2]
    assert json.loads(row["payload"]) == COLUMNS["payload"][2]
    assert json.loads(row["embedding"]) == COLUMNS["embedding"][2]


def test_a_copy_has_all_columns_of_the_corpus_and_the_text_and_its_quality(corpus: Path, tmp_path: Path) -> None:
    # Given a corpus, When its texts are appended to a copy of it
    layout = Layout.appended(open_corpus(corpus))
    write_results(tmp_path / "out.parquet", batches(), layout=layout)
    # Then only its column `text` has another name, and everything is as it was
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["id", "source_text", "url", "payload", "embedding", "text", "overall_quality"]
    assert table["id"].to_pylist() == COLUMNS["id"]
    assert table["embedding"].to_pylist() == COLUMNS["embedding"]
    assert table["text"].to_pylist()[-1] == f"text {ROWS - 1}"


def test_a_copy_of_a_csv_file_is_one_again(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('name,embedding\nx,"[1.0, 2.5]"\n"=y","[3.0, 4.0]"\n')
    layout = Layout.appended(open_corpus(tmp_path / "in.csv"))
    write_results(tmp_path / "out.csv", batches(range(2)), layout=layout)
    assert (tmp_path / "out.csv").read_text().splitlines() == [
        "name,embedding,text,overall_quality",
        'x,"[1.0, 2.5]",text 0,0.5',
        '\'=y,"[3.0, 4.0]",text 1,0.5',
    ]


def test_a_column_that_is_not_there_is_refused_and_those_that_are_named(corpus: Path) -> None:
    with pytest.raises(CorpusError, match=r"has no column 'txet' to carry; its columns are 'id', 'text', 'url'"):
        Layout.beside(open_corpus(corpus), ["url", "txet"])
    with pytest.raises(CorpusError, match=r"has no column 'payload.none' to carry"):
        Layout.beside(open_corpus(corpus), ["payload.none"])


def test_values_of_json_that_change_their_type_keep_their_values(tmp_path: Path) -> None:
    # Given lines whose keys are of one type at first, and of others later; and one line that is no JSON
    path = tmp_path / "in.jsonl"
    lines = [
        json.dumps({"embedding": [1.0, 2.0], "n": 1, "any": "x" if index < 2000 else {"a": index}, "late": None})
        for index in range(2500)
    ]
    lines[7] = "{broken"
    lines += [json.dumps({"embedding": [1, 2], "n": 1.5, "any": None, "late": ["z"]})]
    path.write_text("\n".join(lines) + "\n")
    layout = Layout.beside(open_corpus(path), ["n", "any", "late"])
    # When they are carried, Then numbers are numbers, and what is of no one type is JSON
    write_results(tmp_path / "out.jsonl", batches(range(2501)), layout=layout)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert (rows[0]["n"], rows[7]["n"], rows[-1]["n"]) == (1.0, None, 1.5)
    assert (rows[0]["any"], rows[7]["any"], rows[2499]["any"], rows[-1]["any"]) == ("x", None, {"a": 2499}, None)
    assert (rows[0]["late"], rows[-1]["late"]) == (None, ["z"])
    write_results(tmp_path / "out.parquet", batches(range(2501)), layout=layout)
    assert json.loads(pq.read_table(tmp_path / "out.parquet")["any"][2499].as_py()) == {"a": 2499}


def test_another_corpus_than_the_jobs_is_found_out(corpus: Path, tmp_path: Path) -> None:
    layout = Layout.beside(open_corpus(corpus), ["url"])
    with pytest.raises(InputError, match=r"has 5,000 rows, but the results have a row 5000: it is not the corpus"):
        write_results(tmp_path / "out.csv", batches(range(ROWS + 1)), layout=layout)
    with pytest.raises(InputError, match=r"result_batches\(order='index'\)"):
        write_results(tmp_path / "out.csv", batches([3, 2, 1]), layout=layout)


def test_rows_that_come_in_another_order_are_found_out_by_their_ids(tmp_path: Path) -> None:
    # Given a corpus of as many rows, of which two have changed places
    names = [*COLUMNS["id"][:7], "r8", "r7", *COLUMNS["id"][9:]]
    pq.write_table(pa.table({**COLUMNS, "id": names}), tmp_path / "other.parquet")
    layout = Layout.beside(open_corpus(tmp_path / "other.parquet"), ["url"])
    # When its columns are to go along, Then the first row that differs is named, and nothing is written
    with pytest.raises(InputError, match=r"row 7 of .*other.parquet has the id 'r8', but that of the results has 'r7'"):
        write_results(tmp_path / "out.csv", batches(), layout=layout)
    assert not (tmp_path / "out.csv").exists()
    # And rows that have no id in the results, such as those that were lost, are no reason to refuse
    assert write_results(tmp_path / "out.csv", batches(with_ids=False), layout=layout) == ROWS


def test_the_elements_of_a_list_have_the_columns_of_the_row_they_are_in(tmp_path: Path) -> None:
    # Given documents of chunks, each with a vector, When each chunk is a row
    documents = [{"doc": d, "chunks": [{"vector": [d, c], "text": f"{d}.{c}"} for c in range(3)]} for d in range(4)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(each) + "\n" for each in documents))
    layout = Layout.beside(open_corpus(tmp_path / "in.jsonl", "chunks.*.vector"), ["doc"])
    # Then the columns of its document go along
    write_results(tmp_path / "out.jsonl", batches(range(12), with_ids=False), layout=layout)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["doc"] for row in rows] == [d for d in range(4) for _ in range(3)]


def test_an_array_has_no_columns_to_carry(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((3, 2)))
    with pytest.raises(CorpusError, match=r"a.npy is an array: it has no columns to take along"):
        Layout.appended(open_corpus(tmp_path / "a.npy"))


def test_every_kind_of_column_can_be_written_in_every_format(tmp_path: Path) -> None:
    # Given one row of columns of many kinds
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    columns: dict[str, Any] = {
        "bytes": pa.array([b"\x00\xff", None]),
        "decimal": pa.array([Decimal("1.50"), None]),
        "time": pa.array([moment, None]),
        "day": pa.array([moment.date(), None]),
        "half": pa.array([1.5, float("nan")], pa.float16()),
        "single": pa.array([0.1, float("inf")], pa.float32()),
        "category": pa.array(["a", None]).dictionary_encode(),
        "view": pa.array(['a "b"\n', None], pa.string_view()),
        "fixed": pa.array([[0.1, float("nan")], None], pa.list_(pa.float32(), 2)),
        "lists": pa.array([[[1], None], []], pa.list_(pa.list_(pa.int64()))),
        "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
        "null": pa.nulls(2),
        "flag": pa.array([True, None]),
    }
    held = pa.record_batch(columns)
    table = Table("it", held.schema, 2, lambda names: iter([held.select(list(names))]), str)
    layout = Layout.beside(corpus_with(table), list(columns))
    # When they are written as each format, Then nothing is refused, and JSON has the values
    for name in ("a.parquet", "a.arrow", "a.jsonl", "a.csv", "a.tsv"):
        assert write_results(tmp_path / name, batches(range(2)), layout=layout) == 2
    first, second = map(json.loads, (tmp_path / "a.jsonl").read_text().splitlines())
    assert {name: first[name] for name in columns} == {
        "bytes": "AP8=",
        "decimal": 1.5,
        "time": "2026-01-02T03:04:05+00:00",
        "day": "2026-01-02",
        "half": 1.5,
        "single": 0.1,
        "category": "a",
        "view": 'a "b"\n',
        "fixed": [0.1, None],
        "lists": [[1], None],
        "map": {"k": 1},
        "null": None,
        "flag": True,
    }
    assert {second[name] for name in columns if name != "lists"} == {None}
    with (tmp_path / "a.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert (row["time"], row["bytes"], row["single"], row["category"]) == (
        "2026-01-02T03:04:05+00:00",
        "AP8=",
        "0.1",
        "a",
    )
    assert pq.read_table(tmp_path / "a.parquet")["decimal"].to_pylist() == [Decimal("1.50"), None]


@pytest.mark.parametrize("name", ["out.arrow", "out.arrows", "out.parquet"])
def test_categories_that_each_file_has_of_its_own_are_written(tmp_path: Path, name: str) -> None:
    # Given two files whose categories differ, When they go along
    (tmp_path / "in").mkdir()
    for number in range(2):
        kinds = pa.array([f"{number}-{row // 50}" for row in range(100)]).dictionary_encode()
        vectors = pa.array([[float(row), 1.0] for row in range(100)])
        pq.write_table(pa.table({"kind": kinds, "embedding": vectors}), tmp_path / "in" / f"{number}.parquet")
    layout = Layout.beside(open_corpus(tmp_path / "in"), ["kind"])
    write_results(tmp_path / name, batches(range(200), with_ids=False), layout=layout)
    # Then each row has its own
    path = str(tmp_path / name)
    opened = {".parquet": pq.read_table, ".arrow": lambda path: pa.ipc.open_file(path).read_all()}
    table = opened.get(Path(name).suffix, lambda path: pa.ipc.open_stream(path).read_all())(path)
    assert table["kind"].to_pylist() == [f"{row // 100}-{row % 100 // 50}" for row in range(200)]
