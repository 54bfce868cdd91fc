"""A linear map from one embedder's space into another's: a ridge regression on the embeddings of the same texts.

A network's bridge is a matrix without a constant, so the map is one too, and `compose` can multiply it in. A constant
is hidden in it nevertheless: all embeddings of an embedder have something of their mean, and what is along it is
penalised a thousandth as much as what is along the other directions. Where the embeddings are mostly their mean, as
E5's are, that is as good as a constant.

How much to penalise is chosen by leaving out each text in turn, which is found in closed form: a prediction made
without its own text is y − (y − ŷ) / (1 − h), with h the text's leverage. These predictions err as those of new texts
will, so what is said of the map holds for these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from unembed.errors import InputError
from unembed.models.decoder.manifold import unit
from unembed.models.decoder.vectors import Vectors

LEAST_PAIRS: Final = 10
MOST_PAIRS: Final = 20_000  # more change the map in the third digit of its cosine (docs/lab.md)
MOST_DIRECTIONS: Final = 1024  # of larger embeddings, the longest
RIDGES: Final = np.geomspace(1e-4, 30.0, 20)  # as shares of the mean variance of the directions
JUDGED: Final = 2000  # texts by which the ridge is chosen
TOWARDS_MEAN: Final = 30.0  # times as long as it is: what is along the mean is as good as not penalised
TINY: Final = 1e-12


@dataclass(frozen=True, eq=False)
class Map:
    """From D dimensions to E, for embeddings at length 1; fitted to N pairs."""

    weights: Vectors  # (D, E)
    length: float  # of a mapped embedding, mean
    pairs: int
    ridge: float  # as a share of the mean variance of the directions
    cosine: float  # of a mapped embedding and the true one, each mapped by a map that has not seen it; mean
    apart: float  # the same with the true one of another text
    left_out: Vectors  # (N, E): each mapped by a map that has not seen it, at length 1

    def __call__(self, theirs: Vectors) -> Vectors:
        """Embeddings (M, D) at any length, mapped: (M, E) at length 1."""
        found = torch.from_numpy(unit(theirs).astype(np.float32)) @ torch.from_numpy(self.weights)
        return np.asarray(unit(found.numpy()), np.float32)


def fit_map(theirs: Vectors, ours: Vectors) -> Map:
    """From the embeddings of N texts by one embedder (N, D) to those by another (N, E), of any length.

    Raises InputError for fewer than `LEAST_PAIRS`, and for embeddings that are all one.
    """
    if len(theirs) != len(ours) or len(theirs) < LEAST_PAIRS:
        raise InputError(
            f"{len(theirs):,} embeddings by one embedder and {len(ours):,} by the other are no pairs to learn a map "
            f"from; expected the same texts, and at least {LEAST_PAIRS}"
        )
    given, wanted = _units(theirs), _units(ours)  # (N, D), (N, E)
    mean = given.mean(dim=0)
    mean = mean / mean.norm().clamp_min(TINY)  # (D,)
    along = given @ mean  # (N,)
    spread = (given - along[:, None] * mean).square().sum()
    if spread < len(given) * 1e-9:
        raise InputError(f"the {len(given):,} embeddings are all the same; expected those of different texts")
    axes = _axes(given)  # (D, K)
    inside = axes.T @ mean
    # The mean's direction is made longer, and its weights shorter again at the end.
    longer = torch.eye(len(inside), dtype=inside.dtype) + (TOWARDS_MEAN - 1.0) * torch.outer(inside, inside)
    ridge = _Ridge.of(given @ axes @ longer, wanted, float(spread) / min(axes.shape[1], len(given)))
    best = max(RIDGES, key=lambda share: ridge.cosine(share))
    left_out = torch.nn.functional.normalize(ridge.left_out(best))
    weights = axes @ longer @ ridge.weights(best)  # (D, E)
    return Map(
        weights=weights.numpy().astype(np.float32),
        length=float((given @ weights).norm(dim=1).mean()),
        pairs=len(given),
        ridge=float(best),
        cosine=float((left_out * wanted).sum(dim=1).mean()),
        apart=float((left_out * wanted.roll(1, dims=0)).sum(dim=1).mean()),
        left_out=left_out.numpy().astype(np.float32),
    )


@dataclass(frozen=True, eq=False)
class _Ridge:
    """The regression of N rows of E numbers on K, for any ridge: given = rows · diag(lengths) · axesᵀ."""

    rows: Tensor  # (N, R): orthonormal columns
    lengths: Tensor  # (R,)
    axes: Tensor  # (K, R): orthonormal columns
    wanted: Tensor  # (N, E)
    along: Tensor  # (R, E): rowsᵀ · wanted
    variance: float  # what a ridge of 1 is

    @classmethod
    def of(cls, given: Tensor, wanted: Tensor, variance: float) -> _Ridge:
        squares, axes = torch.linalg.eigh(given.T @ given)
        kept = squares > squares[-1] * TINY
        lengths, axes = squares[kept].sqrt(), axes[:, kept]
        rows = given @ axes / lengths
        return cls(rows, lengths, axes, wanted, rows.T @ wanted, variance)

    def _kept(self, share: float) -> Tensor:
        """What the ridge leaves of each direction (R,)."""
        squares = self.lengths.square()
        return squares / (squares + share * self.variance)

    def left_out(self, share: float, texts: int | None = None) -> Tensor:
        """The predictions of the first N texts by fits without them: (N, E)."""
        rows, wanted, kept = self.rows[:texts], self.wanted[:texts], self._kept(share)
        predicted = rows @ (kept[:, None] * self.along)
        free = (1.0 - rows.square() @ kept).clamp_min(TINY)  # (N,): of its own text
        return wanted - (wanted - predicted) / free[:, None]

    def cosine(self, share: float) -> float:
        found = torch.nn.functional.normalize(self.left_out(share, JUDGED))
        return float((found * self.wanted[:JUDGED]).sum(dim=1).mean())

    def weights(self, share: float) -> Tensor:
        """(K, E)."""
        return self.axes @ ((self._kept(share) / self.lengths)[:, None] * self.along)


def _units(vectors: Vectors) -> Tensor:
    """The first `MOST_PAIRS` of (N, D), at length 1, in double precision."""
    return torch.from_numpy(unit(vectors[:MOST_PAIRS]))


def _axes(given: Tensor) -> Tensor:
    """The directions that are used of embeddings (N, D): all of them, or of many the longest (D, K)."""
    dim = given.shape[1]
    if dim <= MOST_DIRECTIONS:
        return torch.eye(dim, dtype=given.dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _, _, axes = torch.svd_lowrank(given.to(torch.float32), q=min(MOST_DIRECTIONS, len(given)), niter=2)
    straight: Tensor = torch.linalg.qr(axes.to(given.dtype)).Q
    return straight
