from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import redis
from fastapi.testclient import TestClient

from tests.api.conftest import assert_problem, new_job, payload, put, vectors
from tests.builders import DIM
from unembed.corpus import decode_payload
from unembed.models.payloads import Payloads
from unembed.models.settings import Settings
from unembed.schemas import RAW_BYTES

RAW = {"Content-Type": RAW_BYTES}


def kept(settings: Settings, batch: dict[str, Any]) -> bytes:
    """The payload in Redis, checked against the row's sha256 as a worker would."""
    with redis.Redis.from_url(settings.redis_url) as client:
        return Payloads(client, settings.payload_ttl).get(batch["id"], batch["sha256"])


def messages(settings: Settings) -> int:
    with redis.Redis.from_url(settings.redis_url) as client:
        return sum(client.llen(key) for key in client.keys("decode*") if client.type(key) == b"list")


def arrow(column: pa.Array) -> bytes:
    batch = pa.record_batch({"embedding": column})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def test_a_batch_in_arrow_is_recorded_kept_and_announced(api: TestClient, api_settings: Settings) -> None:
    # Given a job
    job = new_job(api)
    # When a batch with ids arrives
    sent = payload(ids=["a", "b"])
    answer = put(api, job, content=sent)
    # Then the row says what came, Redis has the very bytes, and a message names the batch
    assert answer.status_code == 201
    batch = answer.json()
    assert (batch["id"], batch["state"], batch["rows"], batch["first_index"]) == (f"{job}-0", "queued", 2, 0)
    assert batch["sha256"] == hashlib.sha256(sent).hexdigest()
    assert kept(api_settings, batch) == sent
    assert messages(api_settings) == 1


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_batch_of_raw_bytes_becomes_the_same_payload(api: TestClient, api_settings: Settings, dtype: str) -> None:
    # Given vectors as they lie in memory
    sent = vectors(3, DIM, dtype)
    # When they arrive with their dtype in the query
    answer = put(api, new_job(api), content=sent.tobytes(), headers=RAW, params={"dtype": dtype})
    # Then what the worker will read are these vectors
    assert answer.status_code == 201, answer.text
    got = decode_payload(kept(api_settings, answer.json()))
    assert got.embeddings.dtype == sent.dtype
    np.testing.assert_array_equal(got.embeddings, sent)


def test_the_same_batch_again_is_seen_before(api: TestClient, api_settings: Settings) -> None:
    # Given a batch that was accepted, When it is sent again
    job = new_job(api)
    first, second = put(api, job), put(api, job)
    # Then nothing is new, and no second message is sent
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert messages(api_settings) == 1


def test_other_rows_at_an_ordinal_that_is_taken_are_a_conflict(api: TestClient, api_settings: Settings) -> None:
    # Given a batch that was accepted
    job = new_job(api)
    batch = put(api, job).json()
    # When other rows come at its ordinal, Then they are refused, and what was accepted is still what is kept
    assert_problem(put(api, job, content=payload(3)), 409, "conflict")
    assert kept(api_settings, batch) == payload()


def test_a_sealed_job_takes_no_more_batches(api: TestClient) -> None:
    # Given a sealed job
    job = new_job(api)
    put(api, job)
    api.post(f"/v1/jobs/{job}/seal", json={"batches": 1, "rows": 2})
    # When another batch comes, Then it is a conflict
    assert_problem(put(api, job, 1, 2), 409, "conflict")


def test_vectors_of_another_dimension_are_refused(api: TestClient) -> None:
    # Given a job of 4 dimensions, When vectors of 7 arrive, Then both numbers are named
    assert_problem(put(api, new_job(api), content=payload(2, 7)), 422, "dimension", "7", str(DIM))


@pytest.mark.parametrize("body", [b"", b"garbage" * 40, payload()[:-50], payload()[20:]])
def test_a_damaged_arrow_stream_is_refused(api: TestClient, body: bytes) -> None:
    # Given bytes that are no whole stream, When they arrive, Then they are refused and nothing was recorded
    job = new_job(api)
    assert_problem(put(api, job, content=body), 400, "corpus", "Arrow")
    assert api.get(f"/v1/jobs/{job}/batches").json()["batches"] == []


