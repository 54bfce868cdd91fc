"""`unembed train --start-from`: a run that begins with the pieces and the weights of a decoder that is there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models.decoder.toy import RECIPE, TEXTS, random_checkpoint, random_network, tokenizer, vectors
from unembed.errors import CheckpointError, UnknownDecoderError
from unembed.models.decoder.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from unembed.models.decoder.config import CheckpointConfig
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.evaluation.text_sets import TextSet
from unembed.models.training.plan import Plan
from unembed.models.training.recipe import Progress, StartingDecoder
from unembed.models.training.run import train_decoder
from unembed.models.training.warm import WarmStart

V21, V2 = "resource_efficient_v21", "resource_efficient_v2"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A checkpoint of the toys."""
    return random_checkpoint(tmp_path / "base", "base")


def plan(folder: Path, base: Path | str, dim: int = 16, texts: list[str] = TEXTS) -> Plan:
    """One step on the toys, from a base."""
    (folder / "t.txt").write_text("\n".join(texts) + "\n")
    np.save(folder / f"t{dim}.npy", vectors(len(texts), dim))
    return Plan(
        name="warm", folder=folder / "warm", train=(TextSet("toys", folder / "t.txt", folder / f"t{dim}.npy"),),
        dev=(), encoder=None, licence="CC0", recipe=replace(RECIPE, epochs=0.01), max_pieces=40,
        start_from=str(base),
    )  # fmt: skip


def quiet(progress: Progress) -> None:
    pass


def test_a_network_of_the_same_dimension_takes_every_weight(base: Path) -> None:
    # Given a decoder, When it is taken as a base for the embeddings that it reads
    warm = WarmStart.read(base, V21)
    weights = warm.weights(warm.config(embedding_dim=16))
    # Then all of its weights are there, and its shape
    theirs = load_checkpoint(base).network.state_dict()
    assert warm.fits(16)
    assert weights.keys() == theirs.keys()
    assert all(torch.equal(weights[name], value) for name, value in theirs.items())
    assert warm.config(embedding_dim=16, max_pieces=40).model_dump() == load_checkpoint(
        base
    ).config.network.model_dump() | {"max_pieces": 40}


def test_a_network_of_another_dimension_takes_everything_but_the_bridge(base: Path) -> None:
    warm = WarmStart.read(base, V21)
    assert not warm.fits(24)
    weights = warm.weights(warm.config(embedding_dim=24))
    assert warm.checkpoint.network.state_dict().keys() - weights.keys() == {"bridge.weight"}
    assert warm.config(embedding_dim=24).embedding_dim == 24
    assert warm.config(embedding_dim=24).gated_units == 48  # all that the toy has: there is room for them


def test_gates_that_the_base_has_are_taken_and_those_it_has_not_begin_without_effect(tmp_path: Path) -> None:
    # Given a base with 9 gates
    network = random_network(gated_units=9)
    save_checkpoint(tmp_path, Checkpoint(CheckpointConfig(name="gated", network=network.config), network, tokenizer()))
    warm = WarmStart.read(tmp_path, V21)
    # When a network of the same kind takes its weights, Then the gates are among them
    assert torch.equal(warm.weights(warm.config(embedding_dim=16))["gate.weight"], network.gate.weight.half().float())
    # And when it is to have more, Then they begin fresh
    wider = warm.config(embedding_dim=16, gated_units=12)
    assert wider.gated_units == 12
    assert "gate.weight" not in warm.weights(wider)


def test_a_run_begins_with_the_base_and_its_card_says_so(tmp_path: Path, base: Path) -> None:
    # Given a decoder, When a run of a single step is started from it
    said: list[str] = []
    assert train_decoder(plan(tmp_path, base), said.append, quiet)
    # Then it is nearly the base: of the same pieces, a step away from its weights
    assert "starting from 'base'" in said
    assert "learning the pieces" not in said
    ours, theirs = load_checkpoint(tmp_path / "warm"), load_checkpoint(base)
    assert ours.tokenizer.same_as(theirs.tokenizer)
    for mine, its in zip(ours.network.parameters(), theirs.network.parameters(), strict=True):
        assert torch.allclose(mine, its, atol=0.01)
    # And the card and the record name it, with the digest of its weights
    card = (tmp_path / "warm" / "README.md").read_text()
    recipe = json.loads((tmp_path / "warm" / "scores.json").read_text())["training"]["recipe"]
    assert recipe["base"]["name"] == "base"
    assert f"`base` (sha256 `{recipe['base']['sha256'][:16]}…`)" in card
    assert f"--start-from {base}@{recipe['base']['sha256'][:16]}" in card


