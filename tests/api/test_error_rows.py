"""The rows without a text, by themselves."""

from __future__ import annotations

import json

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import assert_problem
from tests.api.test_results import finish
from tests.builders import add_batches, make_job
from unembed.models.store import Store, error_pages


def read(api: TestClient, job: str, limit: int = 1000) -> list[int]:
    """The indices of all error rows, read to the end."""
    found, params = [], {"limit": str(limit)}
    while True:
        answer = api.get(f"/v1/jobs/{job}/errors", params=params)
        assert answer.status_code == 200, answer.text
        rows = [json.loads(line) for line in answer.text.splitlines()]
        assert all(row["status"] == "error" and row["error_code"] for row in rows)
        assert len(rows) <= limit
        found += [row["index"] for row in rows]
        if "Unembed-Next-Cursor" not in answer.headers:
            return found
        params["cursor"] = answer.headers["Unembed-Next-Cursor"]


@pytest.mark.parametrize("limit", [1, 2, 1000])
@pytest.mark.parametrize("batches_a_page", [1, 100])
def test_only_the_rows_without_a_text_are_read(
    api: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch, limit: int, batches_a_page: int
) -> None:
    # Given a batch with errors, one without, one that failed for good, and another with errors
    monkeypatch.setattr(error_pages, "_BATCHES_A_PAGE", batches_a_page)
    job = make_job(store)
    first, second, third, fourth = add_batches(store, job, [3, 2, 2, 3])
    finish(store, first, errors=(0, 2))
    finish(store, second)
    claim = store.attempts.claim(third.id, "worker", 60)
    assert claim is not None
    store.attempts.fail(third.id, claim.attempt, "out_of_memory", "too large", final=True)
    # When the errors are read while the job runs, Then they are those that there are
    assert read(api, job.id, limit) == [0, 2]
    # And when it has ended, then those of the dead batch are among them
    finish(store, fourth, errors=(1,))
    assert read(api, job.id, limit) == [0, 2, 5, 6, 8]


def test_a_job_without_errors_has_none(api: TestClient, store: Store) -> None:
    job = make_job(store)
    (batch,) = add_batches(store, job, [3])
    finish(store, batch)
    assert read(api, job.id) == []


def test_a_job_that_there_is_not_has_no_errors_either(api: TestClient) -> None:
    assert_problem(api.get("/v1/jobs/nope/errors"), 404, "not_found")
    assert_problem(api.get("/v1/jobs/nope/errors?cursor=x"), 404, "not_found")
