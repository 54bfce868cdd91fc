"""Bodies over the limit are refused before they are read. The limit of these tests is 16 KiB for a batch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import ARROW, assert_problem, new_job, put

LIMIT = 16 * 1024

# Nothing here depends on which database it is.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_a_declared_length_over_the_limit_is_refused_unread(api: TestClient) -> None:
    # Given a body whose length is known, and too large
    answer = put(api, new_job(api), content=b"x" * (LIMIT + 1))
    # Then both numbers are named, and the connection closes: nobody will read the rest
    assert_problem(answer, 413, "too_large", str(LIMIT + 1), str(LIMIT))
    assert answer.headers["connection"] == "close"


def test_a_body_of_undeclared_length_is_read_up_to_the_limit_only(api: TestClient) -> None:
    # Given a body that comes in chunks and would never end
    produced = 0

    def endless() -> Iterator[bytes]:
        nonlocal produced
        while produced < 100:
            produced += 1
            yield b"x" * 1024

    # When it is sent
    answer = put(api, new_job(api), content=endless())
    # Then it is refused
    assert_problem(answer, 413, "too_large", str(LIMIT))
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("declared", [True, False])
def test_a_document_has_a_limit_of_its_own(api: TestClient, declared: bool) -> None:
    # Given far more JSON than a job needs
    body = b'{"name": "' + b"x" * 70_000 + b'"}'
    content = body if declared else iter([body[:60_000], body[60_000:]])
    # When it is posted, declared or in chunks, Then it is refused
    answer = api.post("/v1/jobs", content=content, headers={"Content-Type": "application/json"})
    assert_problem(answer, 413, "too_large", "65536")


def test_a_body_of_just_the_limit_is_read(api: TestClient) -> None:
    # Given a body that is as large as allowed, When it is sent, Then only its content is at fault
    assert_problem(put(api, new_job(api), content=b"x" * LIMIT, headers=ARROW), 400, "corpus")
