"""`unembed encoders`: what there is, and what to do for the rest."""

from __future__ import annotations

import json

import pytest

from tests.unembed.conftest import Run
from unembed.models.encoders import registry


def test_the_encoders_are_listed_with_the_decoders_that_read_them(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an encoder that the operator allows, and one that cannot run
    monkeypatch.setenv("UNEMBED_ENCODERS", "openai:some-model?url=http://127.0.0.1:9/v1")
    monkeypatch.delenv("UNEMBED_DECODERS", raising=False)
    # When they are listed for programs
    ran = run("encoders", "--json")
    listed = {one["encoder"]: one for one in json.loads(ran.out)}
    # Then each is there, with what can be done
    assert listed["all-MiniLM-L6-v2"] == {
        "encoder": "all-MiniLM-L6-v2", "dim": 384, "decoders": ["ret-v21-minilm"], "why_not": None,
    }  # fmt: skip
    assert listed["all-mpnet-base-v2"]["why_not"] == "is not installed here: unembed encoders add all-mpnet-base-v2"
    assert listed["openai:some-model?url=http://127.0.0.1:9/v1"]["why_not"] is None
    # And for people, what is to be installed is written out
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    ran = run("encoders")
    assert "pip install 'unembed[fastembed]'" in ran.out
    assert "module:function" in ran.out


def test_only_what_comes_in_parts_can_be_added(run: Run) -> None:
    ran = run("encoders", "add", "word2vec")
    assert ran.code == 2
    assert "there is no encoder 'word2vec' to add; expected all-mpnet-base-v2" in ran.err
