"""All rows of a job as one file, and the rows of a page as a file: in each format."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import assert_problem, new_job
from tests.api.test_results import finish
from tests.builders import add_batches, generations, make_job
from unembed.api.downloads import Downloads
from unembed.models.store import Store
from unembed.results import write_results
from unembed.schemas import ARROW_FILE, ARROW_STREAM, CSV, JSON_LINES, PARQUET, Batch

# Nothing here depends on which database it is.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

READ: dict[str, Callable[[bytes], list[Any]]] = {
    "parquet": lambda data: pq.read_table(io.BytesIO(data)).column("text").to_pylist(),
    "arrow": lambda data: pa.ipc.open_file(pa.py_buffer(data)).read_all().column("text").to_pylist(),
    "csv": lambda data: [row["text"] or None for row in csv.DictReader(io.StringIO(data.decode()))],
    "jsonl": lambda data: [json.loads(line)["text"] for line in data.splitlines()],
}
TEXTS = ["text 0", None, "text 2", "text 3", "text 4"]


@pytest.fixture
def job(store: Store) -> str:
    """A job that has ended, its batches out of order and with an error row."""
    job = make_job(store)
    first, second = add_batches(store, job, [3, 2])
    finish(store, second)
    finish(store, first, errors=(1,))
    return job.id


@on_sqlite
@pytest.mark.parametrize(
    ("format", "media_type"),
    [("parquet", PARQUET), ("arrow", ARROW_FILE), ("csv", f"{CSV}; charset=utf-8"), ("jsonl", JSON_LINES)],
)
def test_an_ended_job_is_one_file(api: TestClient, job: str, format: str, media_type: str) -> None:
    # Given a job that has ended, When it is downloaded
    answer = api.get(f"/v1/jobs/{job}/download", params={"format": format})
    # Then all rows are there in the corpus's order, under a name to keep them by
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    assert answer.headers["content-disposition"] == f'attachment; filename="{job}.{format}"'
    assert READ[format](answer.content) == TEXTS


@on_sqlite
def test_a_download_that_broke_off_goes_on(api: TestClient, job: str) -> None:
    # Given the first part of a download
    path = f"/v1/jobs/{job}/download?format=jsonl"
    whole = api.get(path)
    begun = whole.content[:100]
    # When the rest is asked for, as it was
    rest = api.get(path, headers={"Range": "bytes=100-", "If-Range": whole.headers["ETag"]})
    # Then only that comes
    size = len(whole.content)
    assert (rest.status_code, rest.headers["content-range"]) == (206, f"bytes 100-{size - 1}/{size}")
    assert begun + rest.content == whole.content
    # And the whole file, if it is not the same any more
    other = api.get(path, headers={"Range": "bytes=100-", "If-Range": '"other"'})
    assert (other.status_code, other.content) == (200, whole.content)


@on_sqlite
def test_a_range_beyond_the_file_is_refused(api: TestClient, job: str) -> None:
    answer = api.get(f"/v1/jobs/{job}/download", headers={"Range": "bytes=9999999-"})
    assert_problem(answer, 416, "input", "bytes=9999999-")
    assert answer.headers["content-range"].startswith("bytes */")


@on_sqlite
@pytest.mark.parametrize("given", ["bytes=x-y", "rows=1-2", "bytes"])
def test_a_range_that_is_none_is_passed_over(api: TestClient, job: str, given: str) -> None:
    assert api.get(f"/v1/jobs/{job}/download", headers={"Range": given}).status_code == 200


@on_sqlite
def test_the_head_of_a_download_says_how_long_it_is(api: TestClient, job: str) -> None:
    path = f"/v1/jobs/{job}/download"
    assert int(api.head(path).headers["content-length"]) == len(api.get(path).content)


@on_sqlite
def test_a_job_that_runs_has_no_file_yet(api: TestClient) -> None:
    assert_problem(api.get(f"/v1/jobs/{new_job(api)}/download"), 409, "conflict", "receiving", "pages")


@on_sqlite
def test_a_file_is_made_once_and_anew_when_the_job_has_changed(api: TestClient, store: Store) -> None:
    # Given a job with a dead batch, downloaded
    job = make_job(store)
    first, second = add_batches(store, job, [2, 1])
    finish(store, first)
    claim = store.attempts.claim(second.id, "worker", 60)
    assert claim is not None
    store.attempts.fail(second.id, claim.attempt, "decode_failed", "no", final=True)
    path = f"/v1/jobs/{job.id}/download?format=csv"
    before = api.get(path)
    assert READ["csv"](before.content) == ["text 0", "text 1", None]
    assert api.get(path).headers["ETag"] == before.headers["ETag"]
    # When that batch is tried again and done, Then the file is another
    store.requeue.retry(job.id, {second.id})
    assert api.get(path).status_code == 409
    finish(store, second)
    after = api.get(path)
    assert READ["csv"](after.content) == ["text 0", "text 1", "text 2"]
    assert after.headers["ETag"] != before.headers["ETag"]


def test_files_that_nobody_asks_for_make_room() -> None:
    # Given room for one file
    now = 0.0
    downloads = Downloads(kept_bytes=1, clock=lambda: now)
    rows = generations(_batch())

    def write(path: Path) -> None:
        write_results(path, iter([rows]))

    try:
        first = downloads.get("first", "jsonl", write)
        # When another is made at once, Then both are there: somebody may be about to open the first
        downloads.get("second", "jsonl", write)
        assert first.path.exists()
        # And when one is made later, then the old ones go
        now = 100.0
        third = downloads.get("third", "jsonl", write)
        assert (first.path.exists(), third.path.exists()) == (False, True)
        # And what is asked for again is made again
        assert downloads.get("first", "jsonl", write).tag == first.tag
    finally:
        downloads.close()
    assert not third.path.exists()


@on_sqlite
@pytest.mark.parametrize(
    ("format", "media_type"), [("parquet", PARQUET), ("arrow", ARROW_STREAM), ("csv", CSV), ("jsonl", JSON_LINES)]
)
@pytest.mark.parametrize("by_header", [True, False])
def test_a_page_comes_in_the_format_that_is_asked_for(
    api: TestClient, job: str, format: str, media_type: str, by_header: bool
) -> None:
    # Given a page of rows, When it is asked for by Accept or by name, Then it comes in that format
    asked: dict[str, Any] = {"headers": {"Accept": media_type}} if by_header else {"params": {"format": format}}
    answer = api.get(f"/v1/jobs/{job}/results", **asked)
    assert answer.headers["content-type"].partition(";")[0] == media_type
    if format == "arrow":
        texts = pa.ipc.open_stream(pa.py_buffer(answer.content)).read_all().column("text").to_pylist()
    else:
        texts = READ[format](answer.content)
    assert sorted(texts, key=str) == sorted(TEXTS, key=str)


def _batch() -> Batch:
    return Batch.model_construct(first_index=0, rows=2)
