"""Folders of results in parts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unembed.corpus import open_corpus
from unembed.errors import InputError, UnavailableError
from unembed.generations import SCHEMA, from_columns
from unembed.results import MadeBy, destination_of, parts, write_results
from unembed.results.made_by import KEY
from unembed.schemas import BatchCounts, DecodeOptions, Job, JobState, RowCounts, RowStatus, Timings

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def made_by(job_id: str = "job_1") -> MadeBy:
    job = Job(
        id=job_id,
        state=JobState.SUCCEEDED,
        name="corpus.parquet",
        decoder="tiny",
        embedding_dim=8,
        seed=7,
        options=DecodeOptions(candidates=4),
        rows=RowCounts(total=10, ok=10),
        batches=BatchCounts(done=1),
        timings=Timings(),
        created_at=NOW,
        finished_at=NOW,
    )
    return MadeBy.of(job, [], "c0ffee")


def batches(rows: int = 10, size: int = 4) -> Iterator[pa.RecordBatch]:
    for first in range(0, rows, size):
        indices = range(first, min(rows, first + size))
        yield from_columns(indices, text=[f"text {index}" for index in indices], status=RowStatus.OK)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts.write_parts, "__defaults__", (3,))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_has_whole_parts_in_the_order_of_the_corpus(tmp_path: Path) -> None:
    # Given ten rows, When they are written to a folder whose parts have three
    folder = tmp_path / "texts"
    assert write_results(f"{folder}/", batches(), made_by=made_by()) == 10
    # Then there are four, each a file of its own, and a note that readers of folders pass over
    assert names(folder) == [parts.NOTE, *(f"part-0000{number}.parquet" for number in range(4))]
    assert [pq.read_metadata(path).num_rows for path in sorted(folder.glob("*.parquet"))] == [3, 3, 3, 1]
    assert pq.read_table(folder)["index"].to_pylist() == list(range(10))
    assert [table.schema.metadata[KEY] for table in [pq.read_table(folder / "part-00003.parquet")]] == [
        made_by().model_dump_json().encode()
    ]


def test_no_rows_are_one_part(tmp_path: Path) -> None:
    assert write_results(f"{tmp_path}/", []) == 0
    assert pq.read_table(tmp_path).schema.equals(SCHEMA)


@pytest.mark.parametrize(("again", "kept"), [("job_1", True), ("job_2", False)])
def test_what_broke_off_goes_on_for_the_same_job_and_begins_anew_for_another(
    tmp_path: Path, again: str, kept: bool
) -> None:
    # Given a folder whose rows broke off within the third part
    def breaking() -> Iterator[pa.RecordBatch]:
        yield from batches(8)
        raise UnavailableError

    with pytest.raises(UnavailableError):
        write_results(f"{tmp_path}/", breaking(), made_by=made_by())
    assert names(tmp_path) == [parts.NOTE, "part-00000.parquet", "part-00001.parquet"]
    first = (tmp_path / "part-00000.parquet").stat().st_ino, (tmp_path / "part-00000.parquet").stat().st_mtime_ns
    (tmp_path / ".unembed-1-dead").write_bytes(b"half")  # of a process that was killed
    # When the rows are written again, for the same job or for another
    assert write_results(f"{tmp_path}/", batches(), made_by=made_by(again)) == 10
    # Then all are there, and the parts that were whole are the old ones or new ones
    assert pq.read_table(tmp_path)["index"].to_pylist() == list(range(10))
    found = (tmp_path / "part-00000.parquet").stat()
    assert ((found.st_ino, found.st_mtime_ns) == first) is kept
    assert names(tmp_path)[0] == parts.NOTE


def test_fewer_parts_of_another_job_do_not_mix_with_those_that_were_there(tmp_path: Path) -> None:
    def breaking() -> Iterator[pa.RecordBatch]:
        yield from batches(9, 3)
        raise UnavailableError

    with pytest.raises(UnavailableError):
        write_results(f"{tmp_path}/", breaking(), made_by=made_by("old"))
    write_results(f"{tmp_path}/", batches(2), made_by=made_by("new"))
    assert names(tmp_path) == [parts.NOTE, "part-00000.parquet"]


def test_what_is_whole_and_what_is_not_ours_is_never_written_over(tmp_path: Path) -> None:
    # Given a folder of results that is whole, and one with something else in it
    write_results(f"{tmp_path}/whole/", batches(), made_by=made_by())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    # When either is named as the output, Then it is refused before the work
    with pytest.raises(InputError, match=r"whole holds the results of the job job_1 already: remove it, or name"):
        destination_of(f"{tmp_path}/whole/")
    with pytest.raises(InputError, match=r"mine is not empty: thesis.tex is in it"):
        destination_of(f"{tmp_path}/mine")


@pytest.mark.parametrize("name", ["texts.jsonl.gz", "texts.csv", "texts.arrow"])
def test_parts_are_of_any_format(tmp_path: Path, name: str) -> None:
    write_results(f"{tmp_path}/{name}/", batches(), made_by=made_by())
    suffix = name.removeprefix("texts")
    assert [path for path in names(tmp_path / name) if path.startswith("part")] == [
        f"part-0000{number}{suffix}" for number in range(4)
    ]


def test_parts_of_arrow_are_a_saved_dataset(tmp_path: Path) -> None:
    # Given parts in Arrow's format, Then the notes beside them are those of a saved dataset
    write_results(destination_of(f"{tmp_path}/texts/", "arrow"), batches(), made_by=made_by())
    state = json.loads((tmp_path / "texts" / "state.json").read_text())
    assert [each["filename"] for each in state["_data_files"]] == [f"part-0000{number}.arrow" for number in range(4)]
    # And `open_corpus` takes it for one: it looks for vectors in it
    with pytest.raises(InputError, match="column"):
        open_corpus(tmp_path / "texts")


def test_datasets_opens_what_was_written(tmp_path: Path) -> None:
    datasets: Any = pytest.importorskip("datasets", reason="a large package that only this test needs")
    write_results(destination_of(f"{tmp_path}/texts/", "arrow"), batches(), made_by=made_by())
    assert datasets.load_from_disk(str(tmp_path / "texts"))["text"][9] == "text 9"


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_a_file_says_what_made_it(tmp_path: Path, name: str) -> None:
    # Given rows and what made them, When they are written
    write_results(tmp_path / name, batches(), made_by=made_by())
    # Then the metadata has it: job, decoder and its checkpoint, seed, options, versions
    path = tmp_path / name
    schema = pq.read_schema(path) if name.endswith("parquet") else pa.ipc.open_file(path.read_bytes()).schema
    assert MadeBy.model_validate_json(schema.metadata[KEY]) == made_by()
    said = json.loads(schema.metadata[KEY])
    assert (said["job"], said["decoder"], said["checkpoint"], said["seed"]) == ("job_1", "tiny", "c0ffee", 7)
    assert said["options"]["candidates"] == 4
    assert said["unembed"]
