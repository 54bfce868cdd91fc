"""An older checkpoint is given a sketch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.models.decoder.toy import DIM, TEXTS, random_checkpoint, vectors
from unembed.cli import main
from unembed.errors import DimensionError, InputError
from unembed.models.decoder.checkpoint import load_checkpoint
from unembed.models.evaluation.text_sets import TextSet
from unembed.models.training.add_sketch import add_sketch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint without a sketch, with a card, beside two sets of texts."""
    made = random_checkpoint(tmp_path / "toy")
    (made / "README.md").write_text("# toy\n\n## Training\n\n- long\n")
    for name, times in (("a", 5), ("b", 2)):
        (tmp_path / f"{name}.txt").write_text("".join(f"{text}\n" for text in TEXTS * times))
        np.save(tmp_path / f"{name}.npy", np.tile(vectors(), (times, 1)).astype(np.float16))
    return made


def test_it_is_fitted_to_all_sets_and_the_card_tells_of_it_once(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = (folder / "model.safetensors").read_bytes()
    sets = [f"--set={name}={folder.parent / name}.txt,{folder.parent / name}.npy" for name in ("a", "b")]
    # Given a checkpoint without one, When it is given one, twice
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            main(["add-sketch", f"{folder}/", *sets])
        assert ended.value.code == 0
    # Then it is there, made of all texts, and the weights are what they were
    made = load_checkpoint(folder).sketch
    assert made is not None
    assert made.fit.texts == 7 * len(TEXTS)
    assert (folder / "model.safetensors").read_bytes() == weights
    captured = capsys.readouterr()
    assert f'"texts": {7 * len(TEXTS)}' in captured.out
    assert f"now has a sketch of {len(made.words)} words" in captured.err
    # And the card tells of it once
    card = (folder / "README.md").read_text()
    assert card.count("## Sketch") == 1
    assert "252 texts" in card
    assert card.endswith("## Training\n\n- long\n")


def test_texts_that_will_not_do_are_refused(folder: Path) -> None:
    texts = folder.parent / "b.txt"
    np.save(folder.parent / "wide.npy", vectors(2 * len(TEXTS), 24))
    for embeddings, error, message in (
        ("wide.npy", DimensionError, "24 dimensions"),
        ("b.npy", InputError, "a sketch cannot be fitted to 72 texts"),
        (None, InputError, "expected embeddings or an encoder"),
    ):
        one = TextSet("mine", texts, folder.parent / embeddings if embeddings else None)
        with pytest.raises(error, match=message):
            add_sketch(folder, [one], lambda _: None)
    # And the checkpoint is what it was
    assert load_checkpoint(folder).sketch is None
    assert load_checkpoint(folder).config.embedding_dim == DIM
