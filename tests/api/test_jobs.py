from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import DECODER, assert_problem, new_job, put
from tests.builders import DIM, add_batches, make_job
from unembed.models.decoder.config import BankConfig, CheckpointConfig, HybridConfig, NetworkConfig
from unembed.models.store import Store

SPEC = {"decoder": DECODER, "embedding_dim": DIM}


def test_a_new_job_is_receiving_and_says_where_it_is(api: TestClient) -> None:
    # Given nothing, When a job is created
    answer = api.post("/v1/jobs", json={**SPEC, "seed": 7, "name": "mine"})
    # Then it waits for batches, and its path is in Location
    assert answer.status_code == 201
    job = answer.json()
    assert (job["state"], job["seed"], job["name"]) == ("receiving", 7, "mine")
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert api.get(answer.headers["Location"]).json() == job


def test_an_unknown_decoder_is_refused_and_the_known_ones_are_listed(api: TestClient) -> None:
    # Given a decoder that there is not, When a job names it
    answer = api.post("/v1/jobs", json={**SPEC, "decoder": "no-such"})
    # Then the error names it and those there are
    assert_problem(answer, 422, "unknown_decoder", "no-such", DECODER)


@pytest.mark.parametrize("name", ["../toy", "..", ".", "/etc", "toy/../toy"])
def test_a_decoder_is_a_name_and_never_a_path(api: TestClient, name: str) -> None:
    # Given a path where a name is expected, When a job names it, Then there is no such decoder
    assert_problem(api.post("/v1/jobs", json={**SPEC, "decoder": name}), 422, "unknown_decoder")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"embed": 8}, "embed is 8, which needs an encoder, but the decoder 'alone' names none; expected 0"),
        ({"round_trip": True}, "round_trip is true, which needs an encoder"),
        ({"edits": 2}, "edits is 2, but the decoder 'alone' has no sketch to edit by; expected 0"),
        ({"rank_by": "sketch"}, "the decoder 'alone' has no sketch; expected 'decoder' or 'auto'"),
    ],
)
def test_options_that_the_decoder_cannot_serve_are_refused_before_a_row_is_sent(
    api: TestClient, decoders: Path, options: dict[str, object], said: str
) -> None:
    # Given a decoder without an encoder and a sketch, a hybrid of it and a bank, and the same with both
    network = CheckpointConfig(name="alone", network=NetworkConfig(embedding_dim=DIM))
    hybrid = HybridConfig(name="both", embedding_dim=DIM, decoder="alone")
    bank = BankConfig(name="phrases", embedding_dim=DIM, phrases=1)
    for config in (network, hybrid, bank):
        (decoders / config.name).mkdir()
        (decoders / config.name / "config.json").write_text(config.model_dump_json())
    # When a job asks for what needs them, Then it is refused in a line, whether it names the network or the hybrid
    spec = {"embedding_dim": DIM, "options": options}
    assert_problem(api.post("/v1/jobs", json={**spec, "decoder": "alone"}), 400, "input", said)
    hybrids = said.replace("'alone'", "'both'")
    assert_problem(api.post("/v1/jobs", json={**spec, "decoder": "both"}), 400, "input", hybrids)
    # And the bank, to which they mean nothing, takes it, as does the network when it has them
    assert api.post("/v1/jobs", json={**spec, "decoder": "phrases"}).status_code == 201
    (decoders / "alone" / "config.json").write_text(network.model_copy(update={"encoder": "e"}).model_dump_json())
    (decoders / "alone" / "sketch.json").touch()
    for decoder in ("alone", "both"):
        assert api.post("/v1/jobs", json={**spec, "decoder": decoder}).status_code == 201


