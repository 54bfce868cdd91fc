"""An encoder beside a process that must not load one: a real one, in a process of its own."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from unembed.errors import BusyError, UnavailableError
from unembed.models.encoders import aside
from unembed.models.encoders.aside import embed_aside, runs_aside
from unembed.models.encoders.known import E5_SMALL, MINILM
from unembed.models.encoders.registry import open_encoder


def test_a_sentence_is_embedded_as_ever_and_in_another_process() -> None:
    # Given an encoder that is installed, When a sentence is embedded aside
    assert runs_aside(MINILM)
    sentence = "Wo ist der Bahnhof? \u2028 Ça va."
    vector = embed_aside(MINILM, sentence)
    # Then it is what the encoder gives
    (expected,) = open_encoder(MINILM).encode([sentence], lambda done: None)
    assert float(vector @ expected / np.linalg.norm(vector) / np.linalg.norm(expected)) > 0.9999


@pytest.mark.parametrize("name", [None, "", "openai:text-embedding-3-small", "os:system", "../x", "toy-encoder"])
def test_only_encoders_that_are_known_by_name_run(name: str | None) -> None:
    assert not runs_aside(name)


def test_what_goes_wrong_is_said_in_a_line_and_the_rest_is_for_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given an encoder that is not installed, When it is asked for all the same
    if runs_aside(E5_SMALL):
        pytest.skip("it is installed")
    with pytest.raises(UnavailableError, match="gave no embedding: the server's log says why"):
        embed_aside(E5_SMALL, "One.")
    # Then the log has what the process said
    assert "is not installed here" in caplog.text
    # And one that takes too long, or cannot be started, is given up
    monkeypatch.setattr(aside, "_LOADS_FOR", 0.0)
    with pytest.raises(UnavailableError, match="gave no embedding in 0 s"):
        embed_aside(MINILM, "One.")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(UnavailableError):
        embed_aside(MINILM, "One.")


def test_one_sentence_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given one that is being embedded, When another comes, Then it is told to come again
    monkeypatch.setattr(aside, "_WAITS_FOR", 0.0)
    with aside._one, pytest.raises(BusyError, match="try again"):
        embed_aside(MINILM, "One.")
