"""The encoders: what their vectors are, and that nothing but the text decides over them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unembed.cli import options
from unembed.errors import InputError
from unembed.models.decoder.encoder import (
    ENCODERS,
    MINILM,
    MINILM_MEAN_MAX,
    Encoder,
    cosines,
    is_installed,
    shared_encoder,
)
from unembed.models.decoder.pooling import mean_max

TEXTS = [
    "I like the sea.",
    "No.",
    "The committee met on a rainy Tuesday to talk about the harbour, and nobody could say why it took so long.",
    "Where is the station?",
]
CLOSE = 1e-5  # of the last bits, which change with the batch


@pytest.mark.parametrize(("name", "dim"), [(MINILM, 384), (MINILM_MEAN_MAX, 768)])
def test_an_encoder_gives_unit_vectors_and_finds_a_text_in_its_own(name: str, dim: int) -> None:
    encoder = shared_encoder(name)
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (4, dim) == (4, encoder.dim)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=CLOSE)
    assert cosines(vectors[:1], encoder.encode(TEXTS[:1])) == pytest.approx([1.0], abs=CLOSE)
    assert cosines(vectors[:1], vectors[2:3])[0] < 0.9


@pytest.mark.parametrize("name", ENCODERS)
def test_neither_the_batch_nor_its_padding_changes_a_vector(name: str) -> None:
    # Given texts of different lengths, when they are embedded together, in another order, and one by one
    encoder = shared_encoder(name)
    together = encoder.encode(TEXTS)
    backwards = encoder.encode(TEXTS[::-1])[::-1]
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    # Then the vectors are the same
    assert np.abs(together - backwards).max() < CLOSE
    assert np.abs(together - alone).max() < CLOSE


def test_the_first_half_of_mean_and_max_is_the_plain_encoders_vector() -> None:
    # Given the same texts in both encoders
    plain = shared_encoder(MINILM).encode(TEXTS)
    both = shared_encoder(MINILM_MEAN_MAX).encode(TEXTS)
    # Then each half has a length of 1/√2, the first is the plain vector, and the second is another
    assert np.linalg.norm(both[:, :384], axis=1) == pytest.approx(np.sqrt(0.5), abs=CLOSE)
    assert np.abs(both[:, :384] * np.sqrt(2.0) - plain).max() < CLOSE
    assert cosines(both[:, 384:], plain).max() < 0.9


def test_both_encoders_share_one_network_and_cut_texts_alike() -> None:
    # Given a text longer than what the network reads, with another end
    plain, both = Encoder(MINILM), Encoder(MINILM_MEAN_MAX)
    long = "word " * 300
    # Then what is cut off decides over neither, and the network is in memory once
    for encoder in (plain, both):
        vectors = encoder.encode([long, long + "sea"])
        assert np.abs(vectors[0] - vectors[1]).max() < CLOSE
    assert plain._network is both._network


def test_mean_and_maximum_stand_side_by_side() -> None:
    # Given two texts' states
    states = torch.tensor([[[3.0, 0.0], [1.0, -4.0]], [[-1.0, -1.0], [-3.0, -1.0]]])
    # When they are pooled
    pooled = mean_max(states)
    # Then each half is the unit vector of their mean, and of their maximum, over √2
    middle, most = np.array([[2.0, -2.0], [-2.0, -1.0]]), np.array([[3.0, 0.0], [-1.0, -1.0]])
    halves = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (middle, most)]
    assert pooled.numpy() == pytest.approx(np.concatenate(halves, axis=1) / np.sqrt(2.0), abs=1e-6)


def test_an_unknown_encoder_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"'word2vec'; there are: all-MiniLM-L6-v2, all-MiniLM-L6-v2-mean-max"):
        Encoder("word2vec")
    assert not is_installed("word2vec")


def test_the_help_names_every_encoder() -> None:
    assert all(f"{name} (" in options.ENCODERS for name in ENCODERS)
    assert all(is_installed(name) for name in ENCODERS)
