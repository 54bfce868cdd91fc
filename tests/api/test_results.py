from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import assert_problem, new_job
from tests.builders import add_batches, generations, make_job
from unembed.generations import SCHEMA, from_arrow_stream, from_columns, from_rows, rows_of
from unembed.models.store import Store
from unembed.schemas import ARROW_STREAM, GENERATION_FIELDS, Batch, Generation, RowStatus, Timings


def finish(store: Store, batch: Batch, errors: tuple[int, ...] = (), worker: str = "worker") -> None:
    claim = store.attempts.claim(batch.id, worker, 60)
    assert claim is not None
    written = store.attempts.finish(
        batch.id, claim.attempt, generations(batch, errors=errors), Timings(), device="cpu", peak_memory_bytes=None
    )
    assert written


def read(api: TestClient, job: str, **params: Any) -> tuple[list[dict[str, Any]], str | None]:
    answer = api.get(f"/v1/jobs/{job}/results", params=params)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/jsonl"), answer.text
    return [json.loads(line) for line in answer.text.splitlines()], answer.headers.get("Unembed-Next-Cursor")


def read_all(api: TestClient, job: str, **params: Any) -> list[int]:
    rows, cursor = read(api, job, **params)
    found = [row["index"] for row in rows]
    while cursor is not None:
        rows, cursor = read(api, job, cursor=cursor, **params)
        found += [row["index"] for row in rows]
    return found


def test_results_are_one_generation_a_line(api: TestClient, store: Store) -> None:
    # Given a finished batch with an error row
    job = make_job(store)
    (batch,) = add_batches(store, job, [3])
    finish(store, batch, errors=(1,))
    # When they are read
    rows, cursor = read(api, job.id)
    # Then each line is a generation under its usual names, errors among them, and that was all
    assert [tuple(row) for row in rows] == [GENERATION_FIELDS] * 3
    assert [Generation(**row).status for row in rows] == ["ok", "error", "ok"]
    assert [row["off_manifold"] for row in rows] == [False, None, False]
    assert cursor is None


@pytest.mark.parametrize("order", ["finished", "index"])
def test_pages_have_every_row_once(api: TestClient, store: Store, order: str) -> None:
    # Given three batches that finished out of order
    job = make_job(store)
    batches = add_batches(store, job, [3, 2, 4])
    for batch in (batches[2], batches[0], batches[1]):
        finish(store, batch)
    # When they are read in pages of two
    found = read_all(api, job.id, limit=2, order=order)
    # Then each row is there once, in the order asked for
    assert found == (list(range(9)) if order == "index" else [5, 6, 7, 8, 0, 1, 2, 3, 4])


def test_what_is_done_is_read_while_the_rest_still_runs(api: TestClient, store: Store) -> None:
    # Given a job whose second batch is done and whose first is not
    job = make_job(store)
    first, second = add_batches(store, job, [2, 2])
    finish(store, second)
    # When what there is is read
    rows, cursor = read(api, job.id)
    # Then the cursor goes on where it ended, and nothing is missed or read twice
    assert [row["index"] for row in rows] == [2, 3]
    assert cursor is not None
    finish(store, first)
    rows, cursor = read(api, job.id, cursor=cursor)
    assert [row["index"] for row in rows] == [0, 1]


def test_a_job_without_results_yet_answers_with_no_lines(api: TestClient) -> None:
    # Given a job that still receives, When its results are read, Then there are none, and no error
    rows, _ = read(api, new_job(api))
    assert rows == []


