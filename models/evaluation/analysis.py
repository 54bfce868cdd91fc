"""What a report says of one set: scores with their intervals, how far its qualities can be trusted, examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from unembed.errors import MissingExtraError
from unembed.models.decoder.manifold import MANY, Manifold, means_of, unit
from unembed.models.evaluation.measure import Measured
from unembed.models.evaluation.reliability import CalibrationReport, check, is_faithful
from unembed.models.evaluation.scores import Scores
from unembed.schemas import Generation
from unembed.word_f1 import word_f1

RESAMPLES: Final = 1000
TAILS: Final = (0.025, 0.975)
SHOWN: Final = 8  # examples of each kind
CURVE_POINTS: Final = 200

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A score and its 95 % interval, from resampling the rows."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """One text beside its decoding."""

    reference: str
    generation: Generation
    word_f1: float
    cosine: float | None


@dataclass(frozen=True)
class Trust:
    """How far overall_quality, which does not see the reference, tells faithful decodings from others."""

    summary: CalibrationReport
    coverage: Floats  # (P,): share of rows kept, the surest first
    risk: Floats  # (P,): share of those that are not faithful
    best_risk: Floats  # (P,): the same in the best order there could be
    faithful: Floats  # overall_quality of the faithful rows
    others: Floats


@dataclass(frozen=True)
class Doubt:
    """Shares of vectors that the decoder takes to be off the manifold: the set's own, and some that are of no text."""

    rows: float
    noise: float  # as many of Gaussian noise
    centroids: float  # means of 50 rows of the set, drawn at random
    whole: bool  # the mean of all rows of the set


@dataclass(frozen=True)
class Analysis:
    name: str
    scores: Scores
    intervals: dict[str, Interval]  # bleu, chrf, word_f1, exact, cosine if there was an encoder
    trust: Trust | None  # None where the decoder is not calibrated
    examples: dict[str, list[Row]]  # best, median, worst by word F1, then by cosine
    without_text: int
    doubt: Doubt | None = None  # None where the decoder does not know what real vectors look like


def analyse(name: str, references: Sequence[str], measured: Measured, doubt: Doubt | None = None) -> Analysis:
    rows = [
        Row(reference, generation, word_f1(generation.text or "", reference), None if cosine is None else float(cosine))
        for reference, generation, cosine in zip(
            references,
            measured.generations,
            measured.round_trips if measured.round_trips is not None else [None] * len(references),
            strict=True,
        )
    ]
    return Analysis(
        name=name,
        scores=measured.scores,
        intervals=_intervals(rows, measured.scores),
        trust=_trust(rows),
        examples=_examples(rows),
        without_text=sum(row.generation.text is None for row in rows),
        doubt=doubt,
    )


def doubt_of(manifold: Manifold | None, vectors: npt.NDArray[np.float32], seed: int = 0) -> Doubt | None:
    """Of the vectors (N, D) of a set."""
    if manifold is None:
        return None
    generator = np.random.default_rng(seed)
    units = unit(vectors)
    return Doubt(
        rows=float(manifold.off(vectors).mean()),
        noise=float(manifold.off(generator.normal(size=vectors.shape)).mean()),
        centroids=float(manifold.off(means_of(units, MANY, generator)).mean()),
        whole=bool(manifold.off(units.mean(axis=0)[None])[0]),
    )


def interval_of_mean(values: npt.ArrayLike, seed: int = 0) -> Interval:
    """The mean of values (N,) and its percentile bootstrap interval."""
    array = np.asarray(values, dtype=np.float64)
    low, high = np.quantile([array[some].mean() for some in _resamples(len(array), seed)], TAILS)
    return Interval(float(array.mean()), float(low), float(high))


def _resamples(count: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """RESAMPLES times as many row numbers (N,) as there are rows, drawn with replacement."""
    generator = np.random.default_rng(seed)
    for _ in range(RESAMPLES):
        yield generator.integers(count, size=count)


def _intervals(rows: Sequence[Row], scores: Scores) -> dict[str, Interval]:
    try:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
    except ImportError:
        raise MissingExtraError.of("sacrebleu", "train") from None
    texts, references = [row.generation.text or "" for row in rows], [row.reference for row in rows]

    def of_corpus(metric: Any, value: float) -> Interval:
        """A corpus score is no mean of rows, but comes from the sums of what sacrebleu counts in each of them.

        Its own resampling (`n_bootstrap`) gives half a width, and raises TypeError on small sets that score 0.
        """
        counted = np.array(metric._extract_corpus_statistics(texts, [references]), dtype=np.float64)  # (N, S)
        sums = [counted[some].sum(axis=0) for some in _resamples(len(counted), 0)]
        found = [metric._compute_score_from_stats(one.tolist()).score for one in sums]
        low, high = np.quantile(found, TAILS)
        return Interval(value, float(low), float(high))

    intervals = {"bleu": of_corpus(BLEU(), scores.bleu), "chrf": of_corpus(CHRF(), scores.chrf)}
    intervals["word_f1"] = interval_of_mean([row.word_f1 for row in rows])
    intervals["exact"] = interval_of_mean([row.generation.text == row.reference for row in rows])
    cosines = [row.cosine for row in rows if row.cosine is not None]
    if cosines:
        intervals["cosine"] = interval_of_mean(cosines)
    return intervals


def _trust(rows: Sequence[Row]) -> Trust | None:
    judged = [row for row in rows if row.generation.overall_quality is not None]
    if not judged:
        return None
    quality = np.array([row.generation.overall_quality for row in judged], dtype=np.float64)
    faithful = is_faithful([row.generation.text or "" for row in judged], [row.reference for row in judged])
    coverage, risk = risk_coverage(quality, faithful)
    return Trust(
        summary=check(quality, faithful),
        coverage=coverage,
        risk=risk,
        best_risk=risk_coverage(faithful.astype(np.float64), faithful)[1],
        faithful=quality[faithful],
        others=quality[~faithful],
    )


def risk_coverage(quality: Floats, faithful: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """When the share `coverage` (P,) of the rows is kept, the surest first: the share of them that is not faithful."""
    order = np.argsort(-quality, kind="stable")
    kept = np.arange(1, len(order) + 1)  # (N,)
    risk = np.cumsum(~faithful[order]) / kept
    some = np.unique(np.linspace(0, len(order) - 1, CURVE_POINTS).round().astype(int))  # (P,)
    return kept[some] / len(order), risk[some]


def _examples(rows: Sequence[Row]) -> dict[str, list[Row]]:
    rising: Callable[[Row], tuple[float, float]] = lambda row: (row.word_f1, row.cosine or 0.0)  # noqa: E731
    ordered = sorted(rows, key=rising)
    shown = min(SHOWN, max(1, len(ordered) // 3))  # of a small set no row is shown twice
    middle = (len(ordered) - shown) // 2
    return {"best": ordered[::-1][:shown], "median": ordered[middle : middle + shown], "worst": ordered[:shown]}
