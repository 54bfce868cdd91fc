"""What `unembed adapt` is made of, but for the map."""

from __future__ import annotations

import numpy as np
import pytest

from tests.models.decoder.toy import TEXTS, pairs, random_network, sketch_of_words, vectors
from unembed.errors import InputError
from unembed.models.evaluation.analysis import interval_of_mean
from unembed.models.evaluation.scores import score
from unembed.models.training.adapt.mapped_sketch import map_sketch
from unembed.models.training.adapt.polish import Polish, polish
from unembed.models.training.adapt.proof import Proof
from unembed.models.training.loop import mean_loss

QUIET = lambda line: None  # noqa: E731


def test_a_mapped_sketch_knows_words_that_the_pairs_do_not_show() -> None:
    # Given a sketch, another space, and texts of which none has "red"
    base = sketch_of_words()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(24, 16)))[0].T  # (16, 24)
    shown = [text for text in TEXTS if "red" not in text] * 3
    # When it is mapped to the other space by them
    mapped = map_sketch(base, shown, (base.vectors(shown) @ turn).astype(np.float32), QUIET)
    # Then it estimates texts with the word
    unseen = [text for text in TEXTS if "red" in text]
    cosines = mapped.cosines(unseen, (base.vectors(unseen) @ turn).astype(np.float32))
    assert cosines.mean() > 0.8
    assert mapped.fault(24) is None


def test_words_that_only_the_pairs_have_get_a_row() -> None:
    base = sketch_of_words()
    texts = [*TEXTS, "I see the zebra.", "Tom sold the zebra."]
    mapped = map_sketch(base, texts, vectors(len(texts), 20), QUIET)
    assert mapped.ids["zebra"] == len(base.words)
    assert mapped.words[: len(base.words)] == base.words
    assert mapped.fault(20) is None


def test_polishing_never_leaves_held_out_texts_less_likely() -> None:
    # Given a network that knows nothing, and pairs
    network, some = random_network(), pairs()
    # When it is polished at a rate that helps, and at one that ruins it
    helped = polish(network, some, some, Polish(passes=20.0, seconds=600.0, rate=3e-3))
    ruined = polish(network, some, some, Polish(passes=4.0, seconds=600.0, rate=50.0))
    # Then it is better, or as it was
    assert helped.after == pytest.approx(mean_loss(helped.network, some), abs=1e-4)
    assert helped.after < helped.before - 0.1
    assert ruined.after <= ruined.before
    assert ruined.after == pytest.approx(mean_loss(ruined.network, some), abs=1e-4)


def test_a_decoder_no_better_than_with_others_embeddings_is_refused_with_the_numbers() -> None:
    own = np.array([0.2, 0.3, 0.1, 0.4])
    proof = Proof(score(["a"] * 4, ["b"] * 4, 1.0), interval_of_mean(own), 0.25, interval_of_mean(own - 0.25))
    with pytest.raises(
        InputError, match=r"adapting to 60 pairs does not work: on 4 held-out texts the word F1 is 0.250"
    ):
        proof.check(60)
