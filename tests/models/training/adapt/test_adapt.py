"""`unembed adapt`, with an embedder that is made for it: the decoder's own sketch, turned into 96 dimensions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from typer.testing import CliRunner

from unembed.cli.app import app
from unembed.errors import InputError
from unembed.models.decoder.checkpoint import load_checkpoint
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.evaluation.text_sets import TextSet
from unembed.models.training.adapt import bases
from unembed.models.training.adapt.run import Adaptation, adapt, look
from unembed.models.training.warm import WarmStart

BASE = "ret-v21-minilm"
DIM = 96
LINES = Path("examples/sentences.txt").read_text(encoding="utf-8").splitlines()


def embed(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """(N, DIM), not at length 1."""
    sketch = load_checkpoint(BASE).sketch
    assert sketch is not None
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(384, DIM)))[0]
    return (3.0 * sketch.vectors(texts) @ turn).astype(np.float32)


@pytest.fixture(autouse=True)
def _no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the tests run, the base's embedder is not there: its sketch stands in for it."""
    monkeypatch.setattr(bases, "is_installed", lambda name: False)


def plan(folder: Path, texts: Sequence[str], vectors: npt.NDArray[np.float32]) -> Adaptation:
    (folder / "texts.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    np.save(folder / "texts.npy", vectors)
    sets = (TextSet("mine", folder / "texts.txt", folder / "texts.npy"),)
    return Adaptation(folder / "out" / "mine", sets, base=BASE, minutes=0.0)


def test_a_decoder_is_adapted_to_another_embedder(tmp_path: Path) -> None:
    # Given some texts and their embeddings, among them some that are of no use
    texts = [*LINES[:260], LINES[0], "Nothing is known of this one."]
    vectors = embed(texts)
    vectors[-1] = np.nan
    said: list[str] = []
    # When the decoder is adapted to them, with a moment of training, and with other texts that have no embeddings
    (tmp_path / "more.txt").write_text("\n".join(LINES[310:]) + "\n", encoding="utf-8")
    more = (TextSet.parse(str(tmp_path / "more.txt")),)
    made = adapt(replace(plan(tmp_path, texts, vectors), minutes=0.05, texts=more), said.append)
    # Then the rest was left out, and the map is good
    assert "mine: leaving out 1 of 262 rows: 1 hold no vector" in said
    assert "leaving out 1 texts that are there twice" in said
    assert made.pairs + made.held_out == 260
    assert made.cosine > made.apart + 0.3
    # And it learnt from the others, of which the embeddings were estimated
    assert made.more_texts == len(set(LINES[310:]))
    assert made.explained is not None
    assert made.explained > 0.3
    # And the checkpoint is one like others: it passes its self-test, has a sketch, and edits by it
    folder = tmp_path / "out" / "mine"
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]
    decoder = GenerativeDecoder.load(folder, "cpu")
    assert (decoder.embedding_dim, decoder.name) == (DIM, "mine")
    assert decoder.checkpoint.self_test is not None
    assert len(decoder.batch_generate(embed(LINES[300:304]), edits=1)) == 4
    card, record = (folder / "README.md").read_text(), json.loads((folder / "scores.json").read_text())
    assert f"adapted from `{BASE}`" in card
    assert "too few held-out texts" in card
    assert f"--set mine={tmp_path}/texts.txt,{tmp_path}/texts.npy" in card
    assert record["scores"]["held out"]["word_f1"] == pytest.approx(made.proof.word_f1.value)
    # And a training that starts from it keeps its bridge
    warm = WarmStart.read(folder, "resource_efficient_v21")
    weights = warm.weights(warm.config(embedding_dim=DIM))
    assert torch.equal(weights["bridge.weight"], decoder.checkpoint.network.bridge.weight)


def test_where_the_pairs_are_enough_for_the_time_other_texts_are_not_learnt_from(tmp_path: Path) -> None:
    # Given pairs that take as long to learn from as was asked for, and other texts
    (tmp_path / "more.txt").write_text("\n".join(LINES[310:]) + "\n", encoding="utf-8")
    asked = replace(plan(tmp_path, LINES[:260], embed(LINES[:260])), minutes=0.01)
    said: list[str] = []
    # When a decoder is adapted, Then it is said that they are left, and what it takes to use them
    made = adapt(replace(asked, texts=(TextSet.parse(str(tmp_path / "more.txt")),)), said.append)
    assert "the pairs are enough to learn from for 0.01 minutes; with more, --texts would count too" in said
    assert (made.more_texts, made.explained) == (0, None)