def test_a_dimension_that_the_decoder_does_not_read_is_refused(api: TestClient) -> None:
    # Given a decoder of 4 dimensions, When a job announces 384
    answer = api.post("/v1/jobs", json={**SPEC, "embedding_dim": 384})
    # Then both numbers are named
    assert_problem(answer, 422, "dimension", "384", str(DIM), DECODER)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"embedding_dim": 0}, "body.embedding_dim"),
        ({"embedding_dim": None}, "body.embedding_dim"),
        ({"seed": -1}, "-1"),
        ({"seed": 2**63}, "body.seed"),
        ({"options": {"temperature": 9.0}}, "body.options.temperature"),
        ({"options": {"temprature": 1.0}}, "temprature"),
        ({"colour": "red"}, "body.colour"),
        ({"name": "a\0b"}, "body.name"),
        ({"name": "x" * 300}, "body.name"),
    ],
)
def test_a_value_that_is_not_acceptable_is_named(api: TestClient, change: dict[str, Any], says: str) -> None:
    # Given a job with one bad value, When it is created, Then the problem says which
    assert_problem(api.post("/v1/jobs", json={**SPEC, **change}), 422, "input", says)


@pytest.mark.parametrize("body", [b'{"embedding_dim": ', b"\xff\xfe", b'{"name": "\\ud800"}'])
def test_a_body_that_cannot_be_read_is_a_problem_too(api: TestClient, body: bytes) -> None:
    # Given bytes that are not JSON, or not Unicode, When they are posted
    answer = api.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    # Then the answer is a problem of the caller's
    assert_problem(answer, 422 if b"ud800" in body else 400, "input")


def test_json_must_be_called_json(api: TestClient) -> None:
    # Given a form's content type, which a page of another site could send, When it is posted, Then it is not read
    answer = api.post("/v1/jobs", content=b'{"embedding_dim": 4}', headers={"Content-Type": "text/plain"})
    assert_problem(answer, 422, "input")


def test_the_same_idempotency_key_gives_the_same_job(api: TestClient) -> None:
    # Given a job created with a key
    first = api.post("/v1/jobs", json=SPEC, headers={"Idempotency-Key": "k1"})
    # When the request is repeated
    second = api.post("/v1/jobs", json=SPEC, headers={"Idempotency-Key": "k1"})
    # Then it is the same job, and 200 says that it is not new
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]


def test_an_idempotency_key_used_for_another_corpus_is_refused(api: TestClient) -> None:
    # Given a key that belongs to one corpus
    api.post("/v1/jobs", json={**SPEC, "fingerprint": "aaa"}, headers={"Idempotency-Key": "k1"})
    # When it comes with another
    answer = api.post("/v1/jobs", json={**SPEC, "fingerprint": "bbb"}, headers={"Idempotency-Key": "k1"})
    # Then the error names both
    assert_problem(answer, 422, "idempotency", "aaa", "bbb")


def test_an_idempotency_key_that_is_too_long_is_refused(api: TestClient) -> None:
    # Given a key longer than its column, When it is used, Then it is refused before the database sees it
    answer = api.post("/v1/jobs", json=SPEC, headers={"Idempotency-Key": "k" * 201})
    assert_problem(answer, 422, "input", "header.idempotency-key")


def test_a_sealed_job_is_queued_and_may_be_sealed_again(api: TestClient) -> None:
    # Given a job with its only batch
    job = new_job(api)
    put(api, job)
    # When it is sealed twice
    answers = [api.post(f"/v1/jobs/{job}/seal", json={"batches": 1, "rows": 2}) for _ in range(2)]
    # Then both say the same
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.json()["state"] for answer in answers] == ["queued", "queued"]


@pytest.mark.parametrize("seal", [{"batches": 2, "rows": 2}, {"batches": 1, "rows": 3}])
def test_a_seal_that_does_not_match_what_arrived_is_a_conflict(api: TestClient, seal: dict[str, int]) -> None:
    # Given one batch of two rows
    job = new_job(api)
    put(api, job)
    # When the client believes it sent something else, Then it learns both, and the job goes on receiving
    assert_problem(api.post(f"/v1/jobs/{job}/seal", json=seal), 409, "conflict")
    assert api.get(f"/v1/jobs/{job}").json()["state"] == "receiving"


