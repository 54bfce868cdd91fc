"""Labels of jobs, and how jobs are found."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import DECODER, assert_problem, new_job
from tests.builders import DIM, make_job
from unembed.models.store import Store


def found(api: TestClient, query: str) -> list[str]:
    answer = api.get(f"/v1/jobs?{query}")
    assert answer.status_code == 200, answer.text
    return [job["name"] for job in answer.json()["jobs"]]


def test_jobs_are_found_by_label_name_and_decoder(api: TestClient, store: Store) -> None:
    # Given jobs with labels, names and decoders
    for name, labels in (
        ("News 2025", {"team": "search", "app.kubernetes.io/run": "7"}),
        ("news_old", {"team": "ads"}),
    ):
        new_job(api, name=name, labels=labels)
    make_job(store, name="100%", decoder="other")
    # When some are asked for, Then they are found, the newest first
    assert found(api, "label=team%3Dsearch") == ["News 2025"]
    assert found(api, "label=team") == ["news_old", "News 2025"]
    assert found(api, "label=team&label=app.kubernetes.io/run%3D7") == ["News 2025"]
    assert found(api, "label=team%3D") == []
    assert found(api, "name=NEWS") == ["news_old", "News 2025"]
    assert found(api, "name=s_o") == ["news_old"]
    assert found(api, "name=%25") == ["100%"]
    assert found(api, "decoder=other") == ["100%"]
    assert found(api, f"decoder={DECODER}&name=old&state=receiving&label=team%3Dads") == ["news_old"]


def test_labels_are_shown_with_the_job(api: TestClient) -> None:
    labels = {"team": "search", "note": "ä = b, 'c' \"d\""}
    assert api.get(f"/v1/jobs/{new_job(api, labels=labels)}").json()["labels"] == labels


def test_labels_may_change_under_the_same_key(api: TestClient) -> None:
    # Given a job, When it is submitted again under its key with other labels, Then it is the same job with those
    def submit(labels: dict[str, str]) -> Any:
        spec = {"decoder": DECODER, "embedding_dim": DIM, "labels": labels}
        return api.post("/v1/jobs", json=spec, headers={"Idempotency-Key": "k"}).json()

    first, second = submit({"run": "1"}), submit({"run": "2"})
    assert (first["id"], second["labels"]) == (second["id"], {"run": "2"})


@pytest.mark.parametrize(
    "labels", [{"": "x"}, {"a b": "x"}, {"-a": "x"}, {"a" * 64: "x"}, {"a": "x" * 201}, {"a": 1}, {"a": "\x00"}]
)
def test_labels_that_cannot_be_are_refused(api: TestClient, labels: dict[str, Any]) -> None:
    answer = api.post("/v1/jobs", json={"decoder": DECODER, "embedding_dim": DIM, "labels": labels})
    assert_problem(answer, 422, "input", "labels")


@pytest.mark.parametrize("query", ["label=%3Dx", "label=a%20b", "label=a%3D%00", "name="])
def test_a_filter_that_nothing_could_match_is_refused(api: TestClient, query: str) -> None:
    assert_problem(api.get(f"/v1/jobs?{query}"), 422, "input")
