"""Embeddings by OpenAI, or by any server with the same API: vLLM, llama.cpp, Ollama, text-embeddings-inference, ...

Not the package `openai`: it is one request, and what matters for a corpus the package does not do, which is to cut
requests by tokens, to keep what is paid for, and to say before what it costs.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
import numpy as np
import numpy.typing as npt

from unembed.errors import AuthError, InputError, UnavailableError
from unembed.http_manners import LOOPBACK
from unembed.models.encoders.base import Adapter
from unembed.models.encoders.kept_vectors import KeptVectors, kept_file
from unembed.models.encoders.openai_server import ANY_KEY, OPENAI_KEY, key_for, url_of
from unembed.models.encoders.paid import PRICES, Bill, estimated_tokens, is_attended, submit_bill
from unembed.models.encoders.retrying_http import RetryingHttp
from unembed.models.encoders.spec import OPENAI_URL, Spec

_MOST_TEXTS: Final = 256  # in a request
_MOST_TOKENS: Final = 100_000  # in a request, estimated; OpenAI takes 300,000
_SHOWN: Final = 200  # characters of what a server says

Vectors = npt.NDArray[np.float32]


class OpenAIEmbeddings(Adapter):
    """Texts to vectors (N, D). Those that were embedded before, with a person at hand, are not asked for again."""

    def __init__(self, spec: Spec, http: RetryingHttp | None = None) -> None:
        self._spec = spec
        self._url = url_of(spec)
        key = key_for(self._url)
        self._http = http or RetryingHttp(self._url, key)
        self._key = key
        self._in_base64 = True  # a third of the bytes; until a server refuses it
        self._kept = KeptVectors(kept_file(f"{self._url} {spec.name} {spec.dim}")) if is_attended() else None
        self.keeps = self._kept is not None
        self._dim: int | None = spec.dim

    @property
    def dim(self) -> int:
        if self._dim is None:
            self._dim = self.embed(["dimension"]).shape[1]
        return self._dim

    def prepare(self, texts: Sequence[str]) -> None:
        """Submits the bill for those that are not known yet, where somebody is at hand."""
        if not is_attended():
            return
        different = dict.fromkeys(texts)
        known = self._kept.find(different).keys() if self._kept else set[str]()
        fresh = [text for text in different if text not in known]
        free = urlsplit(self._url).hostname in LOOPBACK
        price = PRICES.get(self._spec.name) if self._url == OPENAI_URL else None
        submit_bill(Bill(str(self._spec), len(fresh), estimated_tokens(fresh), len(known), price, free))

    def embed(self, texts: Sequence[str]) -> Vectors:
        different = list(dict.fromkeys(texts))
        found = self._kept.find(different) if self._kept else {}
        for request in requests_of([text for text in different if text not in found]):
            fresh = dict(zip(request, self._ask(request), strict=True))
            if self._kept:
                self._kept.keep(fresh)
            found |= fresh
        return np.stack([found[text] for text in texts])

    def _ask(self, texts: Sequence[str]) -> Vectors:
        """(N, D), in the order of the texts."""
        body: dict[str, Any] = {"model": self._spec.name, "input": [text or " " for text in texts]}  # "" is refused
        body |= {"encoding_format": "base64"} if self._in_base64 else {}
        body |= {"dimensions": self._spec.dim} if self._spec.dim else {}
        answer = self._http.post("/embeddings", body, _is_out_of_money)
        if self._in_base64 and answer.status_code in (400, 422) and "encoding_format" in answer.text:
            self._in_base64 = False
            return self._ask(texts)
        if not answer.is_success:
            raise self._refused(answer)
        try:
            vectors = _read(answer.json(), len(texts))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnavailableError(f"{self._url} answered with what are no embeddings: {error}") from None
        self._dim = vectors.shape[1]
        return vectors

    def _refused(self, answer: httpx2.Response) -> Exception:
        said = _message(answer)
        said = said.replace(self._key, "***") if self._key else said
        if answer.status_code in (401, 403):
            given = "was not accepted" if self._key else "is missing"
            name = OPENAI_KEY if self._url == OPENAI_URL else ANY_KEY
            return AuthError(f"the key for {self._url} {given}: {said}; expected a valid one in {name}")
        return InputError(f"{self._url} refused to embed with {self._spec.name!r}: {answer.status_code}, {said}")


def requests_of(texts: Sequence[str]) -> Iterator[list[str]]:
    """Cut so that none has more texts, or probably more tokens, than a request may have."""
    request, tokens = list[str](), 0
    for text in texts:
        more = estimated_tokens([text])
        if request and (len(request) == _MOST_TEXTS or tokens + more > _MOST_TOKENS):
            yield request
            request, tokens = [], 0
        request.append(text)
        tokens += more
    if request:
        yield request


def _is_out_of_money(answer: httpx2.Response) -> bool:
    """A 429 that will be one tomorrow, too."""
    return "insufficient_quota" in answer.text


def _read(document: Any, texts: int) -> Vectors:
    """(N, D). Raises ValueError where an embedding is missing or not as long as the others."""
    by_index = {one.get("index", place): one["embedding"] for place, one in enumerate(document["data"])}
    if sorted(by_index) != list(range(texts)):
        raise ValueError(f"{len(by_index)} embeddings of {texts} texts")
    rows = [_vector(by_index[place]) for place in range(texts)]
    if len({len(row) for row in rows}) > 1:
        raise ValueError("embeddings of different dimensions")
    return np.stack(rows)


def _vector(given: str | list[float]) -> npt.NDArray[np.float32]:
    if isinstance(given, str):
        return np.frombuffer(base64.b64decode(given), np.dtype("<f4"))
    return np.asarray(given, np.float32)


def _message(answer: httpx2.Response) -> str:
    try:
        error = answer.json()["error"]
        said = str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        said = answer.text
    return " ".join(said.split())[:_SHOWN] or answer.reason_phrase
