"""Edits become texts as a person would write them, and the network says how likely each is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from tests.models.decoder.toy import random_network, sketch_of_words, vectors
from unembed.models.decoder.candidates import Candidates
from unembed.models.decoder.catalog import SHIPPED
from unembed.models.decoder.checkpoint import TOKENIZER_FILE, Checkpoint
from unembed.models.decoder.config import CheckpointConfig
from unembed.models.decoder.editing import Editing
from unembed.models.decoder.edits import Breadth, Edits
from unembed.models.decoder.engine import Generated
from unembed.models.decoder.engines import Engine, engine_for
from unembed.models.decoder.tokenizer import END, Tokenizer
from unembed.models.decoder.vectors import Vectors
from unembed.models.device import Device
from unembed.schemas import DEFAULT_DECODER

EMBEDDINGS = vectors(3)


class Told:
    """An editor that proposes what it is told to, of every text."""

    def __init__(self, *edits: list[int]) -> None:
        self._edits = edits

    def edits(self, texts: Sequence[Sequence[int]], queries: Vectors, breadth: Breadth) -> Edits:
        shape = (len(texts), breadth.each)
        words, lengths = np.zeros((*shape, 12), dtype=np.int32), np.zeros(shape, dtype=np.int32)
        for number, edit in enumerate(self._edits):
            words[:, number, : len(edit)] = edit
            lengths[:, number] = len(edit)
        keys = -np.arange(shape[1], dtype=np.float32)[None].repeat(len(texts), axis=0)
        return Edits(words, lengths, keys)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    """With the pieces of the decoder that ships: they spell any English."""
    pieces = Tokenizer.load(SHIPPED / DEFAULT_DECODER / TOKENIZER_FILE)
    network = random_network(vocab_size=pieces.vocab_size)
    return Checkpoint(CheckpointConfig(name="toy", network=network.config), network, pieces, sketch=sketch_of_words())


@pytest.fixture(scope="module")
def engine(checkpoint: Checkpoint) -> Engine:
    return engine_for(checkpoint.network, Device(torch.device("cpu"), torch.float32))


def found(checkpoint: Checkpoint, *texts: str) -> Candidates:
    """Each text as the only candidate of a row."""
    pieces = [[*checkpoint.tokenizer.encode(text), END] for text in texts]
    longest = max(map(len, pieces))
    ids = torch.tensor([[*one, *[0] * (longest - len(one))] for one in pieces])
    generated = Generated(ids, torch.zeros(ids.shape), torch.tensor([len(one) for one in pieces]))
    return Candidates(np.arange(len(texts)), generated, texts)


def edited(
    checkpoint: Checkpoint, engine: Engine, texts: Sequence[str], *edits: list[int], limit: int = 32
) -> Candidates:
    assert checkpoint.sketch is not None
    editing = Editing(
        checkpoint.sketch, Told(*edits), checkpoint.tokenizer, engine, torch.from_numpy(EMBEDDINGS), limit
    )
    places = np.arange(len(texts))
    queries = checkpoint.sketch.queries(EMBEDDINGS[: len(texts)])
    return editing.edited(found(checkpoint, *texts), places, queries)


def number_of(checkpoint: Checkpoint, word: str) -> int:
    assert checkpoint.sketch is not None
    return -1 - checkpoint.sketch.ids[word]


@pytest.mark.parametrize(
    ("text", "edit", "expected"),
    [
        ("She sold the sea.", [1, 2, 3, 4], "Sold the sea."),
        ("She sold the sea.", [1, 0, 2, 3, 4], "Sold she the sea."),
        ("Tom sold the sea.", [1, 0, 2, 3, 4], "Sold Tom the sea."),
        ("She sold the sea.", ["Tom", 1, 2, 3, 4], "Tom sold the sea."),
        ("She sold the sea.", ["my", 0, 1, 2, 3, 4], "My she sold the sea."),
        ("She sold the sea.", [0, 1, "my", 3, 4], "She sold my sea."),
        ("She sold the sea", [0, 1, 2, 3, "."], "She sold the sea."),
        ("she sold the sea.", ["my", 0, 1, 2, 3, 4], "my she sold the sea."),
    ],
)
def test_capitals_and_spaces_are_those_of_the_new_places(
    checkpoint: Checkpoint, engine: Engine, text: str, edit: list[int | str], expected: str
) -> None:
    # Given a text and an edit of it: places of its own words, and new words
    numbers = [number_of(checkpoint, one) if isinstance(one, str) else one for one in edit]
    # When it is written out, Then it is spelt as it would be there
    assert edited(checkpoint, engine, [text], numbers).texts == (expected,)


def test_an_edited_text_has_the_likelihood_that_the_network_gives_it(checkpoint: Checkpoint, engine: Engine) -> None:
    # Given edits of the texts of two rows
    made = edited(checkpoint, engine, ["Tom sold the sea.", "She sold the sea."], [0, 1, 2, 3], [0, 2, 3])
    assert made.row.tolist() == [0, 0, 1, 1]
    # Then each is as likely as when it is read for itself, with its row's embedding
    for place, row in enumerate(made.row.tolist()):
        alone = found(checkpoint, made.texts[place]).pieces
        expected = engine.piece_log_probs(torch.from_numpy(EMBEDDINGS[[row]]), alone)
        assert made.log_prob[place] == pytest.approx(float(expected.sum()), abs=1e-5)
        assert made.lengths[place] == alone.lengths[0]


def test_no_text_comes_twice_nor_one_that_is_there_already(checkpoint: Checkpoint, engine: Engine) -> None:
    # Given edits that give the same text, and the text itself
    made = edited(checkpoint, engine, ["I like the sea."], [0, 1, 3, 4], [0, 1, 3, 4], [0, 1, 2, 3, 4])
    # Then it is there once
    assert made.texts == ("I like sea.",)


def test_a_text_over_the_limit_is_left_out(checkpoint: Checkpoint, engine: Engine) -> None:
    # Given a limit that the text with one more word is over
    limit = len(checkpoint.tokenizer.encode("I like the sea.")) + 1
    more = [0, number_of(checkpoint, "like"), 1, 2, 3, 4]
    assert edited(checkpoint, engine, ["I like the sea."], more, limit=limit).texts == ()


def test_a_text_that_the_network_cannot_spell_is_left_out(checkpoint: Checkpoint, engine: Engine) -> None:
    # Given a text with a letter that no piece has, which an edit keeps
    assert edited(checkpoint, engine, ["I like the ☃."], [0, 1, 3, 4], [0, 1, 4]).texts == ("I like.",)
