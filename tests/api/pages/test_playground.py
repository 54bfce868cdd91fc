"""The playground: one vector, submitted like any other, and what its worker has told of it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import DECODER
from tests.api.pages.conftest import SCRIPT, assert_escaped, sign_in
from tests.builders import generations
from unembed.api.pages import playground
from unembed.corpus import decode_payload
from unembed.generations import from_rows
from unembed.models.encoders.known import MINILM
from unembed.models.payloads import Payloads
from unembed.models.settings import Settings
from unembed.models.store import Store
from unembed.schemas import Generation, Job, KeyRole, Priority, RowStatus, Timings

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

Browse = Callable[..., TestClient]
VECTOR = [0.5, -0.25, 0.125, 1.0]


def form(**changes: str) -> dict[str, str]:
    usual = {"candidates": "4", "edits": "0", "temperature": "0", "seed": "7"}
    return {"decoder": DECODER, "vector": json.dumps(VECTOR), **usual, **changes}


def played(client: TestClient, store: Store, **changes: str) -> Job:
    """The job of a form that was sent."""
    answer = client.post("/playground", data=form(**changes))
    assert answer.status_code == 303, answer.text
    found = re.fullmatch(r"/playground\?job=(\w+)", answer.headers["location"])
    assert found is not None
    return store.jobs.get(found[1])


def finish(store: Store, job: Job, text: str, told: dict[str, Any] | None) -> None:
    claim = store.attempts.claim(f"{job.id}-0", "cpu0@here", 60.0)
    assert claim is not None
    assert claim.job.explains
    row = Generation(index=0, text=text, status=RowStatus.OK, overall_quality=0.75)
    assert store.attempts.finish(claim.batch.id, claim.attempt, from_rows([row]), Timings(), explained=told)


@pytest.mark.parametrize("written", [json.dumps(VECTOR), base64.b64encode(np.array(VECTOR, "<f4").tobytes()).decode()])
def test_a_vector_becomes_a_job_of_one_row_before_all_others(
    browse: Browse, store: Store, settings: Settings, written: str
) -> None:
    # When a vector is sent by the form, as numbers or in base64
    client = browse()
    job = played(client, store, vector=f"  {written}\n", temperature="0.5")
    # Then it waits like any other, with what the form says
    assert (job.rows.total, job.batches.queued, job.priority) == (1, 1, Priority.HIGH)
    assert (job.decoder, job.seed, job.labels) == (DECODER, 7, {"from": "playground"})
    assert (job.options.candidates, job.options.temperature) == (4, 0.5)
    payload = Payloads.at(settings.redis_url, settings.payload_ttl).get(
        f"{job.id}-0", store.jobs.batch(job.id, 0).sha256
    )
    assert decode_payload(payload).embeddings.tolist() == [VECTOR]
    # And the page follows it
    page = client.get(f"/playground?job={job.id}").text
    assert f'data-events="/jobs/{job.id}/events"' in page
    assert "Not decoded yet: no worker has started yet." in page


def test_what_a_worker_has_told_is_shown(browse: Browse, store: Store) -> None:
    client = browse()
    job = played(client, store)
    told = {
        "candidates": [
            {"text": "I see the sea.", "score": -0.5, "source": "toy", "round_trip": None},
            {"text": "I see a sea.", "score": -0.75, "source": "toy", "round_trip": None},
        ],
        "pieces": [{"text": "⇧i", "probability": 0.9}, {"text": "", "probability": 0.625}],
    }
    finish(store, job, "I see the sea.", told)
    page = client.get(f"/playground?job={job.id}").text
    assert '<p class="answer">I see the sea.</p>' in page
    assert "75 % likely faithful" in page
    assert "-0.750" in page
    assert "⇧i" in page
    assert "62 %" in page
    assert "data-events" not in page
    # And the form has what was chosen
    assert re.search(r'name="seed"[^>]*value="7"', page)


def test_what_it_was_decoded_into_is_shown_as_text(browse: Browse, store: Store) -> None:
    client = browse()
    job = played(client, store)
    other = {"text": SCRIPT, "score": 0.0, "source": SCRIPT}
    told = {"candidates": [other, other | {"source": "x"}], "pieces": [{"text": SCRIPT, "probability": 1.0}]}
    finish(store, job, SCRIPT, told)
    assert_escaped(client.get(f"/playground?job={job.id}").text, 5)


def test_a_worker_that_tells_nothing_is_said_to(browse: Browse, store: Store) -> None:
    client = browse()
    job = played(client, store)
    finish(store, job, "a text", None)
    assert "did not tell" in client.get(f"/playground?job={job.id}").text


def test_a_row_without_a_text_says_why(browse: Browse, store: Store) -> None:
    client = browse()
    job = played(client, store)
    claim = store.attempts.claim(f"{job.id}-0", "cpu0@here", 60.0)
    assert claim is not None
    store.attempts.finish(claim.batch.id, claim.attempt, generations(claim.batch, errors=(0,)), Timings())
    assert "No text: row has NaN" in client.get(f"/playground?job={job.id}").text


def test_what_is_left_empty_is_as_usual(browse: Browse, store: Store) -> None:
    job = played(browse(), store, edits="", candidates="")
    assert job.options.model_dump(exclude_unset=True) == {"temperature": 0.0}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"vector": ""}, "there is no vector"),
        ({"vector": "[]"}, "the vector is empty"),
        ({"vector": "[1, 2"}, "cannot be read"),
        ({"vector": '[1, "two", 3, 4]'}, "holds &#39;two&#39;"),
        ({"vector": "[1, [2], 3, 4]"}, "holds &#39;[2]&#39;"),
        ({"vector": "[1, 2, 3, NaN]"}, "NaN or infinite"),
        ({"vector": "[1, 2, 3, 1e39]"}, "NaN or infinite"),
        ({"vector": f"[1, 2, 3, {'9' * 400}]"}, "no float holds"),
        ({"vector": "[0, 0, 0, 0]"}, "has a direction"),
        ({"vector": "Tom is here."}, "neither a list of numbers nor base64"),
        ({"vector": "AAAA"}, "neither a list of numbers nor base64"),
        ({"vector": "[1, 2, 3]"}, "3"),
        ({"decoder": "none-such"}, "unknown decoder"),
        ({"candidates": "0"}, "candidates"),
        ({"candidates": "many"}, "candidates"),
        ({"seed": "-1"}, "seed"),
        ({"edits": "2"}, "sketch"),
        ({"temperature": SCRIPT}, "temperature"),
    ],
)
def test_what_cannot_be_decoded_is_said_beside_the_form(
    browse: Browse, store: Store, changes: dict[str, str], says: str
) -> None:
    answer = browse().post("/playground", data=form(**changes))
    assert answer.status_code in (400, 422)
    alert = answer.text.partition('role="alert">')[2].partition("</p>")[0]
    assert says in alert
    assert SCRIPT not in answer.text
    # And nothing is left that waits
    assert store.jobs.page().jobs == []


def test_a_server_without_room_says_so_and_leaves_no_job_behind(browse: Browse, store: Store) -> None:
    client = browse(max_client_rows=1)
    played(client, store)
    answer = client.post("/playground", data=form())
    assert answer.status_code == 429
    assert 'role="alert"' in answer.text
    assert [job.state.value for job in store.jobs.page().jobs] == ["cancelled", "queued"]


def test_another_keys_vector_is_not_shown_and_who_may_only_read_decodes_none(browse: Browse, store: Store) -> None:
    client = browse()
    sign_in(client, store, "mine")
    job = played(client, store)
    assert store.jobs.client_of(job.id) == "key:mine"
    sign_in(client, store, "other", KeyRole.READER)
    assert client.get(f"/playground?job={job.id}").status_code == 404
    assert client.post("/playground", data=form()).status_code == 403
    assert '<form class="play"' not in client.get("/playground").text


def test_a_decoder_that_ships_has_an_example(browse: Browse) -> None:
    page = browse().get("/playground?decoder=ret-v21-minilm&example=true").text
    vector = json.loads(page.partition("<textarea")[2].partition(">")[2].partition("<")[0])
    assert len(vector) == 384
    # And one without a self-test has none
    assert "Take an example" not in browse().get(f"/playground?decoder={DECODER}").text


def test_a_vector_of_many_dimensions_goes_through_the_form(browse: Browse) -> None:
    long = json.dumps([0.0123456789] * 4096)
    answer = browse().post("/playground", data=form(vector=long))
    assert "4096" in answer.text.partition('role="alert">')[2].partition("</p>")[0]  # read, and of another dimension
    assert browse().post("/playground", data=form(vector="[" + "1," * 700_000 + "1]")).status_code == 413


@pytest.fixture
def encoder_here(decoders: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The decoder's embedder is one that is known and here, and gives VECTOR; what it was asked to embed."""
    config = json.loads((decoders / DECODER / "config.json").read_text())
    (decoders / DECODER / "config.json").write_text(json.dumps(config | {"encoder": MINILM}))
    asked: list[str] = []

    def embed(encoder: str, sentence: str) -> np.ndarray:
        asked.append(f"{encoder}: {sentence}")
        return np.array(VECTOR, np.float32)

    monkeypatch.setattr(playground, "runs_aside", lambda name: name == MINILM)
    monkeypatch.setattr(playground, "embed_aside", embed)
    return asked


