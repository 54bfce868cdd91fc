"""What pipelines expect of HTTP, whatever it is about."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from itertools import pairwise

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from tests.api.conftest import ARROW, DECODER, assert_problem, new_job, payload, put
from tests.api.test_results import finish
from tests.builders import DIM, add_batches, make_job
from unembed.api.long_poll import pause_after
from unembed.models.store import Store

SPEC = {"decoder": DECODER, "embedding_dim": DIM}

# Nothing here depends on which database it is.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_a_new_batch_says_where_it_is(api: TestClient) -> None:
    # Given a batch that has just come
    answer = put(api, new_job(api), 3, 7)
    # When its Location is called, Then it is there
    assert answer.status_code == 201
    assert api.get(answer.headers["Location"]).json() == answer.json()


def test_a_batch_that_did_not_come_is_not_found(api: TestClient) -> None:
    assert_problem(api.get(f"/v1/jobs/{new_job(api)}/batches/7"), 404, "not_found", "batch 7")


def test_an_unchanged_job_is_not_sent_again(api: TestClient) -> None:
    # Given a job that was looked at
    path = f"/v1/jobs/{new_job(api)}"
    tag = api.get(path).headers["ETag"]
    # When it is looked at again, Then nothing comes
    again = api.get(path, headers={"If-None-Match": f'"other", {tag}'})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    # And when something has changed, then it does
    put(api, path.rpartition("/")[2])
    changed = api.get(path, headers={"If-None-Match": tag})
    assert (changed.status_code, changed.json()["batches"]["queued"]) == (200, 1)


def test_unchanged_results_are_not_sent_again(api: TestClient, store: Store) -> None:
    # Given results that were read while the job runs
    job = make_job(store)
    first, second = add_batches(store, job, [2, 2])
    finish(store, first)
    path = f"/v1/jobs/{job.id}/results"
    tag = api.get(path).headers["ETag"]
    # When they are asked for again, Then nothing comes, and the answer says when to ask again
    again = api.get(path, headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert int(again.headers["Retry-After"]) >= 1
    # And other pages, other formats and later rows are other answers
    assert api.get(path, headers={"If-None-Match": tag}, params={"limit": 1}).status_code == 200
    assert api.get(path, headers={"If-None-Match": tag, "Accept": ARROW["Content-Type"]}).status_code == 200
    finish(store, second)
    assert api.get(path, headers={"If-None-Match": tag}).status_code == 200


def test_what_is_not_at_its_end_says_when_to_look_again(api: TestClient, store: Store) -> None:
    # Given a job that runs
    job = make_job(store)
    (batch,) = add_batches(store, job, [2])
    assert int(api.get(f"/v1/jobs/{job.id}").headers["Retry-After"]) >= 1
    # When it has ended, Then there is nothing to wait for
    finish(store, batch)
    assert "Retry-After" not in api.get(f"/v1/jobs/{job.id}").headers
    assert "Retry-After" not in api.get(f"/v1/jobs/{job.id}/results").headers


def test_a_long_poll_is_answered_at_once_when_there_is_news(api: TestClient, store: Store) -> None:
    # Given a job that has ended
    job = make_job(store)
    (batch,) = add_batches(store, job, [2])
    finish(store, batch)
    # When its end is waited for, Then the answer comes, and says that the preference was heard, but a minute at most
    answer = api.get(f"/v1/jobs/{job.id}", headers={"Prefer": "respond-async, wait=9999"})
    assert (answer.json()["state"], answer.headers["Preference-Applied"]) == ("succeeded", "wait=60")


def test_a_long_poll_for_a_change_is_answered_by_it(api: TestClient) -> None:
    # Given a job that has changed since its tag was given out
    job = new_job(api)
    tag = api.get(f"/v1/jobs/{job}").headers["ETag"]
    put(api, job)
    # When the next change is waited for, Then it is there, though the job goes on
    answer = api.get(f"/v1/jobs/{job}", headers={"Prefer": "wait=60", "If-None-Match": tag})
    assert (answer.status_code, answer.json()["state"]) == (200, "receiving")


@pytest.mark.parametrize("prefer", ["wait=1", "wait=0", 'wait="0"'])
def test_a_long_poll_without_news_ends(api: TestClient, prefer: str) -> None:
    # Given a job of which nothing moves, When its end is waited for, Then it is shown as it is
    answer = api.get(f"/v1/jobs/{new_job(api)}", headers={"Prefer": prefer})
    assert (answer.status_code, answer.json()["state"]) == (200, "receiving")
    assert answer.headers["Preference-Applied"] == prefer.replace('"', "")


def test_nobody_hears_of_a_short_job_long_after_its_end(database_url: str) -> None:
    # Given when a long poll looks, if each look takes no time
    looks = [0.0]
    while looks[-1] < 60:
        looks.append(looks[-1] + pause_after(looks[-1]))
    # Then the end of a job is heard of after a tenth of a second, after a fifth of the job's time, or after a second
    for before, after in pairwise(looks):
        assert after - before <= max(0.1, min(0.2 * before, 1.0)) + 1e-9
    # And a minute is not a hundred questions
    assert len(looks) < 80


@pytest.mark.parametrize("prefer", ["wait", "wait=soon", "handling=strict", ""])
def test_other_preferences_are_passed_over(api: TestClient, prefer: str) -> None:
    answer = api.get(f"/v1/jobs/{new_job(api)}", headers={"Prefer": prefer})
    assert (answer.status_code, "Preference-Applied" in answer.headers) == (200, False)


def test_a_server_that_leaves_keeps_nobody_waiting(api: TestClient) -> None:
    # Given a server that is about to end, When a job's end is waited for, Then the answer comes at once
    job = new_job(api)
    api.app.state.deps.leaving.set()  # type: ignore[attr-defined]
    assert api.get(f"/v1/jobs/{job}", headers={"Prefer": "wait=60"}).status_code == 200


@pytest.mark.parametrize("path", ["/v1/jobs/{job}", "/v1/jobs", "/v1/decoders", "/healthz", "/openapi.json"])
def test_head_is_get_without_its_body(api: TestClient, path: str) -> None:
    # Given something to read, When only its headers are asked for
    path = path.format(job=new_job(api))
    head, whole = api.head(path), api.get(path)
    # Then they are those of the whole, and nothing else comes
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-length", "etag"):
        assert head.headers.get(name) == whole.headers.get(name), name


def test_a_seal_of_more_batches_than_could_be_listed_is_answered(api: TestClient) -> None:
    # Given a job with one batch, When it is sealed with a number beyond all reason, Then the first missing are named
    job = new_job(api)
    put(api, job)
    answer = api.post(f"/v1/jobs/{job}/seal", json={"batches": 2**62, "rows": 2})
    assert_problem(answer, 409, "conflict", f"{2**62 - 1} of {2**62} batches", ": 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and")


def test_head_of_what_there_is_not_says_so(api: TestClient) -> None:
    assert api.head("/v1/jobs/nope").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "says"),
    [
        ("GET", "/v1/jobs?stat=queued", "'stat' is unknown here; expected cursor, decoder, label, limit, name, state"),
        ("GET", "/v1/jobs/{job}?wait=5", "'wait' is unknown here; expected none"),
        ("GET", "/v1/jobs/{job}/results?limit=1&Order=index", "'Order'"),
        ("PUT", "/v1/jobs/{job}/batches/0?first_index=0&type=float32", "expected dtype, first_index"),
        ("DELETE", "/v1/jobs/{job}?force=1", "'force'"),
        ("GET", "/v1/decoders?" + "x" * 100, "'" + "x" * 40 + "'"),
    ],
)
def test_a_query_parameter_that_is_misspelt_is_not_ignored(api: TestClient, method: str, path: str, says: str) -> None:
    # Given a parameter that the path does not have, When it is sent, Then it is named, with those that there are
    assert_problem(api.request(method, path.format(job=new_job(api))), 422, "input", says)


@pytest.mark.parametrize("pieces", [1, 3])
def test_a_packed_batch_is_unpacked(api: TestClient, pieces: int) -> None:
    # Given a batch, packed as one gzip member or as several
    job, body = new_job(api), payload(50)
    size = len(body) // pieces + 1
    packed = b"".join(gzip.compress(body[start : start + size]) for start in range(0, len(body), size))
    # When it is sent, Then it is the batch
    headers = {**ARROW, "Content-Encoding": "gzip"}
    answer = put(api, job, content=packed, headers=headers)
    assert (answer.status_code, answer.json()["rows"]) == (201, 50)
    # And unpacked it is the same one
    assert put(api, job, content=body).status_code == 200


def test_a_packed_document_is_unpacked(api: TestClient) -> None:
    # Given a job's JSON, packed, When it is sent in chunks, Then it is read
    packed = gzip.compress(b'{"decoder": "toy", "embedding_dim": 4, "name": "packed"}')
    headers = {"Content-Type": "application/json", "Content-Encoding": "GZIP"}
    answer = api.post("/v1/jobs", content=iter([packed[:9], packed[9:]]), headers=headers)
    assert (answer.status_code, answer.json()["name"]) == (201, "packed")


def test_a_bomb_is_not_unpacked(api: TestClient) -> None:
    # Given 8 MiB of zeros in 8 KiB, which are within the limit of a batch as they come
    bomb = gzip.compress(bytes(8 * 1024**2))
    assert len(bomb) < 16 * 1024
    # When they are sent, Then no more is unpacked than the limit
    answer = put(api, new_job(api), content=bomb, headers={**ARROW, "Content-Encoding": "gzip"})
    assert_problem(answer, 413, "too_large", "16384")


# Named, as a gzip header has the time in it: each process of pytest would name the test differently.
@pytest.mark.parametrize(
    "body", [b"no gzip", gzip.compress(b"x" * 100)[:-9], zlib.compress(b"x")], ids=["none", "cut off", "zlib"]
)
def test_a_body_that_is_no_gzip_is_refused(api: TestClient, body: bytes) -> None:
    answer = put(api, new_job(api), content=body, headers={**ARROW, "Content-Encoding": "gzip"})
    assert_problem(answer, 400, "input", "gzip")


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip"])
def test_another_encoding_is_refused_and_told_what_is_read(api: TestClient, encoding: str) -> None:
    answer = put(api, new_job(api), headers={**ARROW, "Content-Encoding": encoding})
    assert_problem(answer, 415, "input", encoding, "gzip")
    assert answer.headers["Accept-Encoding"] == "gzip"


def test_a_key_that_asks_too_often_is_told_when_to_come_again(serve: Callable[..., TestClient]) -> None:
    # Given a server that answers three requests a minute to each of two keys
    client = serve(api_keys=(SecretStr("one"), SecretStr("two")), max_client_requests=3)
    answers = [client.get("/v1/jobs", headers={"Authorization": "Bearer one"}) for _ in range(4)]
    # When one of them asks a fourth time, Then it is refused
    assert [answer.status_code for answer in answers[:3]] == [200] * 3
    assert_problem(answers[3], 429, "busy", "3 requests")
    assert 1 <= int(answers[3].headers["Retry-After"]) <= 20
    # And the other is answered
    assert client.get("/v1/jobs", headers={"Authorization": "Bearer two"}).status_code == 200
