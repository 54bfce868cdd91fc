"""A decoder's sketch for another embedder: its table is mapped into the other space, and corrected by pairs from there.

Few pairs show few words. But what the words of a language do to an embedding is much alike from embedder to embedder,
so the sums of a text's rows in the table that there is are mapped to the text's embedding, by one ridge regression.
What is left of the embeddings after that, the pairs themselves explain, by the regression that makes any sketch: it
begins at the mapped table, where a sketch from nothing begins at zero. Words that only the pairs have get rows too.

Sketches of other decoders tell more of the same words and pairs, as other embedders see them. Their tables lie beside
the first one's, as if they were one; the words and the pairs are those of the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unembed.models.decoder.sketch import END, START, Fit, Sketch, bag_sums
from unembed.models.decoder.vectors import Vectors
from unembed.models.evaluation.text_sets import Say
from unembed.models.training.sketch import Apart, Extent, Regression, directions, even, metric_of, residuals
from unembed.models.training.vocabulary import Vocabulary

MAP_RIDGES: Final = np.geomspace(1e-4, 10.0, 11)  # as shares of the mean square of the sums' numbers
CORRECTION_RIDGES: Final = (30.0, 10.0, 3.0)  # the quickest first: each solution is where the next one starts
CHECKED: Final = 0.1  # of the texts, or so many:
MOST_CHECKED: Final = 1000
CONSTANT: Final = 3.0  # beside a text's sum; what it explains, all texts have


def map_sketch(
    base: Sketch, texts: Sequence[str], vectors: Vectors, say: Say, seed: int = 0, others: Sequence[Sketch] = ()
) -> Sketch:
    """For an embedder whose embeddings of N texts (N, E) are given. Both ridges are the best ones for a tenth of the
    texts that is held out."""
    joint = _Joint.of(base, texts)
    rows = torch.cat([joint.rows_of(one) for one in (base, *others)], dim=1)
    drawn = np.random.default_rng(seed).permutation(len(texts))
    checking, fitted = np.split(drawn, [min(MOST_CHECKED, max(1, round(CHECKED * len(texts))))])
    fitted, everything = np.sort(fitted), np.arange(len(texts))
    checked = Apart([texts[row] for row in checking], vectors[checking])
    rank = even(min(base.rank, vectors.shape[1]))
    trial = Regression.of(texts, vectors, fitted, joint.vocabulary, directions(vectors, fitted, rank))
    best = max((_mapped(trial, rows, share, checked) for share in MAP_RIDGES), key=lambda one: one.fit.cosine)
    say(
        f"mapped the sketch of {joint.known:,} words and pairs: cosine {best.fit.cosine:.3f} on {len(checking):,} texts"
    )
    correction = None
    mapped = torch.from_numpy(best.table)
    for ridge in CORRECTION_RIDGES:
        correction = _less(trial, mapped).solve(ridge, correction)
        one = _judged(trial, mapped + correction, ridge, checked)
        best = one if one.fit.cosine > best.fit.cosine else best
    say(f"corrected by {len(fitted):,} texts: cosine {best.fit.cosine:.3f}")
    metric = metric_of(residuals(best, checked), trial.targets)
    if best.fit.ridge:  # once more, with all texts
        whole = Regression.of(texts, vectors, everything, joint.vocabulary, trial.basis)
        table = mapped + _less(whole, mapped).solve(best.fit.ridge)
        best = whole.sketch(table, best.fit.model_copy(update={"texts": len(texts)}))
    return replace(best, metric=metric, priors=joint.priors)


@dataclass(frozen=True, eq=False)
class _Joint:
    """The words and pairs of a sketch, and those of texts besides."""

    vocabulary: Vocabulary
    known: int  # that the sketch had
    priors: npt.NDArray[np.float16]  # (R,)

    @classmethod
    def of(cls, base: Sketch, texts: Sequence[str]) -> _Joint:
        own = Vocabulary.of(texts, *Extent().least)
        places = {word.lower(): number for number, word in enumerate(base.words)}
        new = [number for number, word in enumerate(own.words) if number > END and word.lower() not in places]
        words = (*base.words, *[own.words[number] for number in new])
        places |= {own.words[number].lower(): len(base.words) + place for place, number in enumerate(new)}
        ids = np.array([START, END, *[places[word.lower()] for word in own.words[END + 1 :]]])
        pairs = np.concatenate([base.pairs, ids[own.pairs]])  # a pair of both is there twice, the sketch's own first
        codes, first = np.unique(pairs[:, 0] * np.int64(len(words)) + pairs[:, 1], return_index=True)
        split = np.stack([codes // len(words), codes % len(words)], axis=1).astype(np.int32)
        theirs, ours = base.priors, own.log_probs.astype(np.float16)
        of_pairs = np.concatenate([theirs[len(base.words) :], ours[len(own.words) :]])[first]
        priors = np.concatenate([theirs[: len(base.words)], ours[new], of_pairs])
        counts = np.ones(len(words) + len(split), np.int64)  # nobody asks: the priors are known
        return cls(Vocabulary(words, split, counts, len(counts)), len(base.priors), priors)

    def rows_of(self, sketch: Sketch) -> Tensor:
        """A sketch's table (R, K) for these words and pairs; zeros where it has no row."""
        words, pairs = self.vocabulary.words, self.vocabulary.pairs
        ids = np.array([START, END, *[sketch.ids[word] for word in words[END + 1 :]]])
        rows = np.concatenate([ids, sketch.pair_rows(ids[pairs[:, 0]], ids[pairs[:, 1]])])
        return torch.from_numpy(sketch.table)[np.maximum(rows, 0)] * torch.from_numpy(rows >= 0)[:, None]


def _mapped(problem: Regression, rows: Tensor, share: float, checked: Apart) -> Sketch:
    """With the rows (R, J) of another space mapped by what the texts show of both."""
    sums = bag_sums(rows, problem.bags)  # (N, J)
    given = torch.cat([sums, torch.full((len(sums), 1), CONSTANT)], dim=1).to(torch.float64)
    moments = given.T @ given
    ridge = share * moments.diagonal().mean() * torch.eye(len(moments), dtype=torch.float64)
    weights = torch.linalg.solve(moments + ridge, given.T @ problem.targets.to(torch.float64)).to(torch.float32)
    table = rows @ weights[:-1]
    table[START] += CONSTANT * weights[-1]  # every text has a start
    return _judged(problem, table, 0.0, checked)


def _less(problem: Regression, table: Tensor) -> Regression:
    """What a table leaves to be explained."""
    return replace(problem, targets=problem.targets - bag_sums(table, problem.bags))


def _judged(problem: Regression, table: Tensor, ridge: float, checked: Apart) -> Sketch:
    fit = Fit(texts=len(problem.targets), ridge=ridge, held_out=len(checked.texts), cosine=0.0)
    made = problem.sketch(table, fit)
    return replace(made, fit=fit.model_copy(update={"cosine": float(made.cosines(*checked).mean())}))
