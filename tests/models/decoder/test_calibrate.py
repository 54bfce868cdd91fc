"""overall_quality is fitted on held-out rows, with the encoder's cosine where there is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.decoder import rank
from models.decoder.config import Calibration, CheckpointConfig
from models.decoder.generative import GenerativeDecoder
from models.decoder.quality import FEATURES, SEEN_FEATURES
from models.decoder.training.calibrate import CalibrationReport, calibrate, fit
from models.decoder.training.card import calibration_section
from tests.models.decoder.toy import TEXTS, config, random_checkpoint, vectors
from unembed.schemas import DecodeOptions


@pytest.fixture
def decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GenerativeDecoder:
    """A toy whose encoder gives every text a vector by its length."""

    class ByLength:
        def encode(self, texts: list[str]) -> np.ndarray:
            return vectors(64, seed=2)[[len(text) % 64 for text in texts]]

    monkeypatch.setattr(rank, "shared_encoder", lambda name: ByLength())
    monkeypatch.setattr(rank, "is_installed", lambda name: True)
    monkeypatch.setattr(GenerativeDecoder, "encoder", property(lambda self: "toy"))
    return GenerativeDecoder.load(random_checkpoint(tmp_path / "toy"), device="cpu")


def test_each_way_of_decoding_gives_half_of_its_rows_to_the_fit_and_half_to_the_check(
    decoder: GenerativeDecoder,
) -> None:
    ways = (DecodeOptions(round_trip=True), DecodeOptions(candidates=3))
    fitted, report = calibrate(decoder, TEXTS, vectors(), ways, SEEN_FEATURES)
    assert (fitted.rows, report.rows) == (36, 36)
    assert fitted.features == (*FEATURES, "round_trip", "round_trip_squared")
    assert len(fitted.weights) == len(SEEN_FEATURES)


def test_the_cosine_cannot_be_a_feature_of_texts_that_were_not_embedded_again(decoder: GenerativeDecoder) -> None:
    with pytest.raises(ValueError, match="its round_trip is not known"):
        calibrate(decoder, TEXTS, vectors(), (DecodeOptions(),), SEEN_FEATURES)


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
    for said in ("probability that it is so", "AUROC 0.810", "AUROC 0.930", "embedded again", "9 others"):
        assert said in told
