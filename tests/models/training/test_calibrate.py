"""overall_quality is fitted on held-out rows, with what the sketch and the encoder say, where there are such."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.models.decoder.test_sketch import SKETCH
from tests.models.decoder.toy import TEXTS, config, embed_with, random_checkpoint, vectors
from unembed.cli import main
from unembed.errors import DimensionError, InputError
from unembed.models.decoder.card import evaluation_of
from unembed.models.decoder.config import Calibration, CheckpointConfig
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.decoder.quality import FEATURES, SEEN_FEATURES, SKETCH_FEATURES, features_of, logistic
from unembed.models.decoder.ways import BLIND_WAYS
from unembed.models.evaluation.reliability import CalibrationReport, Reliability, check
from unembed.models.evaluation.text_sets import TextSet
from unembed.models.training import calibrate as calibration
from unembed.models.training.add_calibration import add_calibration
from unembed.models.training.calibrate import (
    FOLDS,
    Calibrated,
    calibrate,
    calibrate_both,
    cross_fitted,
    fit,
)
from unembed.models.training.card import calibration_section
from unembed.schemas import GREEDY, DecodeOptions

SEEN = features_of(sketched=False, seen=True)


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives every text a vector by its length."""

    class ByLength:
        def encode(self, texts: list[str]) -> np.ndarray:
            return vectors(64, seed=2)[[len(text) % 64 for text in texts]]

    embed_with(monkeypatch, ByLength())


@pytest.fixture
def decoder(tmp_path: Path, encoder: None) -> GenerativeDecoder:
    return GenerativeDecoder.load(random_checkpoint(tmp_path / "toy"), device="cpu")


def test_every_row_is_fitted_on_and_judged_by_a_fit_that_did_not_know_it_in_each_way_of_decoding(
    decoder: GenerativeDecoder,
) -> None:
    ways = {"once": DecodeOptions(candidates=1, round_trip=True), "best": DecodeOptions(candidates=3, embed=3)}
    fitted, checks = calibrate(decoder, TEXTS, vectors(), ways, SEEN)
    assert fitted.rows == 2 * len(TEXTS)
    assert {way: one.rows for way, one in checks.items()} == {"once": len(TEXTS), "best": len(TEXTS)}
    assert fitted.features == (*FEATURES, "round_trip", "log_round_trip_distance")
    assert len(fitted.weights) == len(SEEN)


def test_what_a_fit_learns_by_heart_is_worth_nothing_to_the_check() -> None:
    by_heart, judged = [], []
    for seed in range(10):
        # Given 40 rows whose features have nothing to do with their being faithful
        drawn = np.random.default_rng(seed)
        features, faithful = drawn.normal(size=(40, len(SEEN))), drawn.random(40) < 0.5
        # When they are judged by a fit of themselves, and cross-fitted
        known = fit(features, faithful, [0.0], SEEN)
        by_heart.append(check(logistic(features, known), faithful).auroc)
        judged.append(check(cross_fitted(features, faithful, np.arange(40) % FOLDS, SEEN), faithful).auroc)
    # Then only the first claims to tell them apart
    assert np.mean(by_heart) > 0.7
    assert np.mean(judged) < 0.55


def test_one_row_alone_is_no_obstacle(decoder: GenerativeDecoder) -> None:
    fitted, checks = calibrate(decoder, TEXTS[:1], vectors()[:1])
    assert fitted.rows == len(BLIND_WAYS)
    assert {one.rows for one in checks.values()} == {1}


def test_the_cosine_cannot_be_a_feature_of_texts_that_were_not_embedded_again(decoder: GenerativeDecoder) -> None:
    with pytest.raises(ValueError, match="their round_trip is not known"):
        calibrate(decoder, TEXTS, vectors(), {"greedily": GREEDY}, SEEN)


def test_a_feature_that_tells_gets_the_weight() -> None:
    # Given rows that are faithful where their last feature is high
    features = np.random.default_rng(0).normal(size=(400, len(SEEN)))
    fitted = fit(features, features[:, -1] > 0, [-2.0, -1.0], SEEN)
    # Then that feature weighs most
    assert int(np.argmax(np.abs(fitted.weights))) == len(SEEN) - 1


