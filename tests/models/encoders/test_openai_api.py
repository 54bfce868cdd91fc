"""Encoders behind OpenAI's API, asked for real over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx2
import numpy as np
import pytest

from tests.models.encoders.openai_server import DIM, OpenAIServer, Refusal, openai_server, vector_of
from unembed.errors import AuthError, InputError, UnavailableError
from unembed.http_manners import asked_pause
from unembed.models.encoders import paid
from unembed.models.encoders.base import Encoder
from unembed.models.encoders.openai_api import OpenAIEmbeddings, requests_of
from unembed.models.encoders.paid import Bill, attend
from unembed.models.encoders.permission import permit
from unembed.models.encoders.registry import open_encoder, why_not
from unembed.models.encoders.retrying_http import LONGEST_PAUSE, TRIES, RetryingHttp
from unembed.models.encoders.spec import parse_spec

TEXTS = ["the sea", "a ship", "the sea", "", "Käfer und 你好"]
CLOSE = 1e-6


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UNEMBED_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    monkeypatch.delenv("UNEMBED_OPENAI_KEY", raising=False)
    monkeypatch.setattr(paid, "_approvers", [])


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with openai_server() as one:
        yield one


def encoder(server: OpenAIServer, pauses: list[float] | None = None, options: str = "") -> Encoder:
    """With pauses that are noted and not made."""
    spec = parse_spec(f"openai:some-model?url={server.url}{options}")
    http = RetryingHttp(server.url, None, (pauses if pauses is not None else []).append)
    return Encoder(str(spec), OpenAIEmbeddings(spec, http), dim=spec.dim)


def unit(texts: list[str], dim: int = DIM) -> np.ndarray:
    vectors = np.stack([vector_of(text or " ", dim) for text in texts])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_vectors_come_in_the_order_of_the_texts_whatever_the_order_of_the_answer(server: OpenAIServer) -> None:
    # Given a server that answers the last text first
    made = open_encoder(permit(f"openai:some-model?url={server.url}"))
    # When texts are embedded, one of them twice and one empty
    vectors = made.encode(TEXTS)
    # Then each has its own vector, and none was asked for twice
    assert np.abs(vectors - unit(TEXTS)).max() < CLOSE
    assert server.texts == ["the sea", "a ship", " ", "Käfer und 你好"]
    assert server.requests[0]["model"] == "some-model"
    assert made.dim == DIM


def test_fewer_dimensions_are_asked_of_the_server(server: OpenAIServer) -> None:
    vectors = encoder(server, options="&dim=4").encode(TEXTS)
    assert server.requests[0]["dimensions"] == 4
    assert np.abs(vectors - unit(TEXTS, 4)).max() < CLOSE


def test_a_server_without_base64_is_asked_for_numbers(server: OpenAIServer) -> None:
    server.knows_base64 = False
    assert np.abs(encoder(server).encode(TEXTS) - unit(TEXTS)).max() < CLOSE
    assert "encoding_format" not in server.requests[0]


def test_a_busy_or_broken_server_is_asked_again_after_as_long_as_it_says(server: OpenAIServer) -> None:
    # Given a server that first is busy, for 7 seconds, then for 250 ms, and then broken
    server.refusals = [
        Refusal(429, {"Retry-After": "7"}),
        Refusal(429, {"Retry-After": "9", "Retry-After-Ms": "250"}),
        Refusal(500),
        Refusal(503, {"Retry-After": "1000000"}),
    ]
    # When texts are embedded
    pauses: list[float] = []
    vectors = encoder(server, pauses).encode(TEXTS)
    # Then they are, and the pauses were those that it asked for, up to the longest, or the back-off's
    assert np.abs(vectors - unit(TEXTS)).max() < CLOSE
    assert pauses[:2] == [7.0, 0.25]
    assert 0.5 < pauses[2] < 4.0
    assert pauses[3] == LONGEST_PAUSE


def test_a_pause_may_be_a_date(server: OpenAIServer) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=3600), usegmt=True)
    assert asked_pause(httpx2.Headers({"retry-after": soon})) == pytest.approx(3600, abs=60)
    assert asked_pause(httpx2.Headers({"retry-after": "soon"})) is None
    assert asked_pause(httpx2.Headers({})) is None


def test_it_is_not_asked_for_ever(server: OpenAIServer) -> None:
    server.refusals = [Refusal(500)] * TRIES
    with pytest.raises(UnavailableError, match=f"after {TRIES} tries: 500"):
        encoder(server).encode(TEXTS)
    with pytest.raises(UnavailableError, match="after 8 tries"):
        encoder(OpenAIServer(url="http://127.0.0.1:9/v1")).encode(TEXTS)


def test_a_quota_that_is_used_up_is_not_waited_for(server: OpenAIServer) -> None:
    server.refusals = [Refusal(429, {}, "You exceeded your current quota", "insufficient_quota")]
    pauses: list[float] = []
    with pytest.raises(InputError, match="refused to embed with 'some-model': 429, You exceeded your current quota"):
        encoder(server, pauses).encode(TEXTS)
    assert pauses == []


def test_the_key_for_openai_is_sent_to_openai_alone(server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a server of one's own, and a key in OPENAI_API_KEY: Then that key does not go there
    spec = parse_spec(f"openai:some-model?url={server.url}")
    OpenAIEmbeddings(spec).embed(["the sea"])
    # And the one in UNEMBED_OPENAI_KEY does
    monkeypatch.setenv("UNEMBED_OPENAI_KEY", "of-mine")
    OpenAIEmbeddings(spec).embed(["the sea"])
    assert server.keys == [None, "Bearer of-mine"]


def test_a_key_that_is_refused_is_not_shown(server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNEMBED_OPENAI_KEY", "sk-secret")
    server.refusals = [Refusal(401, {}, "Incorrect API key provided: sk-secret")]
    with pytest.raises(AuthError, match="was not accepted: Incorrect API key provided: ") as raised:
        OpenAIEmbeddings(parse_spec(f"openai:some-model?url={server.url}")).embed(["the sea"])
    assert "sk-secret" not in raised.value.message


def test_openai_cannot_be_asked_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    name = permit("openai:text-embedding-3-small?url=https://api.openai.com/v1")
    assert name == "openai:text-embedding-3-small"
    assert why_not(name) is None
    monkeypatch.delenv("OPENAI_API_KEY")
    assert why_not(name) == "needs a key, which is missing here: set OPENAI_API_KEY"


@pytest.mark.parametrize("short_by", [1, 2])
def test_an_answer_with_too_few_embeddings_is_refused(server: OpenAIServer, short_by: int) -> None:
    server.short_by = short_by
    with pytest.raises(UnavailableError, match="answered with what are no embeddings"):
        encoder(server).encode(["one", "two"])


def test_a_request_has_neither_too_many_texts_nor_too_many_tokens() -> None:
    short = [f"text {number}" for number in range(600)]
    assert [len(part) for part in requests_of(short)] == [256, 256, 88]
    long = ["word " * 20_000 for _ in range(9)]  # about 25,000 tokens each
    assert [len(part) for part in requests_of(long)] == [3, 3, 3]
    assert list(requests_of([])) == []


def test_what_is_paid_for_is_kept_when_the_rest_fails(server: OpenAIServer) -> None:
    # Given a person at hand, and a server whose second request fails
    bills: list[Bill] = []
    attend(bills.append)
    texts = [f"text {number}" for number in range(300)]
    made = encoder(server)
    calls = iter([None, KeyboardInterrupt()])

    def interrupted(done: int) -> None:
        if error := next(calls, None):
            raise error

    original = OpenAIEmbeddings._ask

    def ask(self: OpenAIEmbeddings, some: list[str]) -> np.ndarray:
        interrupted(len(some))
        return original(self, some)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OpenAIEmbeddings, "_ask", ask)
        with pytest.raises(KeyboardInterrupt):
            made.encode(texts)
    assert len(server.texts) == 256
    # When the same texts are embedded again, by another process's encoder
    vectors = encoder(server).encode(texts)
    # Then only the others are asked for, the bill says so, and the vectors are the same
    assert len(server.texts) == 300
    assert [(bill.texts, bill.known) for bill in bills] == [(300, 0), (44, 256)]
    assert np.abs(vectors - unit(texts)).max() < CLOSE


def test_a_worker_asks_nobody_and_keeps_nothing(server: OpenAIServer, tmp_path: Path) -> None:
    encoder(server).encode(TEXTS)
    encoder(server).encode(TEXTS)
    assert len(server.requests) == 2
    assert not (tmp_path / "home").exists()


def test_a_bill_says_what_is_known() -> None:
    known = Bill("openai:text-embedding-3-small", 1_000, 20_000_000, 5, 0.02)
    assert str(known).startswith(
        "openai:text-embedding-3-small: 1,000 texts, about 20,000,000 tokens, about $0.4000 at $0.02 a million tokens"
    )
    assert str(known).endswith("; 5 more were embedded before and cost nothing")
    assert "at a price that Unembed does not know" in str(Bill("openai:x", 1, 2, 0, None))
    assert str(Bill("openai:x", 1, 2, 0, None, free=True)) == "openai:x: 1 texts, about 2 tokens"