def test_a_sentence_is_embedded_and_shown_beside_its_text(
    encoder_here: list[str], browse: Browse, store: Store
) -> None:
    # Given an API that has the decoder's embedder beside it
    client = browse()
    assert f"embedded by {MINILM}" in client.get("/playground").text
    # When a sentence is sent, Then its embedding is what is decoded
    job = played(client, store, vector="", sentence=" Is <b>this</b> mine? ")
    assert encoder_here == [f"{MINILM}: Is <b>this</b> mine?"]
    # And the page shows it as it was written
    claim = store.attempts.claim(f"{job.id}-0", "cpu0@here", 60.0)
    assert claim is not None
    row = Generation(index=0, id="Is <b>this</b> mine?", text="Is this my one?", status=RowStatus.OK)
    store.attempts.finish(claim.batch.id, claim.attempt, from_rows([row]), Timings())
    page = client.get(f"/playground?job={job.id}").text
    assert 'You wrote: <q id="written">Is &lt;b&gt;this&lt;/b&gt; mine?</q>' in page


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sentence": "One.", "vector": "[1, 2, 3, 4]"}, "a sentence and a vector; expected one of them"),
        ({"sentence": "x" * 301, "vector": ""}, "has 301 characters; expected 300 at most"),
    ],
)
def test_a_sentence_that_cannot_be_taken_is_said_to_be_so(
    encoder_here: list[str], browse: Browse, changes: dict[str, str], says: str
) -> None:
    answer = browse().post("/playground", data=form(**changes))
    assert answer.status_code == 400
    assert says in answer.text
    assert encoder_here == []


def test_without_the_embedder_a_vector_is_asked_for(browse: Browse, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a decoder whose embedder nobody knows, and no other that is here
    monkeypatch.setattr(playground, "runs_aside", lambda name: False)
    client = browse()
    assert 'name="sentence"' not in client.get("/playground").text
    answer = client.post("/playground", data=form(vector="", sentence="Where is it?"))
    assert answer.status_code == 400
    assert "toy-encoder, is not installed where the API runs; expected a vector" in answer.text