def test_a_decoder_with_a_sketch_is_calibrated_by_it_for_texts_of_both_kinds(
    tmp_path: Path, encoder: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a decoder with a sketch, and few ways of decoding
    monkeypatch.setattr(calibration, "SEEN_WAYS", {"once": DecodeOptions(candidates=1, round_trip=True)})
    folder = random_checkpoint(tmp_path / "toy")
    SKETCH.save(folder)
    # When it is calibrated
    made = calibrate_both(GenerativeDecoder.load(folder, device="cpu"), TEXTS, vectors(), seen=True)
    # Then both of its calibrations know the sketch, and one the cosine as well
    assert made.blind.features == (*FEATURES, *SKETCH_FEATURES)
    assert made.seen is not None
    assert made.seen.features == (*FEATURES, *SKETCH_FEATURES, *SEEN_FEATURES)
    # And they are what its config.json will say
    both = made.of(CheckpointConfig(name="n", network=config()))
    assert (both.calibration, both.seen_calibration) == (made.blind, made.seen)


def test_the_card_tells_of_both_calibrations_in_each_way_of_decoding() -> None:
    known = Calibration(outcome="it is so", rows=5, features=(), weights=(), bias=0.0, lm_log_probs=(0.0,))
    report = CalibrationReport(rows=7, base_rate=0.5, auroc=0.81, ece=0.02, curve=(Reliability(2, 4, 0.25, 0.5),))
    better = replace(report, base_rate=0.6, auroc=0.93)
    told = calibration_section(Calibrated(known, {"greedily": report, "well": better}, known, {"seen": better}))
    for said in (
        "probability that it is so",
        "decoded in 2 ways",
        "| greedily | 7 | 50.0% | 0.810 | 0.020 |",
        "| well | 7 | 60.0% | 0.930 | 0.020 |",
        "embedded again",
        "| seen | 7 | 60.0% | 0.930 | 0.020 |",
        "| overall_quality | greedily | well |",
        "| 0.1 to 0.2 | no text | no text |",
        "| 0.2 to 0.3 | 50% of 4 | 50% of 4 |",
    ):
        assert said in told
    assert calibration_section(None) == ""


def test_an_older_checkpoint_is_calibrated_anew_and_its_card_tells_of_it_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a checkpoint that is not calibrated, with a card and scores, beside held-out texts
    folder = random_checkpoint(tmp_path / "toy")
    (folder / "README.md").write_text("# toy\n\n## Training\n\n- long\n")
    (folder / "scores.json").write_text('{"scores": {}, "calibration": null}')
    (tmp_path / "held.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    np.save(tmp_path / "held.npy", vectors())
    weights = (folder / "model.safetensors").read_bytes()
    # When it is calibrated, twice
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            main(["add-calibration", f"{folder}/", f"--set=held={tmp_path}/held.txt,{tmp_path}/held.npy"])
        assert ended.value.code == 0
    # Then it says how sure it is, and the weights are what they were
    found = GenerativeDecoder.load(folder, device="cpu").generate(vectors()[0])["quality_metrics"]["overall_quality"]
    assert 0.0 <= found <= 1.0
    assert (folder / "model.safetensors").read_bytes() == weights
    assert f"is now calibrated on {2 * len(TEXTS)} texts" in capsys.readouterr().err
    # And the card and the scores tell of it
    card = (folder / "README.md").read_text()
    assert card.count("## Calibration") == 1
    assert card.endswith("## Training\n\n- long\n")
    scores = json.loads((folder / "scores.json").read_text())
    # And of how well it does, by default and greedily
    assert card.index("## Scores") < card.index("## Calibration")
    for kind in ("scores", "greedy_scores"):
        held = scores[kind]["held"]
        assert held["rows"] == len(TEXTS)
        assert f"| held | {len(TEXTS)} | {held['bleu']:.1f} |" in card
    assert evaluation_of(folder).decoded == "by default"
    # With each tenth's texts, which are all of them
    assert evaluation_of(folder).judged.keys() == BLIND_WAYS.keys()
    for one in evaluation_of(folder).judged.values():
        assert sum(tenth.rows for tenth in one.curve) == one.rows
    assert "| 0.0 to 0.1 |" in card
    assert [one["rows"] for one in scores["calibration"].values()] == [len(TEXTS)] * 2


def test_two_held_out_sets_of_one_name_are_refused(tmp_path: Path) -> None:
    one = TextSet("held", tmp_path / "held.txt", tmp_path / "held.npy")
    with pytest.raises(InputError, match="two --set have the same name"):
        add_calibration(tmp_path, [one, one], lambda _: None)


def test_embeddings_of_another_decoder_are_refused(tmp_path: Path) -> None:
    folder = random_checkpoint(tmp_path / "toy")
    (tmp_path / "held.txt").write_text("Tom\n")
    np.save(tmp_path / "held.npy", vectors(1, 24))
    with pytest.raises(DimensionError, match="24 dimensions"):
        add_calibration(folder, [TextSet("mine", tmp_path / "held.txt", tmp_path / "held.npy")], lambda _: None)
