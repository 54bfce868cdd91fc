"""Columns that a job carries: sent with its batches, given back with its rows."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import assert_problem, new_job, put, vectors
from tests.api.pages.conftest import ESCAPED, HTML, SCRIPT, assert_escaped
from tests.builders import run_job
from unembed.corpus import encode_payload
from unembed.generations import SCHEMA
from unembed.models.store import Store
from unembed.schemas import ARROW_STREAM, MAX_CARRIED_BYTES

CARRY = {"title": "string", "text": "string", "year": "integer"}
KEPT = {"Prefer": "carried"}
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def carrying(**columns: list[Any]) -> bytes:
    """A payload of two rows that carry these."""
    return encode_payload(vectors(2), carried=pa.RecordBatch.from_pydict(columns))


GOOD = carrying(title=["One", SCRIPT], text=["a source", None], year=[1999, None])


@pytest.fixture
def job(api: TestClient, store: Store) -> str:
    """An ended job of two rows that carry three columns."""
    job = new_job(api, carry=CARRY)
    assert put(api, job, content=GOOD).status_code == 201
    assert put(api, job, content=GOOD).status_code == 200  # again, it is the same
    api.post(f"/v1/jobs/{job}/seal", json={"batches": 1, "rows": 2})
    run_job(store, store.jobs.get(job))
    return job


def test_rows_come_with_what_they_carry_for_who_asks(api: TestClient, job: str) -> None:
    # When its rows are asked for with what they carry, as JSON lines
    answer = api.get(f"/v1/jobs/{job}/results", headers=KEPT)
    first, second = map(json.loads, answer.text.splitlines())
    # Then the columns are behind those of the results; one that is called like a result has another name
    assert list(first) == [*SCHEMA.names, "title", "source_text", "year"]
    assert (first["text"], first["title"], first["source_text"], first["year"]) == ("text 0", "One", "a source", 1999)
    assert (second["title"], second["source_text"], second["year"]) == (SCRIPT, None, None)
    assert answer.headers["Preference-Applied"] == "carried"
    # And in Arrow with their types
    arrow = api.get(f"/v1/jobs/{job}/results", headers={**KEPT, "Accept": ARROW_STREAM})
    with pa.ipc.open_stream(arrow.content) as reader:
        assert reader.schema.field("year").type == pa.int64()
    # And who does not ask gets what there has always been, under another tag
    plain = api.get(f"/v1/jobs/{job}/results")
    assert list(json.loads(plain.text.splitlines()[0])) == SCHEMA.names
    assert plain.headers["ETag"] != answer.headers["ETag"]


@on_sqlite
@pytest.mark.parametrize("format", ["parquet", "arrow", "csv", "jsonl"])
def test_a_file_has_them(api: TestClient, job: str, format: str) -> None:
    content = api.get(f"/v1/jobs/{job}/download", params={"format": format}).content
    match format:
        case "parquet":
            found = pq.read_table(io.BytesIO(content)).to_pylist()
        case "arrow":
            found = pa.ipc.open_file(pa.py_buffer(content)).read_all().to_pylist()
        case "jsonl":
            found = [json.loads(line) for line in content.splitlines()]
        case _:
            assert content.splitlines()[0].endswith(b",title,source_text,year")
            assert content.splitlines()[1].endswith(b",One,a source,1999")
            return
    assert [(row["title"], row["source_text"], row["year"]) for row in found] == [
        ("One", "a source", 1999),
        (SCRIPT, None, None),
    ]


@on_sqlite
def test_pages_show_them_beside_the_text_as_text(api: TestClient, job: str) -> None:
    # When the job's page and its rows are looked at
    for path in (f"/jobs/{job}", f"/jobs/{job}/rows", f"/jobs/{job}/rows?show=best", f"/jobs/{job}/rows?q=text"):
        page = api.get(path, headers=HTML).text
        # Then each text has them, and a script is text
        assert "<dt>title</dt> <dd>One</dd>" in page
        assert "<dt>source_text</dt> <dd>a source</dd>" in page
        assert f"<dd>{ESCAPED}</dd>" in page
        assert_escaped(page, 1)
    # And the job says what it carries
    assert "<dt>Carries</dt>" in api.get(f"/jobs/{job}", headers=HTML).text


@on_sqlite
def test_what_does_not_fit_the_job_is_refused(api: TestClient) -> None:
    job = new_job(api, carry={"title": "string"})
    for content, says in (
        (encode_payload(vectors(2)), "carries title, but the batch does not; expected an Arrow stream"),
        (carrying(titel=["a", "b"]), "the batch carries titel, but the job"),
        (carrying(title=[1, 2]), "the carried column 'title' of the batch is int64; expected string"),
        (
            carrying(title=["a", "b" * 5000]),
            f"row 1 carries 5,000 bytes, 5,000 of them in 'title'; expected at most {MAX_CARRIED_BYTES:,}",
        ),
    ):
        assert_problem(put(api, job, content=content), 400, "input", says)
    raw = {"content": vectors(2).tobytes(), "headers": {"Content-Type": "application/octet-stream"}}
    assert_problem(put(api, job, params={"dtype": "float32"}, **raw), 400, "input", "expected an Arrow stream")
    # And other columns under the same number are other rows
    assert put(api, job, content=carrying(title=["a", "b"])).status_code == 201
    assert_problem(put(api, job, content=carrying(title=["a", "c"])), 409, "conflict", "sha256")
    # And a job that was opened without them takes none
    assert_problem(put(api, new_job(api), content=carrying(title=["a", "b"])), 400, "input", "without `carry`")


@on_sqlite
def test_what_is_no_column_is_refused_when_the_job_is_opened(api: TestClient) -> None:
    for carry, says in (
        ({"": "string"}, "carry"),
        ({"a": "date"}, "'string', 'integer', 'number' or 'boolean'"),
        ({f"c{number}": "string" for number in range(17)}, "at most 16"),
    ):
        answer = api.post("/v1/jobs", json={"decoder": "toy", "embedding_dim": 4, "carry": carry})
        assert answer.status_code == 422
        assert says in answer.json()["detail"]


@on_sqlite
def test_the_same_key_with_other_columns_is_another_job(api: TestClient) -> None:
    key = {"Idempotency-Key": "k"}
    body = {"decoder": "toy", "embedding_dim": 4}
    assert api.post("/v1/jobs", json={**body, "carry": CARRY}, headers=key).status_code == 201
    assert api.post("/v1/jobs", json={**body, "carry": CARRY}, headers=key).status_code == 200
    assert_problem(api.post("/v1/jobs", json=body, headers=key), 422, "idempotency", "another carry")
