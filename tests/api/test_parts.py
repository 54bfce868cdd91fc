"""Jobs that keep their rows in files, over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import DECODER, assert_problem, new_job, put
from tests.builders import DIM, generations
from unembed.models.parts import Parts, part_uri
from unembed.models.store import Store
from unembed.schemas import Timings


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return tmp_path / "texts"


@pytest.fixture
def api(serve: Callable[..., TestClient], texts: Path) -> TestClient:
    return serve(results_roots=(f"file://{texts}",))


def done_job(api: TestClient, store: Store, texts: Path) -> str:
    """A job of one batch of two rows, in a file."""
    job = new_job(api, results_uri=f"file://{texts}/today")
    put(api, job)
    api.post(f"/v1/jobs/{job}/seal", json={"batches": 1, "rows": 2})
    claim = store.attempts.claim(f"{job}-0", "worker", 5.0)
    assert claim is not None
    rows = generations(claim.batch)
    part = Parts([str(texts)]).write(part_uri(f"file://{texts}/today", claim.batch.id, 1), rows)
    assert store.attempts.finish(claim.batch.id, 1, rows, Timings(), part=part)
    return job


def test_the_rows_are_read_as_those_of_any_job(api: TestClient, store: Store, texts: Path) -> None:
    # Given a job whose rows are in a file
    job = done_job(api, store, texts)
    # When they are read, Then they are there, and the job and the batch say where
    lines = api.get(f"/v1/jobs/{job}/results?order=index").text.splitlines()
    assert ['"text 0"' in lines[0], '"text 1"' in lines[1], len(lines)] == [True, True, 2]
    assert api.get(f"/v1/jobs/{job}").json()["results_uri"] == f"file://{texts}/today"
    (batch,) = api.get(f"/v1/jobs/{job}/batches").json()["batches"]
    path = texts / "today" / f"{job}-0.1.parquet"
    assert batch["part"] == {"uri": f"file://{path}", "bytes": path.stat().st_size}


def test_a_removed_job_takes_its_files_along(api: TestClient, store: Store, texts: Path) -> None:
    job = done_job(api, store, texts)
    assert api.delete(f"/v1/jobs/{job}").status_code == 204
    assert list((texts / "today").iterdir()) == []


def test_rows_that_this_server_cannot_read_are_said_to_be_elsewhere(
    api: TestClient, serve: Callable[..., TestClient], store: Store, texts: Path
) -> None:
    # Given a job whose rows are in a file, and a server without the folder
    job = done_job(api, store, texts)
    other = serve()
    # When they are asked for there, Then the answer says where they are
    answer = other.get(f"/v1/jobs/{job}/results")
    assert_problem(answer, 503, "storage_unavailable", "cannot read the rows in file://", "UNEMBED_RESULTS_ROOTS")


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("file:///etc", "not under an allowed root; UNEMBED_RESULTS_ROOTS allows"),
        ("/tmp/texts", "is no URI"),
        ("{texts}/../x", "has '.', '..'"),
        ("https://user:hunter2@host/x", "has credentials"),
        ("{texts}?x", "has the character '?'"),
    ],
)
def test_a_folder_that_is_not_allowed_makes_no_job(api: TestClient, texts: Path, uri: str, says: str) -> None:
    spec = {"decoder": DECODER, "embedding_dim": DIM, "results_uri": uri.format(texts=f"file://{texts}")}
    answer = api.post("/v1/jobs", json=spec)
    assert "hunter2" not in answer.text
    assert_problem(answer, 422, "roots", says)
    assert api.get("/v1/jobs").json()["jobs"] == []


def test_a_server_without_roots_keeps_rows_in_its_database(serve: Callable[..., TestClient], texts: Path) -> None:
    spec = {"decoder": DECODER, "embedding_dim": DIM, "results_uri": f"file://{texts}"}
    assert_problem(serve().post("/v1/jobs", json=spec), 422, "roots", "UNEMBED_RESULTS_ROOTS names no root")
