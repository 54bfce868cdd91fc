"""What another embedder would make of a text: estimated from pairs, without the embedder.

A decoder needs many texts to learn from, and there are few with embeddings. Of others, these are estimated by a kernel
regression. Two texts count as alike by what the sketches of decoders that ship say of their words, each as another
embedder sees them, and by the letters that their words have in common. From 5,000 pairs the estimates explain nearly as
much of an embedding as a sketch that was fitted to 150,000 (docs/lab.md, section 51).

How wrong estimates are is found by leaving out each text in turn, in closed form. A network that is to learn from
estimates is shown them with such errors added, so it learns how far to believe what it reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from unembed.models.decoder.manifold import unit
from unembed.models.decoder.sketch import Sketch
from unembed.models.decoder.vectors import Vectors
from unembed.models.training.adapt.dual_ridge import MOST_PAIRS, best_ridge, solved
from unembed.models.training.adapt.letters import Floats, Sparse, counted, rarity_of, weighted

SHARPNESS: Final = 0.35  # of the kernel, exp(−sharpness · squared distance)
OF_LETTERS: Final = 0.4  # the rest is of the sketches, in equal parts
RIDGES: Final = (0.01, 0.03, 0.1, 0.3)
JUDGED: Final = 1500  # pairs by which the ridge is chosen
PART: Final = 1000  # texts estimated at a time


@dataclass(frozen=True, eq=False)
class Forward:
    """Fitted to N pairs with embeddings of D dimensions."""

    alike: _Alike
    solution: Floats  # (N, D)
    mean: Floats  # (D,)
    errors: Vectors  # (N, D): each embedding less its estimate by a fit without it
    explained: float  # share of the variance that such estimates explain

    @classmethod
    def fit(cls, texts: Sequence[str], vectors: Vectors, sketches: Sequence[Sketch]) -> Forward:
        """To the first `MOST_PAIRS` of some texts and their embeddings, of any length. Raises MissingExtraError without
        scipy."""
        texts, given = texts[:MOST_PAIRS], unit(vectors[:MOST_PAIRS]).astype(np.float64)
        mean = given.mean(axis=0)
        wanted = torch.from_numpy(given - mean)
        alike = _Alike.of(texts, sketches)
        kernel = torch.from_numpy(alike(alike.letters, alike.views)).to(torch.float64)
        each = torch.ones(len(kernel), dtype=kernel.dtype)
        solution, errors = solved(kernel, wanted, best_ridge(kernel, wanted, RIDGES, each, JUDGED) * each)
        explained = 1.0 - float(errors.square().sum() / wanted.square().sum().clamp_min(1e-12))
        return cls(alike, _floats(solution), mean.astype(np.float32), _floats(errors), explained)

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """The estimated embeddings of M texts (M, D), nearer to the mean where they are less sure."""
        parts = [self.alike.to(texts[first : first + PART]) @ self.solution for first in range(0, len(texts), PART)]
        return np.asarray(np.concatenate(parts) + self.mean, np.float32)


@dataclass(frozen=True, eq=False)
class _Alike:
    """How alike texts are to N texts, from 0 to 1."""

    sketches: tuple[Sketch, ...]
    means: tuple[Floats, ...]  # (K,) each, of the sketches of the N texts
    views: tuple[Floats, ...]  # (N, K) each, at length 1
    rarity: Floats  # (PLACES,)
    letters: Sparse  # (N, PLACES), at length 1

    @classmethod
    def of(cls, texts: Sequence[str], sketches: Sequence[Sketch]) -> _Alike:
        sums = [one.sums(texts) for one in sketches]
        means = [one.mean(axis=0) for one in sums]
        views = [_floats_unit(one - mean) for one, mean in zip(sums, means, strict=True)]
        letters = counted(texts)
        rarity = rarity_of(letters)
        return cls(tuple(sketches), tuple(means), tuple(views), rarity, weighted(letters, rarity))

    def to(self, texts: Sequence[str]) -> Floats:
        """Of M texts: (M, N)."""
        sums = zip(self.sketches, self.means, strict=True)
        views = tuple(_floats_unit(sketch.sums(texts) - mean) for sketch, mean in sums)
        return self(weighted(counted(texts), self.rarity), views)

    def __call__(self, letters: Sparse, views: Sequence[Floats]) -> Floats:
        of_letters = OF_LETTERS if views else 1.0
        found = of_letters * _bell(np.asarray((letters @ self.letters.T).todense(), np.float32))
        for theirs, ours in zip(views, self.views, strict=True):
            found += (1.0 - of_letters) / len(views) * _bell(theirs @ ours.T)
        return found


def _bell(cosines: Floats) -> Floats:
    return np.asarray(np.exp((2.0 * SHARPNESS) * (cosines - 1.0)), np.float32)


def _floats(rows: Tensor) -> Floats:
    return rows.numpy().astype(np.float32)


def _floats_unit(rows: Floats) -> Floats:
    return np.asarray(unit(rows), np.float32)
