"""Whatever a caller hands in: a public verb works, or raises an UnembedError that says why, and no library's."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

import unembed
from tests.builders import DIM
from tests.unembed.both_clients import KINDS, made
from tests.unembed.conftest import DECODER
from unembed.client import Client
from unembed.errors import InputError, UnembedError
from unembed.job import JobHandle
from unembed.schemas import DecodeOptions, Webhook

BAD: dict[str, Any] = {
    "None": None, "minus one": -1, "a number": 5, "a huge number": 2**70, "a float": 1.5, "NaN": float("nan"),
    "infinity": float("inf"), "true": True, "empty": "", "text": "nonsense", "a line end": "a\r\nb", "NUL": "a\0b",
    "a surrogate": "\ud800", "dots": "..", "a long text": "x" * 20_000, "bytes": b"\xff", "an object": object(),
    "an empty list": [], "a list": [1, "two", None], "a mapping": {"a": object()}, "a set": {1}, "a class": dict,
    "a function": len, "a ragged array": np.array([[1.0], "x"], dtype=object), "an empty array": np.zeros((0, 4)),
    "a complex array": np.zeros((2, 4), np.complex64), "an endless path": Path("x" * 300),
    "an iterator of nothing": iter(()), "an iterator of nonsense": iter([object()]),
}  # fmt: skip

GOOD: dict[str, Any] = {
    "source": np.ones((3, DIM), np.float32), "vectors": np.ones((3, DIM), np.float32), "job_id": "0" * 26,
    "name": "x", "rows": 3, "embedding_dim": DIM, "path": "texts.csv",
}  # fmt: skip

# What decides nothing, or cannot be wrong.
_UNCHECKED = {"self", "check", "transport"}
# What a caller's own function raises is the caller's.
_THEIR_OWN = {"progress", "created"}


def verbs(cls: type[Any]) -> Iterator[tuple[str, str]]:
    """Each public verb, and each of its arguments."""
    for name, verb in vars(cls).items():
        if not name.startswith("_") and inspect.isfunction(verb) and name != "close":
            for argument in inspect.signature(verb).parameters.keys() - _UNCHECKED:
                yield name, argument


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cls", [Client, JobHandle])
def test_a_bad_argument_is_an_unembed_error_or_none(
    cls: type[Any], kind: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    leaked: list[str] = []

    async def played() -> int:
        calls = 0
        async with made(kind, url, retries=0, progress=False) as client:
            for verb, argument in verbs(cls):
                on = client if cls is Client else await client.submit(GOOD["source"], decoder=DECODER)
                for what, bad in list(BAD.items())[:: 1 if kind == "that waits" else 5]:
                    # Given otherwise good arguments, When one is bad
                    if (given := _arguments(cls, verb, argument, what, bad)) is None:
                        continue
                    calls += 1
                    # Then the verb does without it, or says so in an error of ours
                    if error := await _raised(getattr(on, verb), given):
                        leaked.append(f"{verb}({argument}={what}): {error!r}")
        return calls

    assert asyncio.run(played()) > 50
    assert leaked == []


def _arguments(cls: type[Any], verb: str, argument: str, what: str, bad: Any) -> dict[str, Any] | None:
    """None: what would take its time, or calls a function of the caller."""
    wanted = inspect.signature(getattr(cls, verb)).parameters
    if argument in _THEIR_OWN and callable(bad):
        return None
    if argument == "timeout" and (bad is None or (isinstance(bad, (int, float)) and bad > 0)):
        return None
    given = {name: GOOD[name] for name in wanted if name in GOOD}
    given |= {"timeout": 0} if "timeout" in wanted else {}
    given |= {"decoder": DECODER} if "decoder" in wanted else {}
    return given | {argument: iter([object()]) if what == "an iterator of nonsense" else bad}


async def _raised(verb: Any, given: dict[str, Any]) -> Exception | None:
    """What is raised that should not be."""
    try:
        found = verb(**given)
        if isinstance(found, AsyncIterator):
            async for _ in found:
                pass
        else:
            await found
    except UnembedError as error:
        said_well = bool(error.code) and isinstance(error.status, int) and bool(error.message.strip())
        return None if said_well and "\n" not in error.message else error
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "settings",
    [
        {"url": 5}, {"url": "http://[::1"}, {"url": "http://a b"}, {"timeout": "x"}, {"timeout": -1}, {"timeout": None},
        {"retries": -1}, {"retries": 1.5}, {"busy_timeout": "x"}, {"busy": 5}, {"api_key": "a\nb"}, {"api_key": 5},
    ],
)  # fmt: skip
def test_a_client_that_cannot_be_is_an_unembed_error(kind: str, settings: dict[str, Any]) -> None:
    async def played() -> None:
        async with made(kind, **{"url": "http://127.0.0.1:1", "retries": 0, **settings}) as client:
            await client.jobs()

    with pytest.raises(UnembedError):
        asyncio.run(played())


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"candidates": 0}, "candidates is 0; expected"),
        ({"candidates": "many"}, "candidates is 'many'; expected"),
        ({"candidate": 4}, "Did you mean 'candidates'"),
        ({"candidates": 8, "beams": 4}, "expected at least as many beams as candidates"),
    ],
)
def test_options_that_cannot_be_are_an_input_error(values: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        DecodeOptions(**values)


def test_a_webhook_that_cannot_be_is_an_input_error_that_keeps_the_secret() -> None:
    with pytest.raises(InputError, match="secret is set, but not usable") as caught:
        Webhook(url="https://example.org/hook", secret=SecretStr("whsec_dG9wc2VjcmV0"))
    assert "dG9w" not in str(caught.value)


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_what_is_no_corpus_is_an_unembed_error(bad: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for made_of in (unembed.open_corpus, unembed.corpus_from_array):
        try:
            made_of(bad)
        except UnembedError as error:
            assert "\n" not in error.message  # noqa: PT017
