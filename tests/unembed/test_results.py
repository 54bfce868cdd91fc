from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unembed.errors import InputError, UnavailableError
from unembed.generations import SCHEMA, from_columns, from_rows
from unembed.results import destination_of, write_results
from unembed.schemas import GENERATION_FIELDS, Generation, RowStatus

ROWS = [
    Generation(index=0, id="a", text='a cat, "quoted"\nand a line', status=RowStatus.OK, source="d", tokens=7),
    Generation(
        index=1, text="été 猫", status=RowStatus.FALLBACK, overall_quality=0.25, round_trip=-0.5, off_manifold=True
    ),
    Generation(index=2, id="c", status=RowStatus.ERROR, error_code="not_finite", error="value 3 is NaN"),
]
BATCHES = [from_rows(ROWS)]


def test_parquet_gives_the_rows_back_as_they_were(tmp_path: Path) -> None:
    # Given rows of each status, When they are written to parquet
    path = tmp_path / "a.parquet"
    assert write_results(path, BATCHES) == 3
    # Then reading gives the same rows, under the names of the wire
    table = pq.read_table(path)
    assert tuple(table.column_names) == GENERATION_FIELDS
    assert [Generation.model_validate(row) for row in table.to_pylist()] == ROWS


def test_json_lines_give_the_rows_back_as_they_were(tmp_path: Path) -> None:
    # Given the same rows, When they are written as JSON lines
    path = tmp_path / "a.jsonl"
    write_results(path, BATCHES)
    # Then each line is one row
    lines = path.read_text("utf-8").splitlines()
    assert [Generation.model_validate_json(line) for line in lines] == ROWS
    assert tuple(json.loads(lines[0])) == GENERATION_FIELDS


def test_csv_has_a_header_and_an_empty_cell_for_what_is_not_there(tmp_path: Path) -> None:
    # Given the same rows, When they are written as CSV
    path = tmp_path / "a.csv"
    write_results(path, BATCHES)
    # Then quotes and line ends within a text survive
    with path.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["text"] for row in found] == ['a cat, "quoted"\nand a line', "été 猫", ""]
    assert found[1]["overall_quality"] == "0.25"
    assert found[2]["error_code"] == "not_finite"
    assert [row["off_manifold"] for row in found] == ["", "True", ""]


@pytest.mark.parametrize("text", ['=HYPERLINK("http://x")', "+1+cmd", "-- a dash", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_text_cannot_be_a_formula_of_a_spreadsheet(tmp_path: Path, text: str) -> None:
    # Given a text that a spreadsheet would run, and an id that is a negative number
    write_results(tmp_path / "a.csv", [from_columns([0], id="-12.5", text=text, status=RowStatus.OK)])
    # When it is written as CSV, Then it starts with an apostrophe, and the number is left alone
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["text"], row["id"]) == (f"'{text}", "-12.5")


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_a_file_that_cannot_be_finished_leaves_the_old_one_as_it_was(tmp_path: Path, suffix: str) -> None:
    # Given a file, and rows that break off
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"old")

    def breaking() -> Iterator[pa.RecordBatch]:
        yield BATCHES[0]
        raise UnavailableError

    # When they are written over it, Then the old file stays and no half of a new one does
    with pytest.raises(UnavailableError):
        write_results(path, breaking())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_no_rows_are_a_file_too(tmp_path: Path, suffix: str) -> None:
    # Given no rows, When they are written, Then there is a file that says so
    assert write_results(tmp_path / f"a{suffix}", []) == 0
    assert (tmp_path / f"a{suffix}").exists()


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_lines_and_cells_are_written_as_each_row_writes_itself(tmp_path: Path, suffix: str) -> None:
    # Given rows with numbers and texts that can be written in two ways
    rows = [
        *ROWS,
        Generation(index=3, text="\x7f \u2028 \x01 \\ / \r", status=RowStatus.OK, fluency=1e-5, coherence=1e-7),
        Generation(index=4, text="=1", status=RowStatus.OK, decode_ms=1e16, round_trip=-0.0, off_manifold=False),
        Generation(index=5, text="nan", status=RowStatus.OK, diversity=float("nan"), overall_quality=float("inf")),
    ]
    # When they are written from columns
    path = tmp_path / f"a{suffix}"
    assert write_results(path, [from_rows(rows[:2]), from_rows(rows[2:])]) == 6
    # Then the file is, to the byte, what it is when each row is written by itself
    assert path.read_bytes() == {".jsonl": one_by_one_as_json, ".csv": one_by_one_as_csv}[suffix](rows)


def one_by_one_as_json(rows: list[Generation]) -> bytes:
    return b"".join(row.model_dump_json().encode() + b"\n" for row in rows)


def one_by_one_as_csv(rows: list[Generation]) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(GENERATION_FIELDS)
    for row in rows:
        values = row.model_dump(mode="json").values()
        writer.writerow(["'=1" if value == "=1" else value for value in values])
    return file.getvalue().encode()


def test_parquet_has_full_row_groups_whatever_the_pages(tmp_path: Path) -> None:
    # Given pages of 3,000 rows, When they are written, Then the row groups are as large as can be, in order
    pages = [from_columns(range(first, first + 3000), status=RowStatus.OK) for first in range(0, 36_000, 3000)]
    assert write_results(tmp_path / "a.parquet", iter(pages)) == 36_000
    with pq.ParquetFile(tmp_path / "a.parquet") as file:
        groups = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        assert groups == [16_384, 16_384, 3_232]
        assert file.schema_arrow.equals(SCHEMA, check_metadata=True)
        assert file.read(["index"])["index"].to_pylist() == list(range(36_000))


@pytest.mark.parametrize("rows", [ROWS, [pa.record_batch({"index": [1]})]])
def test_what_is_no_batch_of_results_is_refused(tmp_path: Path, rows: list[Any]) -> None:
    # Given rows one by one, or a batch of something else, When they are written, Then the error says what to pass
    with pytest.raises(InputError, match=r"got a \w+; expected record batches of results, such as job.result_batches"):
        write_results(tmp_path / "a.parquet", rows)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "says"), [("a.txt", "'.txt'"), ("no/a.csv", "does not exist"), ("f.csv/", "is a file")]
)
def test_a_place_that_cannot_be_written_is_known_before_the_work(tmp_path: Path, name: str, says: str) -> None:
    # Given a path that is of no use, When it is checked, Then the error names it
    (tmp_path / "f.csv").touch()
    with pytest.raises(InputError, match=says):
        destination_of(f"{tmp_path}/{name}")
