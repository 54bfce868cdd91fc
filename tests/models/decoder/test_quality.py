"""The four scores do what their sentences say."""

from __future__ import annotations

import math
from bisect import bisect_left

import numpy as np
import pytest

from unembed.models.decoder.config import Calibration
from unembed.models.decoder.quality import (
    FEATURES,
    SKETCH_FEATURES,
    Evidence,
    assess,
    features_of,
    probability,
    rank,
    word_diversity,
)


def evidence(log_prob: float = -1.0, lm_log_prob: float = -2.0, **changes: object) -> Evidence:
    """Of one text."""
    known = {"least_log_prob": -3.0, "pieces": 10, "words": 4, "diversity": 1.0, "truncated": False}
    known |= {"candidates": 1} | changes
    known |= {"log_prob": log_prob, "lm_log_prob": lm_log_prob}
    return Evidence(**{name: np.array([value]) for name, value in known.items()})  # type: ignore[arg-type]


def calibration(**weights: float) -> Calibration:
    return Calibration(
        outcome="o",
        rows=1,
        features=FEATURES,
        weights=tuple(weights.get(name, 0.0) for name in FEATURES),
        bias=0.0,
        lm_log_probs=(-3.0, -2.0, -1.0),
    )


def test_without_a_calibration_nothing_is_guessed() -> None:
    quality = assess(evidence(), None)
    assert quality.overall_quality is None
    assert quality.fluency is None


def test_coherence_is_what_the_embedding_explains() -> None:
    assert assess(evidence(-1.0, -2.0), None).coherence == pytest.approx(1 - math.exp(-1.0))
    assert assess(evidence(-2.0, -1.0), None).coherence == 0.0


def test_overall_quality_is_the_logistic_of_weighted_evidence() -> None:
    assert probability(evidence(), calibration()) == 0.5
    assert probability(evidence(), calibration(pmi=2.0)) == pytest.approx(1 / (1 + math.exp(-2.0)))
    assert probability(evidence(-5000.0), calibration(log_prob=1.0)) >= 0.0


def test_a_calibration_of_an_older_checkpoint_is_read_by_the_names_of_its_features() -> None:
    # Given one that was fitted before words were counted
    names = tuple(name for name in FEATURES if name != "log_words")
    old = calibration().model_copy(update={"features": names, "weights": (2.0, *(0.0 for _ in names[1:]))})
    # Then it judges as it did
    assert probability(evidence(-1.0), old) == pytest.approx(1 / (1 + math.exp(2.0)))


def seen_calibration() -> Calibration:
    names = features_of(sketched=False, seen=True)
    weights = tuple(4.0 if name == "round_trip" else 0.0 for name in names)
    return calibration().model_copy(update={"features": names, "weights": weights})


def test_a_text_that_was_embedded_again_is_judged_by_its_cosine_too() -> None:
    # Given a calibration without the cosine and one with it
    near, unseen = evidence(round_trip=0.5), evidence()
    # When a text that was embedded again and one that was not are judged by both
    known = assess(near, calibration(), seen_calibration()).overall_quality
    unknown = assess(unseen, calibration(), seen_calibration()).overall_quality
    # Then the cosine counts where there is one
    assert known == pytest.approx(1 / (1 + math.exp(-2.0)))
    assert unknown == 0.5
    assert assess(near, calibration()).overall_quality == 0.5, "no second calibration: as the others"
    with pytest.raises(ValueError, match="not embedded again, so their round_trip is not known"):
        probability(unseen, seen_calibration())


def test_an_older_calibration_knows_the_square_of_the_cosine() -> None:
    names = (*FEATURES, "round_trip", "round_trip_squared")
    old = calibration().model_copy(update={"features": names, "weights": (*(0.0 for _ in names[1:]), 4.0)})
    assert probability(evidence(round_trip=0.5), old) == pytest.approx(1 / (1 + math.exp(-1.0)))


def test_what_the_sketch_knows_counts_where_there_is_one() -> None:
    # Given a calibration of a decoder with a sketch, which looks at one feature
    names = features_of(sketched=True, seen=False)
    assert names == (*FEATURES, *SKETCH_FEATURES)
    seen = {"sketch": 0.8, "nearness": 0.6, "sketch_length": 2.0, "known_pairs": 0.5, "unknown_words": 3.0}
    text = evidence(-0.5, candidates=8, **seen)
    expected = {
        "chosen": 1.0,
        "log_candidates": math.log(8),
        "log_surprisal": math.log(0.5),
        "sketch": 0.8,
        "nearness": 0.6,
        "log_distance": math.log(0.4),
        "log_sketch_length": math.log(2.0),
        "known_pairs": 0.5,
        "unknown_words": 3.0,
    }
    for looked_at, value in expected.items():
        weights = tuple(float(name == looked_at) for name in names)
        judge = calibration().model_copy(update={"features": names, "weights": weights})
        # Then it judges by that
        assert probability(text, judge) == pytest.approx(1 / (1 + math.exp(-value)))
    # And a decoder without a sketch cannot be judged by it
    with pytest.raises(ValueError, match="a decoder without a sketch, so their sketch is not known"):
        evidence().features(names)


def test_no_distance_and_no_length_is_too_small_for_its_logarithm() -> None:
    seen = {"nearness": 1.0, "sketch": 1.0, "sketch_length": 0.0, "known_pairs": 0.0, "unknown_words": 0.0}
    exact = evidence(0.0, **seen, round_trip=1.0)
    assert np.isfinite(exact.features(features_of(sketched=True, seen=True))).all()


def test_fluency_is_the_rank_among_real_texts() -> None:
    quantiles = (-3.0, -2.0, -1.0)
    assert rank(np.array([-9.0, -2.5, -2.0, -1.5, 0.0]), quantiles).tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_ranks_of_many_are_those_of_each_by_bisection() -> None:
    # Given quantiles, some of which are equal, and values on, between and beyond them
    quantiles = (-4.0, -3.0, -3.0, -3.0, -1.5, -1.0)
    values = np.concatenate([np.linspace(-5.0, 0.0, 41), quantiles])

    def plain(value: float) -> float:
        above = bisect_left(quantiles, value)
        if above in (0, len(quantiles)):
            return float(above > 0)
        low, high = quantiles[above - 1], quantiles[above]
        return (above - 1 + ((value - low) / (high - low) if high > low else 0.0)) / (len(quantiles) - 1)

    assert rank(values, quantiles).tolist() == pytest.approx([plain(float(value)) for value in values], abs=1e-12)


def test_diversity_sees_a_tree_tree_tree() -> None:
    assert word_diversity("a tree tree tree tree") == 0.5
    assert word_diversity("The sea and the sky") == 1.0
    assert word_diversity("Yes") == 1.0
