"""A decoder's sketch for another embedder: the words of a sketch that there is, with rows that pairs from there give.

Few pairs show few words. But what words do to an embedding is much alike from embedder to embedder, and words are much
like others: a table is fitted in which words that are alike have rows that are (alike_words.py). Sketches of other
decoders say more of how alike they are. Words that only the texts have get rows too.

What that leaves of the embeddings, the regression that makes any sketch explains, where there are more pairs than the
first fit takes, or texts whose embeddings are estimated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import normalize

from unembed.models.decoder.manifold import unit
from unembed.models.decoder.sketch import END, START, Fit, Sketch, bag_sums
from unembed.models.decoder.vectors import Vectors
from unembed.models.evaluation.text_sets import Say
from unembed.models.training.adapt.alike_words import Fitted, fit_alike
from unembed.models.training.adapt.dual_ridge import MOST_PAIRS
from unembed.models.training.sketch import Apart, Extent, Regression, directions, even, left_of, metric_of
from unembed.models.training.vocabulary import Vocabulary

RIDGES: Final = (30.0, 10.0, 3.0)  # of what it leaves; the quickest first: each solution is where the next one starts
OF_ESTIMATES: Final = 3.0  # where estimates are all that there is beside the first fit's pairs
CHECKED: Final = 0.1  # of the pairs, or so many:
MOST_CHECKED: Final = 1000


class Guesses(NamedTuple):
    """Texts with estimated embeddings (M, E)."""

    texts: list[str]
    vectors: Vectors


def map_sketch(
    base: Sketch,
    texts: Sequence[str],
    vectors: Vectors,
    say: Say,
    others: Sequence[Sketch] = (),
    guesses: Guesses | None = None,
) -> Sketch:
    """For an embedder whose embeddings of N texts (N, E) are given. Raises MissingExtraError without scipy."""
    guesses = guesses or Guesses([], np.zeros((0, vectors.shape[1]), np.float32))
    joint = _Joint.of(base, [*texts, *guesses.texts])
    basis = directions(vectors, np.arange(len(texts)), even(min(base.rank, vectors.shape[1])))
    first = _regression(texts, vectors, slice(MOST_PAIRS), joint, basis)
    begun = fit_alike(first, joint.vocabulary.words, [joint.rows_of(one) for one in (base, *others)])
    fit = Fit(texts=len(texts), ridge=begun.ridge, held_out=len(first.targets), cosine=_cosine(begun, first))
    say(f"fitted a sketch of {len(joint.priors):,} words and pairs: cosine {fit.cosine:.3f} on texts left out")
    table = begun.table
    if len(texts) > MOST_PAIRS:
        fit = _chosen(texts, vectors, joint, basis, table, fit)
        say(f"corrected by {len(texts):,} texts: cosine {fit.cosine:.3f} on {fit.held_out:,} of them")
    if len(texts) > MOST_PAIRS or guesses.texts:
        both = np.concatenate([unit(vectors), guesses.vectors]).astype(np.float32)
        whole = _regression([*texts, *guesses.texts], both, slice(None), joint, basis)
        table = table + _less(whole, table).solve(fit.ridge if len(texts) > MOST_PAIRS else OF_ESTIMATES)
    metric = metric_of(left_of(first.targets, begun.left_out), first.targets)
    return replace(first.sketch(table, fit), metric=metric, priors=joint.priors)


@dataclass(frozen=True, eq=False)
class _Joint:
    """The words and pairs of a sketch, and those of texts besides."""

    vocabulary: Vocabulary
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
        return cls(Vocabulary(words, split, counts, len(counts)), priors)

    def rows_of(self, sketch: Sketch) -> Tensor:
        """A sketch's table (R, K) for these words and pairs; zeros where it has no row."""
        words, pairs = self.vocabulary.words, self.vocabulary.pairs
        ids = np.array([START, END, *[sketch.ids[word] for word in words[END + 1 :]]])
        rows = np.concatenate([ids, sketch.pair_rows(ids[pairs[:, 0]], ids[pairs[:, 1]])])
        return torch.from_numpy(sketch.table)[np.maximum(rows, 0)] * torch.from_numpy(rows >= 0)[:, None]


def _regression(texts: Sequence[str], vectors: Vectors, some: slice, joint: _Joint, basis: Tensor) -> Regression:
    return Regression.of(texts, vectors, np.arange(len(texts))[some], joint.vocabulary, basis)


def _cosine(fitted: Fitted, problem: Regression) -> float:
    """Of what texts left out come to with their embeddings, mean."""
    return float((normalize(fitted.left_out) * problem.targets).sum(dim=1).mean())


def _chosen(texts: Sequence[str], vectors: Vectors, joint: _Joint, basis: Tensor, table: Tensor, fit: Fit) -> Fit:
    """The ridge of what a table leaves, the best one for some texts that are held out; not of those of the table."""
    apart = min(MOST_CHECKED, round(CHECKED * len(texts)), len(texts) - MOST_PAIRS)
    trial = _regression(texts, vectors, slice(-apart), joint, basis)
    checked = Apart([*texts[-apart:]], vectors[-apart:])
    left, correction, found = _less(trial, table), None, []
    for ridge in RIDGES:
        correction = left.solve(ridge, correction)
        cosine = float(trial.sketch(table + correction, fit).cosines(*checked).mean())
        found.append(Fit(texts=fit.texts, ridge=ridge, held_out=apart, cosine=cosine))
    return max(found, key=lambda one: one.cosine)


def _less(problem: Regression, table: Tensor) -> Regression:
    """What a table leaves to be explained."""
    return replace(problem, targets=problem.targets - bag_sums(table, problem.bags))