def test_json_lines_are_those_of_the_generations_to_the_byte(api: TestClient, store: Store) -> None:
    # Given rows with everything that JSON can be written in two ways
    job = make_job(store)
    (batch,) = add_batches(store, job, [3])
    rows = [
        Generation(
            index=0, id='ä"\\/\t', text="猫 \u2028 \x7f \x01 🙂", status=RowStatus.OK, fluency=1e-5, coherence=1e-7
        ),
        Generation(index=1, text="", status=RowStatus.FALLBACK, decode_ms=1e16, round_trip=-1.0, off_manifold=True),
        Generation(index=2, status=RowStatus.ERROR, error_code="x", error="a,b", tokens=0, off_manifold=False),
    ]
    claim = store.attempts.claim(batch.id, "worker", 60)
    assert claim is not None
    assert store.attempts.finish(batch.id, claim.attempt, from_rows(rows), Timings())
    # When they are read, Then they are written as each row writes itself
    body = api.get(f"/v1/jobs/{job.id}/results").content
    assert body == b"".join(row.model_dump_json().encode() + b"\n" for row in rows)


@pytest.mark.parametrize("order", ["finished", "index"])
def test_columns_are_to_be_had_page_by_page_as_lines_are(api: TestClient, store: Store, order: str) -> None:
    # Given a job with an error row
    job = make_job(store)
    for batch in reversed(add_batches(store, job, [2, 3])):
        finish(store, batch, errors=(1,))
    # When its rows are read as columns and as lines, in pages of two
    cursor: str | None = None
    for _ in range(3):
        params = {"limit": 2, "order": order} | ({"cursor": cursor} if cursor else {})
        columns = api.get(f"/v1/jobs/{job.id}/results", params=params, headers={"Accept": ARROW_STREAM})
        lines, cursor = read(api, job.id, **params)
        # Then they are the same rows, of the documented schema, with the same cursor
        assert columns.headers["content-type"] == ARROW_STREAM
        assert columns.headers.get("Unembed-Next-Cursor") == cursor
        table = from_arrow_stream(columns.content)
        assert table.schema.equals(SCHEMA, check_metadata=True)
        assert [row.model_dump(mode="json") for row in rows_of(table)] == lines
    assert cursor is None


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (ARROW_STREAM, ARROW_STREAM),
        (f"text/html, {ARROW_STREAM.upper()} ; q=0.9, */*;q=0.8", ARROW_STREAM),
        (f"{ARROW_STREAM}, application/jsonl;q=0.5", ARROW_STREAM),
        (f"{ARROW_STREAM};q=0.5, application/jsonl", "application/jsonl"),
        (f"{ARROW_STREAM};q=0", "application/jsonl"),
        (f"{ARROW_STREAM};q=much", "application/jsonl"),
        ("*/*", "application/jsonl"),
        ("application/*", "application/jsonl"),
        ("application/json", "application/jsonl"),
        ("text/html", "application/jsonl"),
        (",;q=", "application/jsonl"),
    ],
)
def test_who_does_not_ask_for_columns_gets_lines(api: TestClient, accept: str, kind: str) -> None:
    answer = api.get(f"/v1/jobs/{new_job(api)}/results", headers={"Accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert answer.headers["vary"] == "Accept, Prefer"


def test_text_with_line_ends_stays_on_its_line(api: TestClient, store: Store) -> None:
    # Given a text with every kind of line end
    job = make_job(store)
    (batch,) = add_batches(store, job, [1])
    claim = store.attempts.claim(batch.id, "worker", 60)
    assert claim is not None
    text = "a\nb\r\u2028c\u0085d"
    store.attempts.finish(batch.id, claim.attempt, from_columns([0], status=RowStatus.OK, text=text), Timings())
    # When it is read, Then it is one document, ended by the only line feed
    body = api.get(f"/v1/jobs/{job.id}/results").content
    assert body.count(b"\n") == 1
    assert json.loads(body)["text"] == text


@pytest.mark.parametrize("params", [{"limit": 0}, {"limit": 10_001}, {"order": "random"}])
def test_a_page_that_cannot_be_is_refused(api: TestClient, params: dict[str, Any]) -> None:
    # Given a page of no or too many rows, or of an unknown order, When it is asked for, Then the value is named
    answer = api.get(f"/v1/jobs/{new_job(api)}/results", params=params)
    assert_problem(answer, 422, "input", str(next(iter(params.values()))))
