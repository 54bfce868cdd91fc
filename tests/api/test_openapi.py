"""The description itself; that the answers keep to it is held by tests/api/honesty.py in every test of the API."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from unembed.schemas import ARROW_STREAM, CSV, JSON_LINES, PARQUET, PROBLEM_JSON, RAW_BYTES, DecodeOptions

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def described(api: TestClient) -> dict[str, Any]:
    document: dict[str, Any] = api.get("/openapi.json").json()
    return document


def test_every_schema_that_is_referred_to_is_there(described: dict[str, Any]) -> None:
    # Given the description, When its references are followed, Then none leads nowhere
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(described)))
    assert referred <= set(described["components"]["schemas"])


def test_every_error_is_described_as_a_problem(described: dict[str, Any]) -> None:
    # Given every operation, When its errors are read
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                # Then each is a problem document, and none is the framework's own
                if int(status) >= 400:
                    assert [*response["content"]] == [PROBLEM_JSON], (method, path, status)
    assert "HTTPValidationError" not in described["components"]["schemas"]


def test_a_batch_may_be_sent_in_two_media_types(described: dict[str, Any]) -> None:
    # Given the description of a batch, When its body is read, Then both kinds are there
    body = described["paths"]["/v1/jobs/{job_id}/batches/{ordinal}"]["put"]["requestBody"]
    assert {*body["content"]} == {ARROW_STREAM, RAW_BYTES}


def test_results_are_described_as_lines_and_as_columns(described: dict[str, Any]) -> None:
    # Given the description of results, When it is read, Then all media types are there, and what a row has
    answer = described["paths"]["/v1/jobs/{job_id}/results"]["get"]["responses"]["200"]
    assert [*answer["content"]] == [JSON_LINES, ARROW_STREAM, PARQUET, CSV]
    properties = described["components"]["schemas"]["Generation"]["properties"]
    assert all(each["description"] for each in properties.values())


def test_every_option_of_decoding_is_described_with_an_example(described: dict[str, Any]) -> None:
    # Given the description of a job's options, When its fields are read, Then each says what it does, and shows a value
    properties = described["components"]["schemas"]["DecodeOptions"]["properties"]
    assert {*properties} == {*DecodeOptions.model_fields}
    for name, each in properties.items():
        assert each["description"], name
        DecodeOptions.model_validate({"candidates": 4, name: each["examples"][0]})


def test_what_needs_a_key_says_so(described: dict[str, Any]) -> None:
    # Given every operation, When its security is read, Then all but the two that say whether it lives want a bearer
    needing = {path: "security" in next(iter(operations.values())) for path, operations in described["paths"].items()}
    assert [path for path, needs in needing.items() if not needs] == ["/healthz", "/readyz"]


def test_nothing_is_loaded_from_elsewhere(api: TestClient) -> None:
    # Given the framework's own page of documentation, which would fetch scripts from other hosts, Then there is none
    assert api.get("/redoc").status_code == 404
    # And ours fetches nothing: tests/api/pages/test_reference.py
