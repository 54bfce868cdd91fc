"""How well a probability that a decoding is faithful agrees with whether it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unembed.models.evaluation.scores import FAITHFUL_F1
from unembed.word_f1 import word_f1


@dataclass(frozen=True)
class Reliability:
    """The rows whose probability lies in one tenth of [0, 1]."""

    tenth: int  # 0: the probability is less than 0.1
    rows: int
    predicted: float  # mean probability
    faithful: float  # share


@dataclass(frozen=True)
class CalibrationReport:
    """Of rows that the model judging them was not fitted on."""

    rows: int
    base_rate: float  # share of faithful rows
    auroc: float
    ece: float  # expected calibration error, 10 bins of equal width
    curve: tuple[Reliability, ...] = ()  # those bins, without the empty ones


def is_faithful(texts: Sequence[str], references: Sequence[str]) -> npt.NDArray[np.bool_]:
    return np.array([word_f1(a, b) >= FAITHFUL_F1 for a, b in zip(texts, references, strict=True)])


def check(probabilities: npt.NDArray[np.float64], faithful: npt.NDArray[np.bool_]) -> CalibrationReport:
    from sklearn.metrics import roc_auc_score

    one_kind = faithful.all() or not faithful.any()
    curve = tuple(reliability(probabilities, faithful))
    gaps = [one.rows * abs(one.predicted - one.faithful) for one in curve]
    auroc = float("nan") if one_kind else float(roc_auc_score(faithful, probabilities))
    return CalibrationReport(len(faithful), float(faithful.mean()), auroc, sum(gaps) / len(faithful), curve)


def reliability(probabilities: npt.NDArray[np.float64], faithful: npt.NDArray[np.bool_]) -> list[Reliability]:
    """Ten bins of equal width, without those that are empty."""
    bins = np.minimum((probabilities * 10).astype(int), 9)
    return [
        Reliability(tenth, int(some.sum()), float(probabilities[some].mean()), float(faithful[some].mean()))
        for tenth, some in ((number, bins == number) for number in range(10))
        if some.any()
    ]
