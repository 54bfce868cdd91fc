"""What the decoder itself knows of how good a text is: four scores in [0, 1], and the formula of each.

fluency          the share of real held-out texts that the language model (the network without an embedding) finds less
                 likely per piece than this text: 0.5 is as fluent as the median real sentence
coherence        1 − exp(−PMI), where PMI = mean over pieces of log p(piece | embedding) − log p(piece): how much of the
                 text is about this vector rather than about language in general
diversity        distinct pairs of neighbouring words over all pairs; 1 when there are fewer than two words
overall_quality  P(the text is faithful), from a logistic model fitted on held-out rows and saved with the checkpoint;
                 what "faithful" means is in `calibration.outcome`. Where the text was embedded again, from a second
                 model, which knows that cosine too: a text chosen by its cosine is better than its other scores say

fluency and overall_quality need a calibrated checkpoint; without one they are None, not a guess.

All four judge the text, and suppose that the vector came of one. Where `off_manifold` says that it did not
(`manifold.py`), there is nothing that the text could be faithful to: the row tells an overall_quality of 0 (`told`),
and `quality_passed` is false. The text and the other scores stay as they are.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from unembed.models.decoder.config import Calibration

FEATURES = ("log_prob", "pmi", "least_log_prob", "log_length", "log_words", "diversity", "truncated")
SEEN_FEATURES = (*FEATURES, "round_trip", "round_trip_squared")  # where the text was embedded again


@dataclass(frozen=True)
class Evidence:
    """What is measured of one decoding."""

    log_prob: float  # mean log p(piece | embedding, before), nats
    lm_log_prob: float  # the same without the embedding
    least_log_prob: float  # of the least likely piece
    pieces: int
    words: int  # between spaces; many pieces for few words are rare words, which are seldom the right ones
    diversity: float
    truncated: bool  # it ran into the limit
    round_trip: float | None = None  # cosine of its embedding and the given one; None: it was not embedded again

    @property
    def pmi(self) -> float:
        return self.log_prob - self.lm_log_prob

    def features(self, names: Sequence[str] = FEATURES) -> tuple[float, ...]:
        """In the order of these names."""
        known = {
            "log_prob": self.log_prob,
            "pmi": self.pmi,
            "least_log_prob": self.least_log_prob,
            "log_length": math.log(max(1, self.pieces)),
            "log_words": math.log(max(1, self.words)),
            "diversity": self.diversity,
            "truncated": float(self.truncated),
            "round_trip": self.round_trip,
            "round_trip_squared": None if self.round_trip is None else self.round_trip**2,
        }
        values = [known[name] for name in names]
        if None in values:
            raise ValueError(f"this text was not embedded again, so its {names[values.index(None)]} is not known")
        return tuple(float(value) for value in values if value is not None)


@dataclass(frozen=True)
class Quality:
    overall_quality: float | None
    fluency: float | None
    coherence: float | None  # None where there is no language model to compare with
    diversity: float


def assess(evidence: Evidence, calibration: Calibration | None, seen: Calibration | None = None) -> Quality:
    """`seen` is the calibration for texts that were embedded again; without it, they are judged as the others are."""
    judge = seen if seen is not None and evidence.round_trip is not None else calibration
    return Quality(
        overall_quality=probability(evidence, judge) if judge else None,
        fluency=rank(evidence.lm_log_prob, calibration.lm_log_probs) if calibration else None,
        coherence=1.0 - math.exp(-max(0.0, evidence.pmi)),
        diversity=evidence.diversity,
    )


def told(quality: Quality, off_manifold: bool | None) -> Quality:
    """As a row tells it: to the vector of no text no text is faithful, however sure the network is of it."""
    unknown = quality.overall_quality is None
    return replace(quality, overall_quality=0.0) if off_manifold and not unknown else quality


def probability(evidence: Evidence, calibration: Calibration) -> float:
    """P(faithful) of the logistic model."""
    return logistic(evidence.features(calibration.features), calibration)


def logistic(features: Sequence[float], calibration: Calibration) -> float:
    """The same of the features themselves, in the calibration's order."""
    total = calibration.bias + math.fsum(w * x for w, x in zip(calibration.weights, features, strict=True))
    return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, total))))


def rank(value: float, quantiles: Sequence[float]) -> float:
    """Where value stands among evenly spaced, ascending quantiles: 0 below the first, 1 above the last."""
    above = bisect_left(quantiles, value)
    if above == 0:
        return 0.0
    if above == len(quantiles):
        return 1.0
    low, high = quantiles[above - 1], quantiles[above]
    inside = (value - low) / (high - low) if high > low else 0.0
    return (above - 1 + inside) / (len(quantiles) - 1)


def word_diversity(text: str) -> float:
    """Distinct pairs of neighbouring words over all pairs, case-folded."""
    words = text.casefold().split()
    pairs = list(pairwise(words))
    return len(set(pairs)) / len(pairs) if pairs else 1.0
