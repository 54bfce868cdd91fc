"""What the decoder itself knows of how good a text is: four scores in [0, 1], and the formula of each.

fluency          the share of real held-out texts that the language model (the network without an embedding) finds less
                 likely per piece than this text: 0.5 is as fluent as the median real sentence
coherence        1 − exp(−PMI), where PMI = mean over pieces of log p(piece | embedding) − log p(piece): how much of the
                 text is about this vector rather than about language in general
diversity        distinct pairs of neighbouring words over all pairs; 1 when there are fewer than two words
overall_quality  P(the text is faithful), from a logistic model fitted on held-out rows and saved with the checkpoint;
                 what "faithful" means is in `calibration.outcome`. Where the decoder has a sketch, the model also knows
                 how near the text's sketch is to the vector. Where the text was embedded again, a second model judges,
                 which knows that cosine too: a text chosen by its cosine is better than its other scores say

fluency and overall_quality need a calibrated checkpoint; without one they are None, not a guess.

With the option `scores` at "none", none of the four is computed, and all are None.

All four judge the text, and suppose that its vector is the embedding of a text. Where `off_manifold` says that it is
not (`manifold.py`), there is nothing that the text could be faithful to: the row reports an overall_quality of 0
(`TextDecoder.answer`), and `quality_passed` is false. The text and the other scores stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from unembed.models.decoder.config import Calibration

FEATURES = ("log_prob", "pmi", "least_log_prob", "log_length", "log_words", "diversity", "truncated")
SKETCH_FEATURES = (
    "chosen",
    "log_candidates",
    "log_surprisal",
    "sketch",
    "nearness",
    "log_distance",
    "log_sketch_length",
    "known_pairs",
    "unknown_words",
)
SEEN_FEATURES = ("round_trip", "log_round_trip_distance")  # where the text was embedded again
SHORTEST: Final = 1e-3  # length or distance of which there is a logarithm

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """What is measured of N decodings; each field is (N,)."""

    log_prob: Floats  # mean log p(piece | embedding, before), nats
    lm_log_prob: Floats  # the same without the embedding
    least_log_prob: Floats  # of the least likely piece
    pieces: npt.NDArray[np.int64]
    words: npt.NDArray[np.int64]  # between spaces; many pieces for few words are rare words, which are seldom right
    diversity: Floats
    truncated: npt.NDArray[np.bool_]  # it ran into the limit
    candidates: npt.NDArray[np.int64]  # of which it was chosen: the more, the better it seems, and the less that says
    # Known to decoders with a sketch:
    sketch: Floats | None = None  # cosine of the text's sketch and the given embedding
    nearness: Floats | None = None  # the same in the space that texts are judged in
    sketch_length: Floats | None = None  # of the sum of its words' vectors: words of one subject make a longer one
    known_pairs: Floats | None = None  # the share of neighbouring words that it has seen together: odd texts have few
    unknown_words: Floats | None = None  # how many it has that are none, as far as the sketch knows
    round_trip: Floats | None = None  # cosine of its embedding and the given one; None: they were not embedded again

    @property
    def pmi(self) -> Floats:
        return np.asarray(self.log_prob - self.lm_log_prob)

    def features(self, names: Sequence[str] = FEATURES) -> Floats:
        """(N, F), in the order of these names."""
        known = {
            "log_prob": self.log_prob,
            "pmi": self.pmi,
            "least_log_prob": self.least_log_prob,
            "log_length": np.log(np.maximum(1, self.pieces)),
            "log_words": np.log(np.maximum(1, self.words)),
            "diversity": self.diversity,
            "truncated": self.truncated.astype(np.float64),
            "chosen": (self.candidates > 1).astype(np.float64),
            "log_candidates": np.log(self.candidates),
            "log_surprisal": _log(-self.log_prob),
            "sketch": self.sketch,
            "nearness": self.nearness,
            "log_distance": None if self.nearness is None else _log(1.0 - self.nearness),
            "log_sketch_length": None if self.sketch_length is None else _log(self.sketch_length),
            "known_pairs": self.known_pairs,
            "unknown_words": self.unknown_words,
            "round_trip": self.round_trip,
            "log_round_trip_distance": None if self.round_trip is None else _log(1.0 - self.round_trip),
            "round_trip_squared": None if self.round_trip is None else self.round_trip**2,  # of older calibrations
        }
        columns: list[Any] = [known[name] for name in names]
        for name, column in zip(names, columns, strict=True):
            if column is None:
                why = "are of a decoder without a sketch" if name in SKETCH_FEATURES else "were not embedded again"
                raise ValueError(f"these texts {why}, so their {name} is not known")
        return np.array(columns, dtype=np.float64).reshape(len(names), len(self.pieces)).T


def _log(lengths: Floats) -> Floats:
    """A text without a word that the sketch knows has a sketch of length 0, a certain one a surprisal of 0."""
    return np.asarray(np.log(np.maximum(SHORTEST, lengths)))


@dataclass(frozen=True)
class Quality:
    """The scores of N decodings; each is (N,), and None where it is not known."""

    overall_quality: Floats | None
    fluency: Floats | None
    coherence: Floats | None  # None where there is no language model to compare with
    diversity: Floats | None  # None where the scores were not asked for


UNSCORED: Final = Quality(overall_quality=None, fluency=None, coherence=None, diversity=None)


def features_of(*, sketched: bool, seen: bool) -> tuple[str, ...]:
    """The features of a calibration: of a decoder with a sketch, and of texts that were embedded again."""
    return (*FEATURES, *(SKETCH_FEATURES if sketched else ()), *(SEEN_FEATURES if seen else ()))


def assess(evidence: Evidence, calibration: Calibration | None, seen: Calibration | None = None) -> Quality:
    """`seen` is the calibration for texts that were embedded again; without it, they are judged as the others are."""
    judge = seen if seen is not None and evidence.round_trip is not None else calibration
    return Quality(
        overall_quality=probability(evidence, judge) if judge else None,
        fluency=rank(evidence.lm_log_prob, calibration.lm_log_probs) if calibration else None,
        coherence=1.0 - np.exp(-np.maximum(0.0, evidence.pmi)),
        diversity=evidence.diversity,
    )


def probability(evidence: Evidence, calibration: Calibration) -> Floats:
    """P(faithful) (N,) of the logistic model."""
    return logistic(evidence.features(calibration.features), calibration)


def logistic(features: Floats, calibration: Calibration) -> Floats:
    """The same of the features themselves (N, F), in the calibration's order."""
    totals = calibration.bias + features @ np.asarray(calibration.weights)  # (N,)
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(totals, -60.0, 60.0))))


def rank(values: Floats, quantiles: Sequence[float]) -> Floats:
    """Where values (N,) stand among evenly spaced, ascending quantiles: 0 below the first, 1 above the last."""
    known = np.asarray(quantiles)
    above = np.searchsorted(known, values)  # (N,)
    inside = np.clip(above, 1, len(known) - 1)
    low, high = known[inside - 1], known[inside]
    share = np.divide(values - low, high - low, out=np.zeros(len(values)), where=high > low)
    within = (inside - 1 + share) / max(1, len(known) - 1)
    return np.where(above == 0, 0.0, np.where(above == len(known), 1.0, within))


def word_diversity(text: str) -> float:
    """Distinct pairs of neighbouring words over all pairs, case-folded."""
    words = text.casefold().split()
    pairs = list(pairwise(words))
    return len(set(pairs)) / len(pairs) if pairs else 1.0
