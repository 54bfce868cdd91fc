"""A sketch's table from few pairs, in which words that are alike have rows that are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unembed.models.decoder.sketch import Fit, bag_sums
from unembed.models.decoder.vectors import Vectors
from unembed.models.training.adapt import alike_words
from unembed.models.training.adapt.alike_words import Fitted, fit_alike
from unembed.models.training.adapt.dual_ridge import solved
from unembed.models.training.sketch import Regression, directions
from unembed.models.training.vocabulary import Vocabulary

NOUNS = ("mountain", "river", "garden", "letter", "window", "soldier", "market", "bottle")
VERBS = ("paint", "follow", "answer", "remember")
WIDTH = 12


def meanings() -> dict[str, Vectors]:
    """Of each word: a plural is much like its singular."""
    drawn = np.random.default_rng(5)
    found = {word: drawn.normal(size=WIDTH).astype(np.float32) for word in (*NOUNS, *VERBS)}
    return found | {f"{word}s": found[word] + 0.1 * drawn.normal(size=WIDTH).astype(np.float32) for word in NOUNS}


MEANINGS = meanings()


def embedded(texts: list[str]) -> Vectors:
    sums = np.stack([sum(MEANINGS[word] for word in text.split()) for text in texts])
    return np.asarray(sums / np.linalg.norm(sums, axis=1, keepdims=True), dtype=np.float32)


SHOWN = [f"{verb} {noun}" for verb in VERBS for noun in (*NOUNS, *(f"{noun}s" for noun in NOUNS[1:]))]
UNSEEN = [f"{verb} mountains" for verb in VERBS]


def problem(least_pair: int = 99) -> Regression:
    """In which pairs that are there so often have a row."""
    vectors = embedded(SHOWN)
    words = Vocabulary.of([*SHOWN, *UNSEEN], 1, least_pair)
    return Regression.of(SHOWN, vectors, np.arange(len(SHOWN)), words, directions(vectors, np.arange(len(SHOWN)), 10))


def fitted(of: Regression) -> Fitted:
    """With a sketch that tells no two words apart."""
    return fit_alike(of, of.vocabulary.words, [torch.zeros((of.vocabulary.rows, 4))])


def nearness(of: Regression, found: Fitted) -> float:
    sketch = of.sketch(found.table, Fit(texts=len(SHOWN), ridge=found.ridge, held_out=0, cosine=0.0))
    return float(sketch.cosines(UNSEEN, embedded(UNSEEN)).mean())


def test_a_word_that_is_never_shown_is_taken_for_one_that_is_spelt_like_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given texts of which none has "mountains", but some have "mountain"; When a table is fitted to them
    of = problem()
    near = nearness(of, fitted(of))
    # Then it estimates texts with it, and better than where letters do not count
    monkeypatch.setattr(alike_words, "OF_LETTERS", 1e-6)
    assert near > 0.85
    assert near > nearness(of, fitted(of)) + 0.1


def test_almost_without_a_ridge_each_text_s_rows_add_up_to_its_embedding(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given texts each of which has a pair of its own
    monkeypatch.setattr(alike_words, "RIDGES", (1e-7,))
    of = problem(least_pair=1)
    # When a table is fitted to them, Then it gives each back
    sums = bag_sums(fitted(of).table, of.bags)
    np.testing.assert_allclose(sums.numpy(), of.targets.numpy(), atol=1e-3)


def test_what_texts_left_out_come_to_is_farther_off_than_what_was_fitted() -> None:
    of = problem()
    found = fitted(of)
    off = (found.left_out - of.targets).norm(dim=1)
    assert (off > (bag_sums(found.table, of.bags) - of.targets).norm(dim=1)).all()


def test_leaving_a_text_out_is_as_if_it_had_never_been_there() -> None:
    # Given texts of which it is known how alike they are, and a ridge for each
    drawn = torch.Generator().manual_seed(1)
    features = torch.randn((9, 4), generator=drawn, dtype=torch.float64)
    kernel, wanted = features @ features.T, torch.randn((9, 3), generator=drawn, dtype=torch.float64)
    ridge = torch.linspace(0.2, 0.9, 9, dtype=torch.float64)
    # When each is left out, Then its error is that of a fit to the others
    errors = solved(kernel, wanted, ridge).errors
    for row in range(9):
        rest = [other for other in range(9) if other != row]
        solution = torch.linalg.solve(kernel[rest][:, rest] + ridge[rest].diag(), wanted[rest])
        torch.testing.assert_close(errors[row], wanted[row] - kernel[row, rest] @ solution)
