"""What `unembed adapt` is made of, but for the map."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models.decoder.toy import DIM, TEXTS, pairs, random_network, sketch_of_words, vectors
from unembed.errors import InputError
from unembed.models.evaluation.analysis import interval_of_mean
from unembed.models.evaluation.scores import score
from unembed.models.evaluation.text_sets import TextSet
from unembed.models.training.adapt import mapped_sketch
from unembed.models.training.adapt.mapped_sketch import map_sketch
from unembed.models.training.adapt.more_texts import more_texts
from unembed.models.training.adapt.polish import BATCH_PIECES, Estimated, Polish, polish
from unembed.models.training.adapt.proof import Proof
from unembed.models.training.adapt.run import paced
from unembed.models.training.loss import mean_loss

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


def test_sketches_of_other_decoders_make_a_mapped_one_better() -> None:
    # Given an embedder that sees of each word what another sketch says
    base = sketch_of_words()
    other = replace(base, rows=np.random.default_rng(3).permutation(base.rows, axis=0))
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(24, 16)))[0].T  # (16, 24)
    true = lambda texts: (other.vectors(texts) @ turn).astype(np.float32)  # noqa: E731
    shown, unseen = [one for one in TEXTS if "red" not in one] * 3, [one for one in TEXTS if "red" in one]
    # When the sketch is mapped there, by itself and with the other
    alone = map_sketch(base, shown, true(shown), QUIET)
    both = map_sketch(base, shown, true(shown), QUIET, others=(other,))
    # Then with the other it knows better what a word does that the texts do not show
    assert both.cosines(unseen, true(unseen)).mean() > alone.cosines(unseen, true(unseen)).mean() + 0.05
    assert both.fault(24) is None


def test_pairs_beyond_those_of_the_first_fit_correct_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given more pairs than the first fit takes
    base, turn = sketch_of_words(), np.linalg.qr(np.random.default_rng(1).normal(size=(24, 16)))[0].T  # (16, 24)
    other = replace(base, rows=np.random.default_rng(3).permutation(base.rows, axis=0))
    given = (other.vectors(TEXTS) @ turn).astype(np.float32)
    monkeypatch.setattr(mapped_sketch, "MOST_PAIRS", 12)
    # When the sketch is mapped by the first of them, and by all
    few = map_sketch(base, TEXTS[:12], given[:12], QUIET)
    all_of_them = map_sketch(base, TEXTS, given, QUIET)
    # Then all tell more, and some were held out to find the ridge
    assert all_of_them.cosines(TEXTS, given).mean() > few.cosines(TEXTS, given).mean() + 0.05
    assert (all_of_them.fit.texts, all_of_them.fit.held_out) == (36, 4)
    assert all_of_them.fit.ridge in mapped_sketch.RIDGES


def test_polishing_is_the_same_every_time() -> None:
    network, some = random_network(), pairs()
    estimated = Estimated(some, vectors(8, DIM, seed=2))
    first, second = (polish(network, some, estimated, some, Polish(pieces=6 * BATCH_PIECES)) for _ in range(2))
    assert all(
        torch.equal(one, two) for one, two in zip(first.network.parameters(), second.network.parameters(), strict=True)
    )


def test_texts_that_are_given_are_learnt_from_but_none_of_ones_own(tmp_path: Path) -> None:
    # Given texts without embeddings, of which one is among one's own and one is held out
    given = [f"We have never seen {number} green elephants." for number in range(9)]
    (tmp_path / "more.txt").write_text("\n".join([*given, given[3]]) + "\n", encoding="utf-8")
    sets = (TextSet.parse(str(tmp_path / "more.txt")),)
    # When more are asked for, Then they are the others, once each and in another order
    more = more_texts(sets, [given[0].upper()], given[1:2], 0, QUIET)
    assert sorted(more) == sorted(given[2:])
    assert more != given[2:]
    assert more_texts((), given, [], 0, QUIET) == []


def test_polishing_never_leaves_held_out_texts_less_likely() -> None:
    # Given a network that knows nothing, and pairs
    network, some = random_network(), pairs()
    # When it is polished at a rate that helps, and at one that ruins it
    estimated = Estimated(some, np.zeros((4, DIM), np.float32))
    helped = polish(network, some, estimated, some, Polish(pieces=40 * BATCH_PIECES, rate=3e-3))
    ruined = polish(network, some, None, some, Polish(rate=50.0))
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


def test_estimates_that_explain_little_are_learnt_at_lower_rates_than_good_ones() -> None:
    good, poor, alone = (paced(Polish(pieces=1000, seed=3), explained) for explained in (0.7, 0.5, None))
    # Given good estimates, Then the rates are the usual ones
    assert good == Polish(pieces=1000, seed=3)
    # Given poor ones, Then both are lower; given pairs alone, that of what reads the embedding is as it was
    assert (poor.rate < good.rate, poor.reading_rate < good.reading_rate) == (True, True)
    assert (alone.rate < good.rate, alone.reading_rate) == (True, good.reading_rate)
    # And nothing else changes
    assert {one.pieces for one in (poor, alone)} == {1000}
