"""The door for clients of OpenAI's Batch API, with OpenAI's own client, and without."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import DECODER, assert_problem
from tests.api.test_keys_by_name import add
from tests.api.test_results import finish
from tests.builders import DIM
from unembed.api.openai.forms import read_form
from unembed.models.store import Store

# Nothing here depends on which database it is, but for the tables, which the first test reads and writes on both.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def line(custom_id: str, prompt: Any, **body: Any) -> dict[str, Any]:
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/completions",
        "body": {"model": DECODER, "prompt": prompt, **body},
    }


def jsonl(*lines: Any) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


def upload(api: TestClient, content: bytes, **request: Any) -> Any:
    return api.post("/v1/files", files={"file": ("in.jsonl", content)}, data={"purpose": "batch"}, **request)


def batch_of(api: TestClient, content: bytes, **request: Any) -> Any:
    file = upload(api, content, **request).json()["id"]
    body = {"input_file_id": file, "endpoint": "/v1/completions", "completion_window": "24h"}
    return api.post("/v1/batches", json=body, **request)


VECTORS = np.linspace(-1, 1, 3 * DIM, dtype="<f4").reshape(3, DIM)


def test_a_batch_goes_in_and_its_texts_and_errors_come_out(api: TestClient, store: Store) -> None:
    # Given a file of four lines, one with its vector in base64, and one without a vector
    as_text = base64.b64encode(VECTORS[2].tobytes()).decode()
    content = jsonl(line("a", VECTORS[0].tolist()), line("b", "no"), line("c", VECTORS[1].tolist()), line("d", as_text))
    file = upload(api, content).json()
    assert (file["object"], file["bytes"], file["filename"]) == ("file", len(content), "in.jsonl")
    assert api.get(f"/v1/files/{file['id']}/content").content == content
    # When a batch is made of it
    body = {
        "input_file_id": file["id"],
        "endpoint": "/v1/completions",
        "completion_window": "24h",
        "metadata": {"a": "b"},
    }
    made = api.post("/v1/batches", json=body)
    assert made.status_code == 200, made.text
    batch = made.json()
    assert (batch["status"], batch["request_counts"]["total"], batch["metadata"]) == ("in_progress", 4, {"a": "b"})
    assert batch["output_file_id"] is None
    job = batch["id"].removeprefix("batch_")
    (queued,) = store.jobs.batches(job)
    finish(store, queued, errors=(1,))
    # Then, once it is done, its files are there
    done = api.get(f"/v1/batches/{batch['id']}").json()
    assert (done["status"], done["request_counts"]) == ("completed", {"total": 4, "completed": 3, "failed": 1})
    texts = api.get(f"/v1/files/{done['output_file_id']}/content")
    read = [json.loads(each) for each in texts.text.splitlines()]
    assert [each["response"]["body"]["choices"][0]["text"] for each in read] == ["text 0", "text 2", "text 3"]
    assert all(each["error"] is None and each["response"]["status_code"] == 200 for each in read)
    assert api.get(f"/v1/files/{done['output_file_id']}").json()["bytes"] == len(texts.content)
    # And a download that broke off goes on
    rest = api.get(f"/v1/files/{done['output_file_id']}/content", headers={"Range": "bytes=5-"})
    assert (rest.status_code, rest.content) == (206, texts.content[5:])
    (error,) = map(json.loads, api.get(f"/v1/files/{done['error_file_id']}/content").text.splitlines())
    assert (error["response"], bool(error["error"]["code"])) == (None, True)
    # And both are listed, and the file may go
    assert [each["id"] for each in api.get("/v1/batches").json()["data"]] == [batch["id"]]
    assert [each["id"] for each in api.get("/v1/files?purpose=batch&limit=1").json()["data"]] == [file["id"]]
    assert api.get(f"/v1/files?after={file['id']}").json()["data"] == []
    assert api.delete(f"/v1/files/{file['id']}").json()["deleted"] is True
    assert_problem(api.get(f"/v1/files/{file['id']}"), 404, "not_found")
    assert api.get(f"/v1/batches/{batch['id']}").status_code == 200


@on_sqlite
def test_numbers_that_no_float_holds_cost_their_row_only(api: TestClient) -> None:
    content = jsonl(line("a", [1.0] * DIM), line("b", [10**400] * DIM), line("c", [True, None, 1, 1]))
    assert batch_of(api, content).json()["request_counts"]["total"] == 3


@on_sqlite
def test_an_embedding_batch_of_openai_is_read_as_it_is(api: TestClient) -> None:
    # Given a line as an embedding batch answers, When a batch is made of it, Then it is for the usual decoder, which
    # reads vectors of another size than this one
    answer = {
        "custom_id": "x",
        "response": {"status_code": 200, "body": {"data": [{"embedding": VECTORS[0].tolist()}]}},
    }
    assert_problem(batch_of(api, jsonl(answer)), 422, "dimension", "ret-v21-minilm")


@on_sqlite
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no line"),
        (b"{]\n", "line 1 is not JSON"),
        (b"[]\n", "line 1 is no object"),
        (jsonl({"custom_id": "a"}), "line 1 has no body"),
        (jsonl(line("", [1.0] * DIM)), "line 1: custom_id is ''"),
        (jsonl(line("a\x00b", [1.0] * DIM)), "line 1: custom_id"),
        (jsonl(line("\ud800", [1.0] * DIM)), "line 1: custom_id"),
        (jsonl(line("a", [1.0] * DIM), line("a", [1.0] * DIM)), "line 2: custom_id 'a' is that of line 1"),
        (jsonl(line("a", [1.0] * DIM), line("b", [1.0] * DIM, model="other")), "line 2 for 'other'"),
        (jsonl(line("a", "words")), "no line has a vector"),
        (jsonl(line("a", [[1.0]])), "no line has a vector"),
    ],
)
def test_lines_that_are_no_requests_are_refused(api: TestClient, store: Store, content: bytes, says: str) -> None:
    assert_problem(batch_of(api, content), 400, "input", says)
    assert store.jobs.page().jobs == []


@on_sqlite
@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"json": {"a": 1}}, "no form"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, "no form"),
        ({"files": {"other": ("a", b"x")}, "data": {"purpose": "batch"}}, "`file`"),
        ({"files": {"file": ("a", b"x")}, "data": {"purpose": "fine-tune"}}, "`purpose`"),
        ({"files": {"file": ("a", b"x")}}, "`purpose`"),
    ],
)
def test_a_form_that_is_none_is_refused(api: TestClient, request_: dict[str, Any], says: str) -> None:
    assert_problem(api.post("/v1/files", **request_), 400, "input", says)


@pytest.mark.parametrize("content", [b"", b"\r\n", b"a\n", b"\xff\x00\r\rb\n\n", "ä 猫".encode(), b"--x\r\n--\r\n"])
def test_a_file_is_kept_to_the_byte(content: bytes) -> None:
    boundary = b"----unembed"
    head = b'Content-Disposition: form-data; name="file"; filename="a b.jsonl"\r\nContent-Type: application/jsonl'
    body = b"--" + boundary + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n--" + boundary + b"--\r\n"
    found = read_form(f"multipart/form-data; boundary={boundary.decode()}", body)["file"]
    assert (found.content, found.filename) == (content, "a b.jsonl")


@on_sqlite
def test_a_batch_is_cancelled_and_has_no_files_before_its_end(api: TestClient) -> None:
    # Given a batch that waits
    batch = batch_of(api, jsonl(line("a", [1.0] * DIM))).json()
    job = batch["id"].removeprefix("batch_")
    assert_problem(api.get(f"/v1/files/file-out-{job}/content"), 409, "conflict", "when it has ended")
    # When it is cancelled, Then it is
    assert api.post(f"/v1/batches/{batch['id']}/cancel").json()["status"] == "cancelled"
    assert api.get(f"/v1/files/file-out-{job}/content").content == b""
    assert_problem(api.get("/v1/batches/batch_nope"), 404, "not_found")
    assert_problem(api.get("/v1/files/file-out-nope/content"), 404, "not_found")


@on_sqlite
def test_files_and_batches_of_another_key_are_not_found(api: TestClient, store: Store) -> None:
    # Given a file and a batch of one key
    mine, theirs = add(store, "mine"), add(store, "theirs")
    batch = batch_of(api, jsonl(line("a", [1.0] * DIM)), headers=theirs).json()
    file = batch["input_file_id"]
    # When another asks for them, Then there are none
    for path in (f"/v1/files/{file}", f"/v1/files/{file}/content", f"/v1/batches/{batch['id']}"):
        assert_problem(api.get(path, headers=mine), 404, "not_found")
    assert_problem(api.delete(f"/v1/files/{file}", headers=mine), 404, "not_found")
    assert_problem(api.post(f"/v1/batches/{batch['id']}/cancel", headers=mine), 404, "not_found")
    body = {"input_file_id": file, "endpoint": "/v1/completions"}
    assert_problem(api.post("/v1/batches", json=body, headers=mine), 404, "not_found")
    assert api.get("/v1/files", headers=mine).json()["data"] == []
    assert api.get("/v1/batches", headers=mine).json()["data"] == []


@on_sqlite
def test_openais_own_client_finds_its_way(api: TestClient, store: Store) -> None:
    # Given OpenAI's client, pointed at this server
    openai = pytest.importorskip("openai", reason="it is 30 MB; pip install openai")
    import httpx

    def forward(request: httpx.Request) -> httpx.Response:
        answer = api.request(
            request.method,
            request.url.path + (f"?{request.url.query.decode()}" if request.url.query else ""),
            content=request.read(),
            headers={k: v for k, v in request.headers.items() if k not in ("host", "content-length")},
        )
        return httpx.Response(answer.status_code, headers=dict(answer.headers), content=answer.content)

    with httpx.Client(transport=httpx.MockTransport(forward)) as http:
        client = openai.OpenAI(base_url="http://127.0.0.1:8765/v1", api_key="none", http_client=http, max_retries=0)
        # When it uploads a file, makes a batch of it and reads what came of it
        content = jsonl(line("a", VECTORS[0].tolist()), line("b", VECTORS[1].tolist()))
        file = client.files.create(file=("in.jsonl", content), purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/completions", completion_window="24h", metadata={"run": "1"}
        )
        (queued,) = store.jobs.batches(batch.id.removeprefix("batch_"))
        finish(store, queued)
        batch = client.batches.retrieve(batch.id)
        # Then it is all there
        assert (batch.status, batch.request_counts.completed, batch.metadata) == ("completed", 2, {"run": "1"})
        lines = [json.loads(each) for each in client.files.content(batch.output_file_id).text.splitlines()]
        assert [each["response"]["body"]["choices"][0]["text"] for each in lines] == ["text 0", "text 1"]
        assert [each.id for each in client.batches.list()] == [batch.id]
        assert [each.id for each in client.files.list(purpose="batch")] == [file.id]
        assert client.files.delete(file.id).deleted
        with pytest.raises(openai.NotFoundError):
            client.files.retrieve(file.id)
        empty = client.files.create(file=("in.jsonl", b"\n"), purpose="batch")
        with pytest.raises(openai.BadRequestError, match="the file has no line"):
            client.batches.create(input_file_id=empty.id, endpoint="/v1/completions", completion_window="24h")
