"""POST of batches whose vectors workers read themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from fastapi.testclient import TestClient

from tests.api.conftest import assert_problem, new_job, put
from tests.api.test_batches import messages
from tests.builders import DIM
from unembed.models.settings import Settings
from unembed.models.store import Store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "corpora").mkdir()
    return tmp_path / "corpora"


@pytest.fixture
def api(serve: Callable[..., TestClient], root: Path) -> TestClient:
    return serve(corpus_roots=(f"file://{root}",))


def body(root: Path, *rows: int, first_ordinal: int = 0, **file: Any) -> dict[str, Any]:
    """Batches of so many rows, one after the other in a row group; one of two rows unless told otherwise."""
    batches, start = [], 0
    for ordinal, count in enumerate(rows or (2,), start=first_ordinal):
        batches.append({"ordinal": ordinal, "first_index": start, "rows": count, "group": 0, "start": start})
        start += count
    given = {"uri": f"file://{root}/a.parquet", "size": 1000, "version": "mtime:1", "column": "embedding"}
    return {"file": given | file, "batches": batches}


def post(client: TestClient, job: str, given: Any) -> Any:
    return client.post(f"/v1/jobs/{job}/batches", json=given)


def test_batches_by_reference_are_recorded_and_announced_and_redis_has_no_vectors(
    api: TestClient, api_settings: Settings, root: Path
) -> None:
    # Given a job
    job = new_job(api)
    # When it gets three batches by reference
    answer = post(api, job, body(root, 2, 3, 4))
    # Then they wait, and say where their vectors are
    assert (answer.status_code, answer.json()) == (201, {"added": 3, "known": 0})
    batches = api.get(f"/v1/jobs/{job}/batches").json()["batches"]
    assert [(batch["first_index"], batch["rows"], batch["state"]) for batch in batches] == [
        (0, 2, "queued"),
        (2, 3, "queued"),
        (5, 4, "queued"),
    ]
    assert batches[1]["reference"] == {
        "uri": f"file://{root}/a.parquet",
        "size": 1000,
        "version": "mtime:1",
        "column": "embedding",
        "id_column": None,
        "group": 0,
        "start": 2,
    }
    assert len(batches[1]["sha256"]) == 64
    # And there is a message for each, and no payload
    assert messages(api_settings) == 3
    with redis.Redis.from_url(api_settings.redis_url) as client:
        assert client.keys("unembed:payload:*") == []
    # And the job can be sealed
    assert api.post(f"/v1/jobs/{job}/seal", json={"batches": 3, "rows": 9}).json()["state"] == "queued"


def test_the_same_batches_again_are_known_and_others_are_refused_together(api: TestClient, root: Path) -> None:
    # Given a job with two batches
    job = new_job(api)
    post(api, job, body(root, 2, 3))
    # When they come again, Then nothing is added
    again = post(api, job, body(root, 2, 3))
    assert (again.status_code, again.json()) == (200, {"added": 0, "known": 2})
    # When another version of the file, or other rows, come under their numbers, Then none of that request is added
    assert_problem(post(api, job, body(root, 2, 3, 4, version="mtime:2")), 409, "conflict", "sha256")
    assert_problem(post(api, job, body(root, 2, 4, 4)), 409, "conflict")
    assert len(api.get(f"/v1/jobs/{job}/batches").json()["batches"]) == 2
    # And neither do vectors take the place of a reference
    assert_problem(put(api, job), 409, "conflict", "sha256")


def test_a_batch_by_reference_and_one_with_vectors_make_one_job(api: TestClient, root: Path) -> None:
    job = new_job(api)
    assert post(api, job, body(root, 5)).status_code == 201
    assert put(api, job, 1, 5).status_code == 201
    assert api.post(f"/v1/jobs/{job}/seal", json={"batches": 2, "rows": 7}).status_code == 200


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("file:///etc/passwd", "not under an allowed root; UNEMBED_CORPUS_ROOTS allows file://"),
        ("{root}/../b.parquet", "has '.', '..'"),
        ("{root}/%2e%2e/b.parquet", "has the character '%'"),
        ("{root}/out.parquet", "not under an allowed root"),
        ("https://169.254.169.254/latest/meta-data", "not under an allowed root"),
        ("http://127.0.0.1:6379/", "has the scheme 'http'"),
        ("s3://key:hunter2@bucket/b.parquet", "has credentials"),
        ("b.parquet", "is no URI"),
    ],
)
def test_a_uri_that_leads_elsewhere_is_refused(api: TestClient, root: Path, uri: str, says: str) -> None:
    (root / "out.parquet").symlink_to(root.parent / "b.parquet")
    job = new_job(api)
    answer = post(api, job, body(root, uri=uri.format(root=f"file://{root}")))
    assert "hunter2" not in answer.text
    assert_problem(answer, 422, "roots", says)
    assert api.get(f"/v1/jobs/{job}/batches").json()["batches"] == []


def test_a_server_without_roots_takes_no_reference(serve: Callable[..., TestClient], root: Path) -> None:
    api = serve()
    answer = post(api, new_job(api), body(root))
    assert_problem(answer, 422, "roots", "UNEMBED_CORPUS_ROOTS names no root here, so references are off")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda given: given["batches"].clear(), "batches"),
        (lambda given: given["batches"].extend(given["batches"] * 500), "batches"),
        (lambda given: given["batches"][0].update(rows=0), "rows"),
        (lambda given: given["batches"][0].update(start=-1), "start"),
        (lambda given: given["batches"][0].update(payload="AAAA"), "payload"),
        (lambda given: given["file"].update(size=0), "size"),
        (lambda given: given["file"].update(version=""), "version"),
        (lambda given: given["file"].update(uri="file:///a\0b"), "uri"),
        (lambda given: given["file"].pop("version"), "version"),
    ],
)
def test_a_body_that_is_none_is_refused_and_names_the_field(
    api: TestClient, root: Path, change: Callable[[dict[str, Any]], object], says: str
) -> None:
    given = body(root)
    change(given)
    assert_problem(post(api, new_job(api), given), 422, "input", says)


def test_a_batch_by_reference_has_the_limits_of_any_batch(api: TestClient, root: Path) -> None:
    job = new_job(api)
    assert_problem(post(api, job, body(root, 101)), 413, "too_large", "101 rows, but at most 100")
    assert_problem(post(api, "nothing", body(root)), 404, "not_found")


def test_a_full_queue_takes_no_references(serve: Callable[..., TestClient], root: Path) -> None:
    api = serve(corpus_roots=(f"file://{root}",), max_queued_rows=10)
    job = new_job(api)
    assert post(api, job, body(root, 8)).status_code == 201
    answer = api.post(
        f"/v1/jobs/{job}/batches",
        json=body(root) | {"batches": [{"ordinal": 1, "first_index": 8, "rows": 3, "group": 0, "start": 8}]},
    )
    assert_problem(answer, 429, "busy", "the limit of 10")


def test_a_dead_batch_by_reference_can_be_retried_though_redis_has_nothing_of_it(
    api: TestClient, root: Path, store: Store
) -> None:
    # Given a job whose batch is dead, because its file was away
    job = new_job(api, embedding_dim=DIM)
    post(api, job, body(root))
    api.post(f"/v1/jobs/{job}/seal", json={"batches": 1, "rows": 2})
    claim = store.attempts.claim(f"{job}-0", "worker", 5.0)
    assert claim is not None
    store.attempts.fail(claim.batch.id, claim.attempt, "file_missing", "gone", final=True)
    # When it is retried, Then it waits again
    answer = api.post(f"/v1/jobs/{job}/retry")
    assert answer.status_code == 200
    assert answer.json()["batches"]["queued"] == 1
