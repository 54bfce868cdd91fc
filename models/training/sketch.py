"""Fits a sketch to texts and their embeddings: one ridge regression.

The rows of the table are chosen such that the sum of each text's rows comes near its embedding:

    minimise over B    Σ_n  |sum of the rows of text n − embedding of n|² / √(words of n)  +  ridge · |B|²

The normal equations are solved by conjugate gradients, some columns at a time; no matrix of all words by all words is
made. The solution is linear in the embeddings, so the directions to keep can be chosen first: those in which the
embeddings are longest. Only their columns are solved for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unembed.errors import InputError
from unembed.models.decoder.manifold import unit
from unembed.models.decoder.sketch import END, START, Bags, Fit, Sketch, bag_sums, packed, unpacked
from unembed.models.decoder.vectors import Vectors
from unembed.models.decoder.words import surfaces
from unembed.models.evaluation.text_sets import Say
from unembed.models.training.chunks import chunks
from unembed.models.training.vocabulary import Vocabulary

LEAST_TEXTS: Final = 200
HELD_OUT: Final = 0.02  # of the texts
RIDGES: Final = (3.0, 1.0, 0.3)  # the quickest first: each solution is where the next one starts
LEAST_RANK: Final = 192  # rather than fewer directions, the rarest words and pairs get no row (docs/lab.md)
JUDGING: Final = 192  # directions of the space that texts are judged in
EVENNESS: Final = 0.2  # of the mean variance of the residuals, added in each direction
EVEN: Final = 2  # a byte holds two numbers
BLOCK: Final = 64  # columns solved for at a time
ITERATIONS: Final = 60
RESIDUAL: Final = 1e-3  # of the normal equations, relative
TINY: Final = 1e-30  # in place of a zero that is divided by

Rows = npt.NDArray[np.int64]
_NOTHING: Final = Fit(texts=0, ridge=0.0, held_out=0, cosine=0.0)


@dataclass(frozen=True)
class Extent:
    """Which words and pairs get a row, and how large the sketch may be."""

    least_word: int = 2  # times it has to be seen
    least_pair: int = 15
    rank: int | None = None  # None: as high as `most_bytes` allows
    most_bytes: int = 4_300_000

    @property
    def least(self) -> tuple[int, int]:
        return self.least_word, self.least_pair

    @property
    def pair_worth(self) -> float:
        """How often a word is to be seen for each time that a pair is."""
        return self.least_word / self.least_pair


def fit_sketch(texts: Sequence[str], vectors: Vectors, extent: Extent | None = None, say: Say | None = None) -> Sketch:
    """From N texts and their embeddings (N, E); those that are not finite, or zero, are left out.

    The ridge is the best one for texts that are held out; then the sketch is fitted to all. Raises InputError when
    fewer than `LEAST_TEXTS` are left.
    """
    extent, say = extent or Extent(), say or (lambda _: None)
    usable = [np.isfinite(part).all(axis=1) & part.any(axis=1) for part in chunks(vectors)]
    chosen: Rows = np.flatnonzero(np.concatenate(usable)) if usable else np.zeros(0, dtype=np.int64)
    if len(chosen) < LEAST_TEXTS:
        raise InputError(
            f"a sketch cannot be fitted to {len(chosen):,} texts with embeddings; expected at least {LEAST_TEXTS:,}"
        )
    everything, rank = _fitting(Vocabulary.of([texts[row] for row in chosen], *extent.least), extent, vectors.shape[1])
    basis = directions(vectors, chosen, rank)
    drawn: Rows = np.random.default_rng(0).permutation(chosen)
    count = max(int(HELD_OUT * len(drawn)), min(LEAST_TEXTS, len(drawn) // 4))
    held_out, fitted = (np.sort(some) for some in np.split(drawn, [count]))
    common = Vocabulary.of([texts[row] for row in fitted], *extent.least).within(everything.rows, extent.pair_worth)
    trial = Regression.of(texts, vectors, fitted, common, basis)
    checked = Apart([texts[row] for row in held_out], vectors[held_out])
    say(f"choosing the ridge of the sketch: {trial.told}")
    best = _choose(trial, checked, say)
    del trial  # as large as the next one
    problem = Regression.of(texts, vectors, chosen, everything, basis)
    say(f"fitting the sketch: {problem.told}")
    fit = best.fit.model_copy(update={"texts": len(chosen)})
    made = problem.sketch(problem.solve(fit.ridge), fit)
    return replace(made, metric=metric_of(residuals(best, checked), problem.targets))


class Apart(NamedTuple):
    texts: list[str]
    vectors: Vectors


def _choose(problem: Regression, checked: Apart, say: Say) -> Sketch:
    """The sketch with the ridge that is best for the texts held out."""
    made: list[Sketch] = []
    table = None
    for ridge in RIDGES:
        table = problem.solve(ridge, table)
        fit = Fit(texts=len(problem.targets), ridge=ridge, held_out=len(checked.texts), cosine=0.0)
        one = problem.sketch(table, fit)
        cosine = float(one.cosines(*checked).mean())
        say(f"  ridge {ridge:g}: cosine {cosine:.4f} on {len(checked.texts):,} held-out texts")
        made.append(replace(one, fit=fit.model_copy(update={"cosine": cosine})))
    return max(made, key=lambda one: one.fit.cosine)


def residuals(sketch: Sketch, checked: Apart) -> Tensor:
    """What the sketches of N texts, at length 1, leave of their embeddings: (N, K)."""
    given = torch.from_numpy(sketch.coordinates(checked.vectors))  # (N, K)
    return left_of(given, torch.from_numpy(sketch.sums(checked.texts)))


def left_of(given: Tensor, sums: Tensor) -> Tensor:
    """What sums (N, K), at length 1, leave of embeddings (N, K)."""
    sketches = torch.nn.functional.normalize(sums)
    return given - sketches * (sketches * given).sum(dim=1, keepdim=True)


def metric_of(residuals: Tensor, targets: Tensor, judging: int = JUDGING) -> npt.NDArray[np.float16]:
    """From the K directions into the space that texts are judged in: (K, J).

    The residuals (N, K) are whitened, with some of their mean variance added to each direction; of what is then there,
    the J directions are kept in which the embeddings (N, K) are longest.
    """
    wide = residuals.to(torch.float64)
    variances, axes = torch.linalg.eigh(wide.T @ wide / len(wide))
    whiten = axes * (variances + EVENNESS * variances.mean() + TINY).rsqrt()  # (K, K)
    moments = whiten.T @ (targets.T @ targets).to(torch.float64) @ whiten
    longest = torch.linalg.eigh(moments).eigenvectors.flip(1)[:, :judging]
    metric = whiten @ longest
    return np.asarray((metric / metric.abs().max()).numpy(), dtype=np.float16)  # cosines do not know its length


@dataclass(frozen=True, eq=False)
class Regression:
    """The regression of N embeddings on R words and pairs, in K directions."""

    vocabulary: Vocabulary
    basis: Tensor  # (E, K)
    targets: Tensor  # (N, K): the embeddings at length 1, among the basis
    weights: Tensor  # (N, 1)
    bags: Bags  # the rows of each text
    texts: Bags  # the texts of each row

    @classmethod
    def of(
        cls, texts: Sequence[str], vectors: Vectors, chosen: Rows, vocabulary: Vocabulary, basis: Tensor
    ) -> Regression:
        """Of the chosen ones of all texts and vectors."""
        some = [texts[row] for row in chosen]
        bags = _bags(vocabulary, basis, some)
        words = np.fromiter((max(1, len(surfaces(text))) for text in some), np.float32, len(some))
        weights = torch.from_numpy(words).rsqrt()[:, None]
        targets = torch.empty((len(chosen), basis.shape[1]))
        for part, rows in zip(chunks(targets), chunks(chosen), strict=True):
            torch.matmul(_units(vectors[rows]), basis, out=part)
        return cls(vocabulary, basis, targets, weights, bags, _turned(bags, vocabulary))

    @property
    def told(self) -> str:
        words, pairs = len(self.vocabulary.words), len(self.vocabulary.pairs)
        return f"{words:,} words and {pairs:,} pairs of {len(self.targets):,} texts, {self.basis.shape[1]} directions"

    def sketch(self, table: Tensor, fit: Fit) -> Sketch:
        return sketch_of(self.vocabulary, self.basis, table, fit)

    def solve(self, ridge: float, start: Tensor | None = None) -> Tensor:
        """The table (R, K); from that of another ridge it is found sooner."""
        blocks = [slice(first, first + BLOCK) for first in range(0, self.basis.shape[1], BLOCK)]
        return torch.cat([self._columns(ridge, one, None if start is None else start[:, one]) for one in blocks], dim=1)

    def _columns(self, ridge: float, columns: slice, start: Tensor | None) -> Tensor:
        """Each of C columns by itself, with the diagonal of the normal equations as its preconditioner: (R, C)."""
        wanted = self._gather(self.targets[:, columns])  # (R, C)
        diagonal = bag_sums(self.weights, self.texts) + ridge  # (R, 1)
        found = wanted / diagonal if start is None else start.clone()
        residual = wanted - self._normal(found, ridge)
        near = residual / diagonal
        direction, size = near.clone(), (residual * near).sum(dim=0)  # (R, C), (C,)
        for _ in range(ITERATIONS):
            if residual.norm() <= RESIDUAL * wanted.norm():
                break
            image = self._normal(direction, ridge)
            step = size / (direction * image).sum(dim=0).clamp_min(TINY)
            found += step * direction
            residual -= step * image
            near = residual / diagonal
            size, before = (residual * near).sum(dim=0), size
            direction = near + size / before.clamp_min(TINY) * direction
        return found

    def _normal(self, table: Tensor, ridge: float) -> Tensor:
        """The left side of the normal equations, of a table (R, C)."""
        return self._gather(bag_sums(table, self.bags)) + ridge * table

    def _gather(self, of_texts: Tensor) -> Tensor:
        """(N, C), weighted and summed over the texts of each row: (R, C)."""
        return bag_sums(self.weights * of_texts, self.texts)


def _fitting(vocabulary: Vocabulary, extent: Extent, dim: int) -> tuple[Vocabulary, int]:
    """As many words and pairs, and as many directions, as the extent allows."""
    if extent.rank is not None:
        return vocabulary, even(min(extent.rank, dim))
    least = even(min(LEAST_RANK, dim))
    each = least / 2 + 4 + vocabulary.bytes / vocabulary.rows  # bytes of a row: numbers, scale, prior, word or pair
    of_direction = 2 * (dim + min(JUDGING, dim))  # bytes of the basis and the metric
    rows = int((extent.most_bytes - of_direction * least) / each)
    vocabulary = vocabulary.within(max(2, rows), extent.pair_worth)
    left = extent.most_bytes - vocabulary.bytes - 4 * vocabulary.rows
    rank = int(left / (vocabulary.rows / 2 + of_direction))
    return vocabulary, even(min(max(rank, least), dim))


def even(rank: int) -> int:
    return rank // EVEN * EVEN


def directions(vectors: Vectors, chosen: Rows, rank: int) -> Tensor:
    """Those in which the embeddings at length 1 are longest, orthonormal: (E, K).

    They are turned among themselves at random, so that each carries as much as any other: all get the same bits.
    """
    moments = torch.zeros((vectors.shape[1], vectors.shape[1]), dtype=torch.float64)
    for rows in chunks(chosen):
        part = _units(vectors[rows])
        moments += part.T @ part
    axes = torch.linalg.eigh(moments).eigenvectors.flip(1)[:, :rank]  # the longest first
    turn = torch.randn((rank, rank), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turned: Tensor = axes @ torch.linalg.qr(turn).Q
    return turned.to(torch.float32)


def _bags(vocabulary: Vocabulary, basis: Tensor, texts: Sequence[str]) -> Bags:
    """The rows of each of N texts, in 32 bits: they are many."""
    empty = sketch_of(vocabulary, basis, torch.zeros((vocabulary.rows, basis.shape[1])), _NOTHING)
    parts = [empty.bags(some) for some in chunks(texts)]
    ids = np.concatenate([part.ids.astype(np.int32) for part in parts])
    sizes = np.concatenate([np.diff(part.offsets) for part in parts])
    return Bags(ids, _offsets(sizes))


def _turned(bags: Bags, vocabulary: Vocabulary) -> Bags:
    """The texts of each row, from the rows of each text."""
    sizes = np.diff(bags.offsets)
    texts = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    return Bags(texts[np.argsort(bags.ids, kind="stable")], _offsets(np.bincount(bags.ids, minlength=vocabulary.rows)))


def _offsets(sizes: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)


def sketch_of(vocabulary: Vocabulary, basis: Tensor, table: Tensor, fit: Fit) -> Sketch:
    rows, scales = packed(_less_lost(table).numpy())
    priors = vocabulary.log_probs.astype(np.float16)
    metric = np.eye(basis.shape[1], dtype=np.float16)  # until there is a better one
    return Sketch(
        vocabulary.words, vocabulary.pairs, rows, scales, basis.numpy().astype(np.float16), metric, priors, fit
    )


def _less_lost(table: Tensor) -> Tensor:
    """What is lost of the start's row at 4 bits, the end's row has: every text has both. What all texts have in common
    may be long, and an error in it is one of every text."""
    start = table[START : START + 1]
    lost = start - torch.from_numpy(unpacked(*packed(start.numpy())))
    made = table.clone()
    made[END] += lost[0]
    return made


def _units(vectors: npt.NDArray[np.floating]) -> Tensor:
    return torch.from_numpy(unit(vectors).astype(np.float32))