def test_a_fresh_bridge_is_told(tmp_path: Path, base: Path) -> None:
    # Given a decoder of 16 dimensions, When a run on 24 is started from it
    said: list[str] = []
    assert train_decoder(plan(tmp_path, base, dim=24), said.append, quiet)
    # Then it says that the bridge is fresh, and the decoder reads 24
    assert "its bridge reads 16 dimensions, not 24: the bridge and the gates start fresh" in said
    card = (tmp_path / "warm" / "README.md").read_text()
    assert "started from the pieces and the weights of `base`" in card
    assert "except the bridge and the gates, which read 16 dimensions there" in card
    decoder = GenerativeDecoder.load(tmp_path / "warm")
    assert len(decoder.batch_generate(vectors(3, 24))) == 3


def test_a_run_is_not_taken_up_from_another_base(tmp_path: Path, base: Path) -> None:
    # Given a run that was started from a base and stopped
    begun = plan(tmp_path, base)
    begun = replace(begun, recipe=replace(begun.recipe, epochs=60))
    assert not train_decoder(replace(begun, stop=lambda: True), lambda line: None, quiet)
    # When it is taken up without one, or after the base was trained further, Then it is refused
    with pytest.raises(
        CheckpointError, match=r"was started with the recipe \{'base': \{'name': 'base'.*, not \{'base': None"
    ):
        train_decoder(replace(begun, start_from=None), lambda line: None, quiet)
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(CheckpointError, match="was started with the recipe"):
        train_decoder(begun, lambda line: None, quiet)


def test_a_run_that_has_learnt_its_own_pieces_is_not_taken_up_from_a_base(tmp_path: Path, base: Path) -> None:
    # Given a run that learnt its pieces from the texts, and was stopped
    begun = replace(plan(tmp_path, base), start_from=None, stop=lambda: True, recipe=RECIPE)
    assert not train_decoder(begun, lambda line: None, quiet)
    # When it is taken up from a base, Then it is refused
    with pytest.raises(CheckpointError, match="was started with other pieces than 'base' has"):
        train_decoder(replace(begun, start_from=str(base)), lambda line: None, quiet)


def test_a_base_of_another_architecture_is_refused(base: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"'base' is a {V21}, but the run trains a {V2}; expected the same"):
        WarmStart.read(base, V2)


def test_texts_that_the_base_cannot_write_get_pieces_of_their_own(tmp_path: Path, base: Path) -> None:
    # Given texts in a script that the base has no pieces for, with its marks
    greek = [f"{article} {noun}." for article in ("η", "μια", "κάθε") for noun in ("θάλασσα", "αυλή", "πόλη")]
    # When a run on them is started from it
    said: list[str] = []
    assert train_decoder(plan(tmp_path, base, texts=greek), said.append, quiet)
    # Then it learns pieces, and says how many of them the base knows
    ours, theirs = load_checkpoint(tmp_path / "warm"), load_checkpoint(base)
    shared = ours.tokenizer.pieces.keys() & theirs.tokenizer.pieces.keys()
    assert {".", " ", "<end>"} <= shared
    told = f"it cannot write these texts: they have pieces of their own, and it knows {len(shared)} of them"
    assert [line for line in said if line in ("learning the pieces", told)] == ["learning the pieces", told]
    assert [ours.tokenizer.decode(ours.tokenizer.encode(text)) for text in greek] == greek
    # And what the base knows of those is taken over, with the rest of it
    for piece in shared:
        mine = ours.network.pieces.weight[ours.tokenizer.pieces[piece]]
        its = theirs.network.pieces.weight[theirs.tokenizer.pieces[piece]]
        assert torch.allclose(mine, its, atol=0.01)
    assert torch.allclose(ours.network.layers[0].up.weight, theirs.network.layers[0].up.weight, atol=0.01)
    # And the card says so
    card = (tmp_path / "warm" / "README.md").read_text()
    assert f"the vectors of {len(shared)} of {ours.tokenizer.vocab_size} pieces, of `base`" in card


def test_a_base_that_nobody_knows_is_refused() -> None:
    with pytest.raises(UnknownDecoderError, match="unknown decoder 'nobody'"):
        WarmStart.read("nobody", V21)


def test_runs_of_earlier_versions_can_be_taken_up() -> None:
    # Given the recipe as a version saved it that knew neither bases nor patience
    recipe = replace(RECIPE)
    saved = {name: value for name, value in vars(recipe).items() if name not in ("base", "patience")}
    # When it is compared with the same recipe, Then it is the same; and another one is not
    assert recipe.differences(saved) == ({}, {})
    assert recipe.differences(saved | {"noise": 0.5}) == ({"noise": 0.5}, {"noise": 0.1})
    # And a base is the same that was saved before pieces could be others than its own
    based = replace(recipe, base=StartingDecoder("base", "0" * 64, 16))
    named = saved | {"base": {"name": "base", "sha256": "0" * 64, "embedding_dim": 16}}
    assert based.differences(named) == ({}, {})
