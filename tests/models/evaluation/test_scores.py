"""The figures of a card are what their names say."""

from __future__ import annotations

import numpy as np
import pytest

from unembed.models.evaluation.reliability import check
from unembed.models.evaluation.scores import score


def test_bleu_is_corpus_bleu_with_its_signature() -> None:
    scores = score(["I like the sea .", "no"], ["I like the sea .", "yes"], seconds=2.0)
    assert "tok:13a" in scores.bleu_signature
    assert "nrefs:1" in scores.bleu_signature
    assert scores.exact == 0.5
    assert scores.rows_per_second == 1.0
    assert scores.round_trip is None


def test_a_perfect_set_scores_100() -> None:
    texts = ["I like the sea very much."] * 3
    assert score(texts, texts, 1.0).bleu == pytest.approx(100.0)


def test_the_calibration_error_is_zero_when_the_shares_are_right_and_large_when_not() -> None:
    faithful = np.arange(1000) % 10 < 7
    assert check(np.full(1000, 0.7), faithful).ece == pytest.approx(0.0, abs=1e-9)
    assert check(np.full(1000, 0.2), faithful).ece == pytest.approx(0.5)
