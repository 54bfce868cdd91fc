"""What `unembed adapt` begins with: what ships, and that one is made as it says."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from unembed.errors import InputError
from unembed.models.decoder.catalog import names
from unembed.models.decoder.checkpoint import load_checkpoint
from unembed.models.decoder.sketch import Bags
from unembed.models.training.adapt.bases import TO_ADAPT
from unembed.models.training.adapt.linear_map import fit_map
from unembed.models.training.to_adapt import learn
from unembed.models.training.to_adapt.embedders import Sayings, draw
from unembed.models.training.to_adapt.learn import make_base

LINES = Path("examples/sentences.txt").read_text(encoding="utf-8").splitlines()


def test_the_base_that_ships_can_be_read_and_is_no_decoder() -> None:
    base = load_checkpoint(TO_ADAPT)
    assert base.sketch is not None
    assert base.sketch.fault(base.network.config.embedding_dim) is None
    assert base.config.encoder is None
    assert TO_ADAPT.name not in names()
    assert "It is no decoder" in (TO_ADAPT / "README.md").read_text(encoding="utf-8")


def test_a_base_is_made_of_texts_and_their_embeddings() -> None:
    # Given a decoder, and texts with the embeddings that it reads
    start = load_checkpoint("ret-v21-minilm")
    assert start.sketch is not None
    embedded = start.sketch.vectors(LINES)
    said: list[str] = []
    # When a base is made, with a moment of training
    made = make_base(start, LINES, [embedded], 0.02, 0, said.append)
    # Then it reads a space of its own, in which texts are placed by their words
    assert made.sketch is not None
    dim = made.network.config.embedding_dim
    assert made.sketch.fault(dim) is None
    assert made.config.encoder is None
    # And a map from the embeddings into it finds the texts again
    mapped = fit_map(embedded, made.sketch.vectors(LINES))
    assert mapped.cosine > mapped.apart + 0.1


def test_a_base_is_gone_on_from_in_its_own_space_with_embeddings_of_several_embedders(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given the base that ships, and two embedders of different widths
    start = load_checkpoint(TO_ADAPT)
    assert start.sketch is not None
    another = np.random.default_rng(0).normal(size=(len(LINES), 48)).astype(np.float32)
    embedded = [start.sketch.vectors(LINES), another]
    # When it is trained on for some steps, by a clock on which each takes a tenth of a second
    monkeypatch.setattr(learn, "time", SimpleNamespace(monotonic=partial(next, count(0.0, 0.1))))
    made = make_base(start, LINES, embedded, 0.02, 0, lambda line: None)
    # Then its space is the same, and its weights are not
    assert made.sketch is start.sketch
    before, after = start.network.state_dict(), made.network.state_dict()
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_what_no_base_can_be_made_of_is_refused() -> None:
    # Given a decoder, and a text that is longer than it can write
    start = load_checkpoint("ret-v21-minilm")
    texts = [*LINES, "never " * 200]
    embedded = np.ones((len(texts), 384), np.float32)
    # Then it is refused, as the texts after it would lie beside wrong embeddings; and so is a decoder without a sketch
    with pytest.raises(InputError, match=rf"^1 of {len(texts)} texts have more than 96 pieces; expected shorter ones"):
        make_base(start, texts, [embedded], 0.01, 0, lambda line: None)
    with pytest.raises(InputError, match="'ret-v21-minilm' has no sketch; expected one"):
        make_base(replace(start, sketch=None), LINES, [embedded], 0.01, 0, lambda line: None)
    # And so are embeddings of fewer texts
    with pytest.raises(InputError, match=rf"^599 embeddings by one embedder are no pairs with {len(LINES)} texts"):
        make_base(start, LINES, [embedded[: len(LINES)], embedded[:599]], 0.01, 0, lambda line: None)


@pytest.mark.parametrize("embedders", [1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_an_embedder_says_the_same_of_a_text_each_time_and_else_of_others(seed: int, embedders: int) -> None:
    random = np.random.default_rng(1)
    bags = Bags(np.tile(np.arange(20), 3)[:40], np.arange(0, 41, 2))  # 20 texts of two rows
    embedded = [random.normal(size=(20, width)).astype(np.float32) for width in (16, 24)[:embedders]]
    material = Sayings(embedded, bags, torch.randn(20, 16), np.ones(20))
    rows = np.arange(20)
    first, second = (draw(material, np.random.default_rng(seed))(rows) for _ in range(2))
    assert np.array_equal(first, second)
    assert np.allclose(np.linalg.norm(first, axis=1), 1.0, atol=1e-5)
    assert len(np.unique(first.round(4), axis=0)) >= 10
