"""Embeddings estimated from texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from unembed.models.decoder.checkpoint import load_checkpoint
from unembed.models.decoder.sketch import Sketch
from unembed.models.training.adapt.forward import Forward

LINES = Path("examples/sentences.txt").read_text(encoding="utf-8").splitlines()
FITTED, OTHERS = LINES[:400], LINES[400:]


@pytest.fixture(scope="module")
def sketch() -> Sketch:
    found = load_checkpoint("ret-v21-minilm").sketch
    assert found is not None
    return found


def embedded(sketch: Sketch, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """(N, 48): an embedder that sees words as the sketch does, and whether a text asks; all have a mean."""
    turn = np.random.default_rng(5).normal(size=(sketch.embedding_dim, 48)) / 6.0
    asks = np.array([text.endswith("?") for text in texts])[:, None] * np.random.default_rng(6).normal(size=48)
    return (sketch.vectors(texts) @ turn + 0.05 * asks + 0.3).astype(np.float32)


def explained(
    estimates: npt.NDArray[np.float32], true: npt.NDArray[np.float32], mean: npt.NDArray[np.float32]
) -> float:
    true = true / np.linalg.norm(true, axis=1, keepdims=True)
    return 1.0 - float(np.square(true - estimates).sum() / np.square(true - mean).sum())


def test_what_is_said_of_estimates_holds_for_other_texts(sketch: Sketch) -> None:
    # Given texts with embeddings, by an embedder that is like a sketch
    vectors = 3.0 * embedded(sketch, FITTED)
    # When others' are estimated, with the sketch and by letters alone
    both, letters = Forward.fit(FITTED, vectors, [sketch]), Forward.fit(FITTED, vectors, [])
    # Then as much is explained as was said, and with the sketch it is more
    for one in (both, letters):
        found = explained(one(OTHERS), embedded(sketch, OTHERS), one.mean)
        assert found == pytest.approx(one.explained, abs=0.08)
        assert one.errors.shape == (400, 48)
    assert both.explained > letters.explained + 0.1 > 0.1


def test_an_error_is_that_of_a_fit_without_the_text(sketch: Sketch) -> None:
    vectors = embedded(sketch, FITTED)
    whole, without = Forward.fit(FITTED, vectors, [sketch]), Forward.fit(FITTED[1:], vectors[1:], [sketch])
    own = vectors[:1] / np.linalg.norm(vectors[:1])
    # The mean, and how rare letters are, hardly change without one text
    np.testing.assert_allclose(own - without(FITTED[:1]), whole.errors[:1], atol=0.02)


def test_a_text_of_nothing_that_is_known_has_the_mean_for_an_estimate(sketch: Sketch) -> None:
    fitted = Forward.fit(FITTED, embedded(sketch, FITTED), [sketch])
    estimates = fitted(["\u65e5\u672c", "", "\ud800"])
    assert np.isfinite(estimates).all()
    assert np.abs(estimates - fitted.mean).max() < 0.2
