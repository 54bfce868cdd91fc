"""A checkpoint is calibrated anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.models.decoder.toy import TEXTS, sketched_checkpoint, vectors
from unembed.cli import main
from unembed.errors import DimensionError, InputError
from unembed.models.decoder.checkpoint import load_checkpoint
from unembed.models.evaluation.text_sets import TextSet
from unembed.models.training.add_calibration import add_calibration


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint with a sketch, and a card, beside a set of texts."""
    made = sketched_checkpoint(tmp_path / "toy")
    (made / "README.md").write_text("# toy\n\n## Training\n\n- long\n")
    (tmp_path / "dev.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    np.save(tmp_path / "dev.npy", vectors())
    return made


def test_it_judges_by_the_sketch_and_the_card_tells_of_it_once(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = (folder / "model.safetensors").read_bytes()
    # Given a checkpoint without a calibration, When it is given one, twice
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            main(["add-calibration", f"{folder}/", f"--set=mine={folder.parent}/dev.txt,{folder.parent}/dev.npy"])
        assert ended.value.code == 0
    # Then it knows the sketch, and was fitted to the texts as they are decoded in each way
    made = load_checkpoint(folder).config.calibration
    assert made is not None
    assert "nearness" in made.features
    assert made.rows == 3 * len(TEXTS)
    assert (folder / "model.safetensors").read_bytes() == weights
    # And how well it judges is told for each way, on the card once
    captured = capsys.readouterr()
    assert "`--edits 2`" in captured.out
    assert (folder / "README.md").read_text().count("## Calibration") == 1


def test_texts_that_will_not_do_are_refused(folder: Path) -> None:
    np.save(folder.parent / "wide.npy", vectors(len(TEXTS), 24))
    for embeddings, error, message in (
        ("wide.npy", DimensionError, "24 dimensions"),
        (None, InputError, "expected embeddings or an encoder"),
    ):
        one = TextSet("mine", folder.parent / "dev.txt", folder.parent / embeddings if embeddings else None)
        with pytest.raises(error, match=message):
            add_calibration(folder, [one], lambda _: None)
    # And the checkpoint is what it was
    assert load_checkpoint(folder).config.calibration is None
