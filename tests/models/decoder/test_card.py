"""What a decoder's folder says of it for people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unembed.models.decoder.card import Evaluation, evaluation_of


@pytest.mark.parametrize("content", [None, "", "{", '{"scores": 3}', '{"scores": {"a": {}}}', "[]"])
def test_scores_that_are_not_ours_are_none(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "scores.json").write_text(content)
    assert evaluation_of(tmp_path) == Evaluation()


def test_scores_of_a_decoder_that_was_not_calibrated_are_read(tmp_path: Path) -> None:
    record = {"scores": {"held out": {"rows": 5, "word_f1": 0.5}}, "calibration": None, "seen_calibration": None}
    (tmp_path / "scores.json").write_text(json.dumps(record))
    found = evaluation_of(tmp_path)
    assert found.scores["held out"].word_f1 == 0.5
    assert found.judged == {}
