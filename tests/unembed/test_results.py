from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from unembed.errors import InputError, UnavailableError
from unembed.generations import SCHEMA
from unembed.results import check_output, to_table, write_results
from unembed.schemas import GENERATION_FIELDS, Generation, RowStatus

ROWS = [
    Generation(index=0, id="a", text='a cat, "quoted"\nand a line', status=RowStatus.OK, source="d", tokens=7),
    Generation(
        index=1, text="été 猫", status=RowStatus.FALLBACK, overall_quality=0.25, round_trip=-0.5, off_manifold=True
    ),
    Generation(index=2, id="c", status=RowStatus.ERROR, error_code="not_finite", error="value 3 is NaN"),
]


def test_parquet_gives_the_rows_back_as_they_were(tmp_path: Path) -> None:
    # Given rows of each status, When they are written to parquet
    path = tmp_path / "a.parquet"
    assert write_results(path, ROWS) == 3
    # Then reading gives the same rows, under the names of the wire
    table = pq.read_table(path)
    assert tuple(table.column_names) == GENERATION_FIELDS
    assert [Generation.model_validate(row) for row in table.to_pylist()] == ROWS


def test_json_lines_give_the_rows_back_as_they_were(tmp_path: Path) -> None:
    # Given the same rows, When they are written as JSON lines
    path = tmp_path / "a.jsonl"
    write_results(path, ROWS)
    # Then each line is one row
    lines = path.read_text("utf-8").splitlines()
    assert [Generation.model_validate_json(line) for line in lines] == ROWS
    assert tuple(json.loads(lines[0])) == GENERATION_FIELDS


def test_csv_has_a_header_and_an_empty_cell_for_what_is_not_there(tmp_path: Path) -> None:
    # Given the same rows, When they are written as CSV
    path = tmp_path / "a.csv"
    write_results(path, ROWS)
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
    write_results(tmp_path / "a.csv", [Generation(index=0, id="-12.5", text=text, status=RowStatus.OK)])
    # When it is written as CSV, Then it starts with an apostrophe, and the number is left alone
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["text"], row["id"]) == (f"'{text}", "-12.5")


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_a_file_that_cannot_be_finished_leaves_the_old_one_as_it_was(tmp_path: Path, suffix: str) -> None:
    # Given a file, and rows that break off
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"old")

    def breaking() -> Iterator[Generation]:
        yield ROWS[0]
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


def test_rows_become_one_table_of_the_declared_types() -> None:
    # Given rows, and none, When they become a table, Then its types do not depend on what is in them
    assert to_table(ROWS).schema == SCHEMA == to_table([]).schema


@pytest.mark.parametrize(("name", "says"), [("a.txt", "'.txt'"), ("no/a.csv", "does not exist"), ("d.csv", "a folder")])
def test_a_place_that_cannot_be_written_is_known_before_the_work(tmp_path: Path, name: str, says: str) -> None:
    # Given a path that is of no use, When it is checked, Then the error names it
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(InputError, match=says):
        check_output(tmp_path / name)