class Encoder:
    """Stands in for the base's embedder."""

    def encode(self, texts: Sequence[str], tell: object) -> npt.NDArray[np.float32]:
        sketch = load_checkpoint(BASE).sketch
        assert sketch is not None
        return sketch.vectors(texts)


def test_the_embedder_of_a_decoder_that_is_named_embeds_the_texts_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given the embedder of one of the decoders that ship
    monkeypatch.setattr(bases, "is_installed", lambda name: name == "all-MiniLM-L6-v2")
    monkeypatch.setattr(bases, "shared_encoder", lambda name: Encoder())
    # When that decoder is adapted, Then its embedder is asked
    made = adapt(plan(tmp_path, LINES[:120], embed(LINES[:120])), lambda line: None)
    assert (made.base.name, made.by_encoder) == (BASE, "all-MiniLM-L6-v2")


def test_without_a_name_what_was_made_to_be_adapted_is(tmp_path: Path) -> None:
    # Given pairs, When no base is named
    asked = replace(plan(tmp_path, LINES[:260], embed(LINES[:260])), base=None)
    made = adapt(asked, lambda line: None)
    # Then that is adapted which ships for it, by its name on the card
    assert (made.base.name, made.by_encoder) == ("ret-v21-base", None)
    card = (asked.folder / "README.md").read_text()
    assert "adapted from `ret-v21-base`" in card
    assert "--base ret-v21-base" in card
    # And under that name it is found again
    again = replace(asked, base="ret-v21-base", folder=tmp_path / "again")
    assert adapt(again, lambda line: None).proof.word_f1 == made.proof.word_f1


def test_embeddings_that_lie_beside_other_texts_are_refused_with_the_numbers(tmp_path: Path) -> None:
    # Given embeddings in another order than the texts
    texts = LINES[:120]
    shuffled = embed(texts)[np.random.default_rng(0).permutation(120)]
    # When a decoder is to be adapted, Then it is refused, and nothing is left behind
    with pytest.raises(InputError, match=r"cosine of 0\.\d+ .* and 0\.\d+ with that of another"):
        adapt(plan(tmp_path, texts, shuffled), lambda line: None)
    assert not (tmp_path / "out").exists()


def test_pairs_are_looked_at_first(tmp_path: Path) -> None:
    # Given embeddings that lie a row too late, and enough of them to be sure
    texts, said = LINES[:400], list[str]()
    late = np.roll(embed(texts), 1, axis=0)
    # When a decoder is to be adapted, Then it is refused before anything is done, and what is wrong is said
    with pytest.raises(InputError, match=r"1 row further down.*--check no"):
        adapt(plan(tmp_path, texts, late), said.append)
    assert not (tmp_path / "out").exists()
    # And of those that are right, what to expect is said
    look(plan(tmp_path, texts, embed(texts)), said.append)
    assert said[-1] == "400 pairs: expect a word F1 of about 0.36 if they are everyday sentences (an estimate)"


def test_the_command_on_the_card_repeats_it_bit_by_bit(tmp_path: Path) -> None:
    # Given a decoder that was adapted, with texts that have no embeddings
    (tmp_path / "more.txt").write_text("\n".join(LINES[300:]) + "\n", encoding="utf-8")
    first = plan(tmp_path, LINES[:260], embed(LINES[:260]))
    first = replace(first, minutes=0.02, texts=(TextSet.parse(str(tmp_path / "more.txt")),))
    made = adapt(first, lambda line: None)
    # When the command is given once more, for another folder
    words = [*made.command]
    words[words.index("--out") + 1] = str(tmp_path / "again" / "mine")
    done = CliRunner().invoke(app, words[1:])
    # Then the weights and the sketch are the same
    assert done.exit_code == 0, done.output
    for name in ("model.safetensors", "sketch.safetensors"):
        assert (tmp_path / "again" / "mine" / name).read_bytes() == (first.folder / name).read_bytes()


def test_texts_in_another_script_are_refused(tmp_path: Path) -> None:
    texts = [f"Это предложение номер {number}, и его не написать." for number in range(80)]
    vectors = np.random.default_rng(0).normal(size=(80, DIM)).astype(np.float32)
    asked = replace(plan(tmp_path, texts, vectors), base=None)
    with pytest.raises(InputError, match=r"^\d+% of the texts' pieces are unknown to ret-v21-base.*`unembed train`"):
        adapt(asked, lambda line: None)


def test_a_folder_with_something_in_it_is_not_written_to(tmp_path: Path) -> None:
    asked = plan(tmp_path, LINES[:60], np.ones((60, DIM), np.float32))
    asked.folder.mkdir(parents=True)
    (asked.folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is there already; expected a new folder"):
        adapt(asked, lambda line: None)
