"""overall_quality is fitted on held-out rows, with the encoder's cosine where there is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.models.decoder.toy import TEXTS, config, random_checkpoint, vectors
from unembed.models.decoder import rank
from unembed.models.decoder.config import Calibration, CheckpointConfig
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.decoder.quality import FEATURES, SEEN_FEATURES, logistic
from unembed.models.evaluation.reliability import CalibrationReport, check
from unembed.models.training.calibrate import FOLDS, calibrate, cross_fitted, fit
from unembed.models.training.card import calibration_section
from unembed.schemas import GREEDY, DecodeOptions


@pytest.fixture
def decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GenerativeDecoder:
    """A toy whose encoder gives every text a vector by its length."""

    class ByLength:
        def encode(self, texts: list[str]) -> np.ndarray:
            return vectors(64, seed=2)[[len(text) % 64 for text in texts]]

    monkeypatch.setattr(rank, "shared_encoder", lambda name, precision: ByLength())
    monkeypatch.setattr(rank, "is_installed", lambda name: True)
    monkeypatch.setattr(GenerativeDecoder, "encoder", property(lambda self: "toy"))
    return GenerativeDecoder.load(random_checkpoint(tmp_path / "toy"), device="cpu")


def test_every_row_is_fitted_on_and_judged_by_a_fit_that_did_not_know_it_in_each_way_of_decoding(
    decoder: GenerativeDecoder,
) -> None:
    ways = (DecodeOptions(candidates=1, round_trip=True), DecodeOptions(candidates=3, embed=3))
    fitted, report = calibrate(decoder, TEXTS, vectors(), ways, SEEN_FEATURES)
    assert (fitted.rows, report.rows) == (2 * len(TEXTS), 2 * len(TEXTS))
    assert fitted.features == (*FEATURES, "round_trip", "round_trip_squared")
    assert len(fitted.weights) == len(SEEN_FEATURES)


def test_what_a_fit_learns_by_heart_is_worth_nothing_to_the_check() -> None:
    by_heart, judged = [], []
    for seed in range(10):
        # Given 40 rows whose features have nothing to do with their being faithful
        drawn = np.random.default_rng(seed)
        features, faithful = drawn.normal(size=(40, len(SEEN_FEATURES))), drawn.random(40) < 0.5
        # When they are judged by a fit of themselves, and cross-fitted
        known = fit(features, faithful, [0.0], SEEN_FEATURES)
        by_heart.append(check(logistic(features, known), faithful).auroc)
        judged.append(check(cross_fitted(features, faithful, np.arange(40) % FOLDS, SEEN_FEATURES), faithful).auroc)
    # Then only the first claims to tell them apart
    assert np.mean(by_heart) > 0.7
    assert np.mean(judged) < 0.55


def test_one_row_alone_is_no_obstacle(decoder: GenerativeDecoder) -> None:
    fitted, report = calibrate(decoder, TEXTS[:1], vectors()[:1])
    assert (fitted.rows, report.rows) == (1, 1)


def test_the_cosine_cannot_be_a_feature_of_texts_that_were_not_embedded_again(decoder: GenerativeDecoder) -> None:
    with pytest.raises(ValueError, match="their round_trip is not known"):
        calibrate(decoder, TEXTS, vectors(), (GREEDY,), SEEN_FEATURES)


def test_a_feature_that_tells_gets_the_weight() -> None:
    # Given rows that are faithful where their last feature is high
    features = np.random.default_rng(0).normal(size=(400, len(SEEN_FEATURES)))
    fitted = fit(features, features[:, -1] > 0, [-2.0, -1.0], SEEN_FEATURES)
    # Then that feature weighs most
    assert int(np.argmax(np.abs(fitted.weights))) == len(SEEN_FEATURES) - 1


def test_the_card_tells_of_both_calibrations() -> None:
    known = Calibration(outcome="it is so", rows=5, features=(), weights=(), bias=0.0, lm_log_probs=(0.0,))
    both = CheckpointConfig(name="n", network=config(), calibration=known, seen_calibration=known)
    report = CalibrationReport(rows=7, base_rate=0.5, auroc=0.81, ece=0.02)
    told = calibration_section(both, report, CalibrationReport(rows=9, base_rate=0.6, auroc=0.93, ece=0.01))
    assert "60.0% of them are faithful" in told
    for said in ("probability that it is so", "AUROC 0.810", "AUROC 0.930", "embedded again"):
        assert said in told
