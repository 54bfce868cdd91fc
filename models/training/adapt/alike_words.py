"""A sketch's table from few pairs: words have rows alike where they are alike.

How alike two words are, other sketches tell, each as another embedder sees them, and the letters that they have in
common; and each word is most like itself. So a word that the pairs never show has a row, and one that they show once
is not learnt by heart. All of it is one ridge regression on the sums of a text's rows, whose dual form is as large as
the pairs are many, squared; with it comes what each text's sketch would be in a fit without that text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unembed.models.decoder.sketch import START, Bags, bag_sums
from unembed.models.training.adapt.dual_ridge import best_ridge, solved
from unembed.models.training.adapt.letters import counted, rarity_of, sparse, weighted
from unembed.models.training.sketch import Regression

OF_LETTERS: Final = 0.6  # beside 1 of all sketches
OF_ITSELF: Final = 0.3
CONSTANT: Final = 10.0  # what all texts have in common is hardly held back
RIDGES: Final = (0.01, 0.03, 0.1, 0.3)
JUDGED: Final = 2500  # texts by which the ridge is chosen

Features = Any  # (R, F): an array, or scipy's sparse rows, which have no types


class Fitted(NamedTuple):
    table: Tensor  # (R, K)
    left_out: Tensor  # (N, K): what each text's rows add up to in a fit without it
    ridge: float


def fit_alike(problem: Regression, words: Sequence[str], tables: Sequence[Tensor]) -> Fitted:
    """The table for a regression's R words and pairs, of which other sketches' tables (R, F) are given.

    Raises MissingExtraError without scipy.
    """
    wanted, each = problem.targets.to(torch.float64), 1.0 / problem.weights[:, 0].to(torch.float64)
    texts = _rows_of(problem.bags, len(tables[0]))
    kernel = torch.full((len(wanted), len(wanted)), CONSTANT, dtype=torch.float64)
    kinds: list[tuple[Features, float]] = []
    for features, part in _features(words, tables):
        alike = _products(texts @ features)
        share = part / max(float(alike.diagonal().mean()), 1e-12)  # of a text with itself, such a part on average
        kernel += share * alike
        kinds.append((features, share))
    ridge = best_ridge(kernel, wanted, RIDGES, each, JUDGED)
    solution, errors = solved(kernel, wanted, ridge * each)
    of_rows = bag_sums(solution.to(torch.float32), problem.texts).numpy()  # (R, K)
    table = torch.from_numpy(sum(share * (features @ (features.T @ of_rows)) for features, share in kinds))
    table[START] += CONSTANT * solution.sum(dim=0).to(torch.float32)  # every text has a start
    return Fitted(table, (wanted - errors).to(torch.float32), ridge)


def _features(words: Sequence[str], tables: Sequence[Tensor]) -> Iterator[tuple[Features, float]]:
    """Each kind of likeness: its features of R words and pairs, and its part in the whole."""
    for table in tables:
        yield table.numpy(), 1.0 / len(tables)
    letters = counted(words)
    pairs = len(tables[0]) - len(words)  # these have no letters of their own
    of_words = weighted(letters, rarity_of(letters))
    of_pairs = sparse().csr_matrix((pairs, of_words.shape[1]), dtype=np.float32)
    yield sparse().vstack([of_words, of_pairs]).tocsr(), OF_LETTERS
    yield sparse().identity(len(tables[0]), dtype=np.float32, format="csr"), OF_ITSELF


def _products(sums: Features) -> Tensor:
    """Of each two of N texts' sums: (N, N)."""
    products = sums @ sums.T
    return torch.from_numpy(products if isinstance(products, np.ndarray) else products.toarray())


def _rows_of(bags: Bags, rows: int) -> Features:
    """How often each of N texts has each of R rows: (N, R)."""
    once = np.ones(len(bags.ids), np.float32)
    return sparse().csr_matrix((once, bags.ids, bags.offsets), shape=(len(bags.offsets) - 1, rows))