def test_integers_in_arrow_are_refused(api: TestClient) -> None:
    # Given integer vectors, When they arrive, Then the error names their type
    body = arrow(pa.array([[1, 2, 3, 4]], pa.list_(pa.int32(), DIM)))
    assert_problem(put(api, new_job(api), content=body), 400, "corpus", "int32", "float32")


def test_ragged_lists_in_arrow_are_refused(api: TestClient) -> None:
    # Given lists of any length, When they arrive, Then the error says that all have to have the same
    body = arrow(pa.array([[1.0, 2.0], [3.0]], pa.list_(pa.float32())))
    assert_problem(put(api, new_job(api), content=body), 400, "corpus", "fixed_size_list")


def test_integers_as_raw_bytes_are_refused(api: TestClient) -> None:
    # Given a dtype that is not a float's, When it is announced, Then it is named beside those that would do
    answer = put(api, new_job(api), content=b"\0" * 16, headers=RAW, params={"dtype": "int64"})
    assert_problem(answer, 422, "input", "int64", "float32")


def test_raw_bytes_without_a_dtype_are_refused(api: TestClient) -> None:
    # Given bytes that could be anything, When they arrive, Then the error says what is missing
    answer = put(api, new_job(api), content=b"\0" * 16, headers=RAW)
    assert_problem(answer, 400, "input", "dtype", "float16")


@pytest.mark.parametrize("size", [0, 15, 33])
def test_raw_bytes_that_are_no_whole_rows_are_refused(api: TestClient, size: int) -> None:
    # Given rows of 16 bytes, When another number arrives, Then both are named
    answer = put(api, new_job(api), content=b"\0" * size, headers=RAW, params={"dtype": "float32"})
    assert_problem(answer, 400, "corpus", f"{size} bytes", "16")


def test_more_rows_than_allowed_are_refused(api: TestClient) -> None:
    # Given a limit of 100 rows, When 101 arrive, Then both numbers are named
    assert_problem(put(api, new_job(api), content=payload(101)), 413, "too_large", "101", "100")


def test_a_compressed_stream_counts_with_what_it_unpacks_to(api: TestClient, serve: Any) -> None:
    # Given vectors that are small on the wire and large in memory
    client = serve(max_batch_rows=10_000, max_batch_bytes=16 * 1024)
    batch = pa.record_batch({"embedding": pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(40_000, "f4")), DIM)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(batch)
    # When they arrive, Then it is their size in memory that is over the limit
    answer = put(client, new_job(client), content=bytes(sink.getvalue()))
    assert_problem(answer, 413, "too_large", "160000", "16384")


@pytest.mark.parametrize("content_type", [None, "application/json", "text/csv; charset=utf-8"])
def test_another_media_type_is_not_supported(api: TestClient, content_type: str | None) -> None:
    # Given a body that is neither Arrow nor raw bytes, When it arrives, Then both media types are named
    headers = {"Content-Type": content_type} if content_type else {}
    answer = put(api, new_job(api), headers=headers)
    assert_problem(answer, 415, "input", "application/vnd.apache.arrow.stream", RAW_BYTES)


@pytest.mark.parametrize(("ordinal", "first_index"), [(-1, 0), (0, -1), (2**31, 0), (0, 2**62)])
def test_a_place_outside_what_the_columns_hold_is_refused(api: TestClient, ordinal: int, first_index: int) -> None:
    # Given an ordinal or an index that no column could hold, When it is used, Then it is refused
    assert_problem(put(api, new_job(api), ordinal, first_index), 422, "input")


def test_rows_that_are_not_numbers_are_accepted(api: TestClient) -> None:
    # Given a row of NaN and a row of zeros among the vectors
    sent = vectors(4)
    sent[1], sent[2] = np.nan, 0
    # When they arrive, Then they are accepted: the worker makes error rows of them, and decodes the others
    answer = put(api, new_job(api), content=sent.tobytes(), headers=RAW, params={"dtype": "float32"})
    assert answer.status_code == 201


def test_a_payload_left_by_an_upload_that_was_never_recorded_gives_way(api: TestClient, api_settings: Settings) -> None:
    # Given other vectors in Redis under the batch's id, of an upload that died before its row was written
    job = new_job(api)
    with redis.Redis.from_url(api_settings.redis_url) as client:
        Payloads(client, 60).put(f"{job}-0", payload(50))
    # When the batch arrives, Then what is kept is what the row says
    assert kept(api_settings, put(api, job).json()) == payload()