def test_a_seal_names_the_rows_that_are_missing(api: TestClient) -> None:
    # Given two batches with a gap between their rows
    job = new_job(api)
    put(api, job, 0, 0)
    put(api, job, 1, 5)
    # When the job is sealed, Then it is a conflict
    assert_problem(api.post(f"/v1/jobs/{job}/seal", json={"batches": 2, "rows": 4}), 409, "conflict")


def test_cancelling_twice_is_the_same_as_once(api: TestClient) -> None:
    # Given a sealed job that nobody works on
    job = new_job(api)
    put(api, job)
    api.post(f"/v1/jobs/{job}/seal", json={"batches": 1, "rows": 2})
    # When it is cancelled twice
    states = [api.post(f"/v1/jobs/{job}/cancel").json()["state"] for _ in range(2)]
    # Then it is cancelled, and its batch too
    assert states == ["cancelled", "cancelled"]
    assert [batch["state"] for batch in api.get(f"/v1/jobs/{job}/batches").json()["batches"]] == ["cancelled"]


def test_jobs_are_listed_in_pages_newest_first(api: TestClient) -> None:
    # Given five jobs
    ids = [new_job(api, name=str(n)) for n in range(5)]
    # When they are read in pages of two
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = api.get("/v1/jobs", params=params).json()
        seen += [job["id"] for job in page["jobs"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    # Then each is there once
    assert seen == ids[::-1]


def test_jobs_are_filtered_by_their_state(api: TestClient, store: Store) -> None:
    # Given a job that receives and one that is queued
    new_job(api)
    queued = make_job(store)
    add_batches(store, queued)
    # When the queued ones are asked for, Then only that one is listed
    assert [job["id"] for job in api.get("/v1/jobs", params={"state": "queued"}).json()["jobs"]] == [queued.id]
    assert_problem(api.get("/v1/jobs", params={"state": "sleeping"}), 422, "input", "sleeping", "receiving")


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/{job}/results"])
def test_a_cursor_of_our_own_making_is_the_only_one_that_works(api: TestClient, path: str) -> None:
    # Given a cursor that was never given out, When it is used, Then the problem is the caller's
    answer = api.get(path.format(job=new_job(api)), params={"cursor": "gibberish"})
    assert_problem(answer, 400, "input", "cursor")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/jobs/nope"),
        ("GET", "/v1/jobs/nope/batches"),
        ("GET", "/v1/jobs/nope/results"),
        ("POST", "/v1/jobs/nope/cancel"),
        ("POST", "/v1/jobs/nope/seal"),
        ("PUT", "/v1/jobs/nope/batches/0?first_index=0"),
    ],
)
def test_a_job_that_there_is_not_is_not_found(api: TestClient, method: str, path: str) -> None:
    # Given no such job, When anything is asked of it, Then the problem names the id
    headers = {"Content-Type": "application/octet-stream"} if method == "PUT" else {}
    body = {"json": {"batches": 1, "rows": 1}} if path.endswith("seal") else {}
    assert_problem(api.request(method, path, headers=headers, **body), 404, "not_found", "nope")


@pytest.mark.parametrize("job", ["a%00b", "%F0%9F%98%80", "x" * 65])
def test_an_id_that_none_could_have_is_refused_before_the_database_sees_it(api: TestClient, job: str) -> None:
    # Given an id with characters that no id has, When it is asked for, Then it is refused
    assert api.get(f"/v1/jobs/{job}").status_code == 422


def test_the_decoders_are_listed(api: TestClient) -> None:
    # Given a decoder in the folder of decoders, When they are listed, Then it is there, and no path of ours
    decoders = {each["name"]: each for each in api.get("/v1/decoders").json()}
    assert decoders[DECODER] == {
        "name": DECODER,
        "embedding_dim": DIM,
        "architecture": "resource_efficient_v21",
        "encoder": "toy-encoder",
        "checkpoint": None,
    }
    # And one that is asked for alone has the hash of its checkpoint
    alone = api.get(f"/v1/decoders/{DECODER}").json()
    assert {**alone, "checkpoint": None} == decoders[DECODER]
    assert len(alone["checkpoint"]) == 64
    assert api.get("/v1/decoders/nobody").status_code == 422
