"""Rows in files: the same pages as from the database, and nothing half written, in the way, or outside the roots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine, text

from tests.builders import add_batches, generations, make_job
from unembed.errors import RootsError, StorageUnavailableError
from unembed.generations import SCHEMA, from_columns
from unembed.models.parts import Parts, part_uri
from unembed.models.settings import Settings
from unembed.models.store import Store
from unembed.schemas import Batch, Job, RowStatus, Timings

Pages = list[tuple[list[dict[str, Any]], str | None]]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return f"file://{tmp_path / 'texts'}"


@pytest.fixture
def settings(settings: Settings, folder: str) -> Settings:
    return settings.model_copy(update={"results_roots": (folder,)})


@pytest.fixture
def parts(folder: str) -> Parts:
    return Parts([folder])


def rows(count: int, first: int = 0) -> pa.RecordBatch:
    indices = range(first, first + count)
    return from_columns(indices, text=[f"text {index}" for index in indices], status=RowStatus.OK)


def finish(store: Store, batch: Batch, parts: Parts, errors: tuple[int, ...] = ()) -> None:
    """As a worker does."""
    claim = store.attempts.claim(batch.id, "worker", 5.0)
    assert claim is not None
    written = generations(batch, errors=errors)
    where = claim.job.results_uri
    part = None if where is None else parts.write(part_uri(where, batch.id, claim.attempt), written)
    assert store.attempts.finish(batch.id, claim.attempt, written, Timings(), part=part)


def kill(store: Store, batch: Batch) -> None:
    claim = store.attempts.claim(batch.id, "worker", 5.0)
    assert claim is not None
    store.attempts.fail(batch.id, claim.attempt, "decode_failed", "it went wrong", final=True)


def pages_of(store: Store, job: Job, order: Any, limit: int) -> Pages:
    """All pages of a job; cursors belong to no job."""
    pages: Pages = []
    cursor: str | None = None
    while True:
        page = store.results.page(job.id, cursor=cursor, limit=limit, order=order)
        pages.append((page.rows.to_pylist(), page.next_cursor))
        cursor = page.next_cursor
        if cursor is None or not page.rows.num_rows:
            return pages


@pytest.mark.parametrize("order", ["finished", "index"])
@pytest.mark.parametrize("seal", [True, False])
@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7, 100])
def test_the_pages_are_those_of_a_job_whose_rows_are_in_the_database(
    store: Store, parts: Parts, folder: str, order: str, seal: bool, limit: int
) -> None:
    # Given two jobs alike, one of which keeps its rows in files: batches done out of order, one dead, errors in some
    found = []
    for where in (None, folder):
        job = make_job(store, results_uri=where)
        first, dead, third, fourth = add_batches(store, job, (3, 2, 4, 1), seal=seal)
        finish(store, third, parts, errors=(1,))
        finish(store, first, parts)
        kill(store, dead)
        if seal:
            finish(store, fourth, parts)
        # When they are read page by page
        found.append(pages_of(store, job, order, limit))
    # Then the pages are the same, cursors too
    assert found[0] == found[1]
    assert sum(len(rows) for rows, _ in found[0]) >= 7


def test_rows_in_files_are_counted_and_are_not_in_the_database(
    store: Store, parts: Parts, folder: str, engine: Engine
) -> None:
    # Given a job that keeps its rows in files
    job = make_job(store, results_uri=folder)
    (batch,) = add_batches(store, job, (4,))
    # When its batch is done
    finish(store, batch, parts, errors=(2,))
    # Then its counts are those of any job, its batch names the file, and the table has no row
    assert store.jobs.get(job.id).rows.model_dump() == {"total": 4, "ok": 3, "fallback": 0, "error": 1, "unwritten": 0}
    (done,) = store.jobs.batches(job.id)
    assert done.part is not None
    path = Path(done.part.uri.removeprefix("file://"))
    assert (path.name, path.stat().st_size) == (f"{batch.id}.1.parquet", done.part.bytes)
    assert pq.read_schema(path).equals(SCHEMA)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM generations")).scalar_one() == 0


def test_a_stale_attempt_neither_writes_over_a_part_nor_is_noted(store: Store, parts: Parts, folder: str) -> None:
    # Given a batch whose first attempt is slow, and whose second is done
    job = make_job(store, results_uri=folder)
    (batch,) = add_batches(store, job, (2,))
    slow = store.attempts.claim(batch.id, "slow", 5.0)
    assert slow is not None
    assert store.attempts.release(batch.id, 1)
    finish(store, batch, parts)
    # When the first comes to its end after all
    late = parts.write(part_uri(folder, batch.id, 1), rows(2))
    assert not store.attempts.finish(batch.id, 1, rows(2), Timings(), part=late)
    # Then the part of the second stands, as it was written
    (done,) = store.jobs.batches(job.id)
    assert done.part is not None
    assert done.part.uri == part_uri(folder, batch.id, 2)
    assert [row["text"] for row in store.results.page(job.id).rows.to_pylist()] == ["text 0", "text 1"]
    # And a job knows all files that may be left of it
    assert store.jobs.parts(job.id) == [part_uri(folder, batch.id, 1), part_uri(folder, batch.id, 2)]


def test_a_job_with_its_rows_in_the_database_has_no_files(store: Store, parts: Parts) -> None:
    job = make_job(store)
    (batch,) = add_batches(store, job, (2,))
    finish(store, batch, parts)
    assert store.jobs.parts(job.id) == []


@pytest.mark.parametrize(("start", "count"), [(0, 1), (8191, 2), (8192, 1), (0, 20_000), (19_999, 1), (5, 0)])
def test_any_rows_of_a_part_can_be_read(parts: Parts, folder: str, start: int, count: int) -> None:
    uri = f"{folder}/p.parquet"
    parts.write(uri, rows(20_000, 7))
    assert parts.read(uri, start, count).equals(rows(20_000, 7).slice(start, count))


def test_what_no_database_keeps_is_not_in_a_file_either(parts: Parts, folder: str) -> None:
    # Given rows with NaN, infinity and NUL
    given = from_columns([0, 1], text=["a\0b", "c"], status=RowStatus.OK, fluency=np.array([np.nan, np.inf]))
    parts.write(f"{folder}/p.parquet", given)
    # When they are read, Then they are what the database would have made of them
    found = parts.read(f"{folder}/p.parquet", 0, 2)
    assert found.column("text").to_pylist() == ["a\N{REPLACEMENT CHARACTER}b", "c"]
    assert found.column("fluency").to_pylist() == [None, None]


def test_a_part_that_could_not_be_written_leaves_nothing(
    parts: Parts, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a disk that is full
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    # When a part is written, Then it is said, and no half of it is left
    with pytest.raises(StorageUnavailableError, match=r"p\.parquet cannot be reached: .*No space left"):
        parts.write(f"{folder}/p.parquet", rows(2))
    assert list((tmp_path / "texts").iterdir()) == []


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("file:///etc/texts", "not under an allowed root; UNEMBED_RESULTS_ROOTS allows"),
        ("{folder}/../elsewhere", "has '.', '..'"),
        ("{folder}/out", "not under an allowed root"),
        ("ftp://host/texts", "has the scheme 'ftp'"),
        ("s3://key:hunter2@bucket/texts", "has credentials"),
    ],
)
def test_a_folder_that_leads_elsewhere_is_refused(
    parts: Parts, folder: str, tmp_path: Path, uri: str, says: str
) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "out").symlink_to(tmp_path)
    with pytest.raises(RootsError) as refused:
        parts.require(uri.format(folder=folder))
    assert says in refused.value.message
    assert "hunter2" not in refused.value.message
    with pytest.raises(RootsError):
        parts.write(part_uri(uri.format(folder=folder), "b", 1), rows(1))


def test_nobody_writes_to_a_web_site() -> None:
    with pytest.raises(RootsError, match="cannot be written to https://"):
        Parts(["https://host/texts"]).require("https://host/texts")


def test_a_part_that_is_gone_damaged_or_another_is_not_taken_for_rows(
    parts: Parts, folder: str, tmp_path: Path
) -> None:
    uri, path = f"{folder}/p.parquet", tmp_path / "texts" / "p.parquet"
    with pytest.raises(StorageUnavailableError, match=r"this server cannot read the rows in .* does not exist"):
        parts.read(uri, 0, 1)
    parts.write(uri, rows(2))
    with pytest.raises(StorageUnavailableError, match="it has 2 rows"):
        parts.read(uri, 0, 3)
    with pytest.raises(StorageUnavailableError, match="UNEMBED_RESULTS_ROOTS names no root here"):
        Parts([]).read(uri, 0, 1)
    pq.write_table(pa.table({"text": ["a", "b"]}), path)
    with pytest.raises(StorageUnavailableError, match="it has 2 rows of text"):
        parts.read(uri, 0, 1)
    path.write_bytes(b"PAR1")
    with pytest.raises(StorageUnavailableError, match="damaged or cut short"):
        parts.read(uri, 0, 1)


def test_deleting_takes_what_is_there_and_half_of_what_was_to_be(parts: Parts, folder: str, tmp_path: Path) -> None:
    # Given a part, and one that was being written when its worker was killed
    parts.write(f"{folder}/a.parquet", rows(1))
    (tmp_path / "texts" / ".b.parquet.half").touch()
    (tmp_path / "texts" / "others.parquet").touch()
    # When they are deleted, and one that never was
    parts.delete([f"{folder}/{name}.parquet" for name in ("a", "b", "c")])
    # Then what belongs to others is all that is left
    assert [path.name for path in (tmp_path / "texts").iterdir()] == ["others.parquet"]


def test_deleting_where_nothing_can_be_reached_is_logged(folder: str, caplog: pytest.LogCaptureFixture) -> None:
    Parts([]).delete([f"{folder}/a.parquet"])
    assert "a.parquet stays: " in caplog.text
