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
import numpy.typing as npt
import torch
from torch import Tensor

from unembed.models.decoder.sketch import START, Bags, bag_sums
from unembed.models.training.adapt.dual_ridge import best_ridge, solved
from unembed.models.training.adapt.letters import counted, rarity_of, weighted
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
    kinds = [_Kind.of(features, share, texts) for features, share in _features(words, tables)]
    kernel = torch.full((len(wanted), len(wanted)), CONSTANT, dtype=torch.float64)
    for kind in kinds:
        kernel += kind.share * torch.from_numpy(kind.kernel)
    ridge = best_ridge(kernel, wanted, RIDGES, each, JUDGED)
    solution, errors = solved(kernel, wanted, ridge * each)
    of_rows = bag_sums(solution.to(torch.float32), problem.texts).numpy()  # (R, K)
    table = torch.from_numpy(sum(kind.share * (kind.features @ (kind.features.T @ of_rows)) for kind in kinds))
    table[START] += CONSTANT * solution.sum(dim=0).to(torch.float32)  # every text has a start
    return Fitted(table, (wanted - errors).to(torch.float32), ridge)


class _Kind(NamedTuple):
    """One way for words and pairs to be alike."""

    features: Features
    share: float  # of the whole, where texts are as like themselves as others are on average
    kernel: npt.NDArray[np.float32]  # (N, N)

    @classmethod
    def of(cls, features: Features, share: float, texts: Features) -> _Kind:
        sums = texts @ features
        kernel = sums @ sums.T
        kernel = np.asarray(kernel if isinstance(kernel, np.ndarray) else kernel.toarray(), np.float32)
        return cls(features, share / max(float(np.trace(kernel)) / len(kernel), 1e-12), kernel)


def _features(words: Sequence[str], tables: Sequence[Tensor]) -> Iterator[tuple[Features, float]]:
    """Each kind's features of R words and pairs, and its share."""
    from scipy.sparse import csr_matrix, identity, vstack

    for table in tables:
        yield table.numpy(), 1.0 / len(tables)
    letters = counted(words)
    pairs = len(tables[0]) - len(words)  # these have no letters of their own
    of_words = weighted(letters, rarity_of(letters))
    yield vstack([of_words, csr_matrix((pairs, of_words.shape[1]), dtype=np.float32)]).tocsr(), OF_LETTERS
    yield identity(len(tables[0]), dtype=np.float32, format="csr"), OF_ITSELF


def _rows_of(bags: Bags, rows: int) -> Features:
    """How often each of N texts has each of R rows: (N, R)."""
    from scipy.sparse import csr_matrix

    return csr_matrix((np.ones(len(bags.ids), np.float32), bags.ids, bags.offsets), shape=(len(bags.offsets) - 1, rows))
