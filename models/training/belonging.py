"""Whether vectors belong to their texts: the commonest mistake is that they do not, and nothing else tells of it.

Vectors are estimated from the words of a few hundred texts, by a kernel ridge regression on hashed words and their
letters, fitted to some more. Where pairs are right, the estimate for a text is nearer to its own vector than to those
of other texts in 96 to 99.9 % of comparisons, whatever the kind of text, and in 90 % and more with only 200 texts;
where they are not, in half of them (docs/lab.md, section 49).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from unembed.models.decoder.vectors import Vectors

LEAST: Final = 200  # rows; of fewer nothing can be said
RIGHT: Final = 0.7  # share of comparisons; half is chance
FITTED: Final = 1500  # rows
TRIED: Final = 500  # rows
OFFSETS: Final = (1, -1, 2, -2)  # rows by which texts and vectors may be out of step
_BLOCKS: Final = 10
_EACH: Final = 25  # rows tried in a block, at least
_FEATURES: Final = 4096
_LETTERS: Final = 400  # of a text that are looked at
_RIDGE: Final = 1.0
_WORD: Final = re.compile(r"\w+")
_TINY: Final = 1e-9

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Belonging:
    """How well the vectors of N texts fit them."""

    share: float  # of comparisons in which an estimate is nearer to its own vector: 1 where it always is, 0.5 by chance
    cosine: float  # between estimates and their own vectors, mean; both from the mean vector
    others: float  # and those of other texts
    wrong_rows: tuple[int, int] | None = None  # where a stretch of rows does not fit while the rest does
    offset: int = 0  # rows by which the vectors come later, where they fit then

    @property
    def right(self) -> bool:
        return self.share >= RIGHT and self.wrong_rows is None


@dataclass(frozen=True, eq=False)
class Estimator:
    """Estimates vectors from texts, from the mean."""

    weights: Floats  # (F,): of the features
    fitted: Floats  # (n, F): of the texts that it was fitted to
    solution: Floats  # (n, D)
    mean: Floats  # (D,)

    @classmethod
    def fit(cls, texts: Sequence[str], vectors: Floats) -> Self:
        """To n texts and their vectors (n, D) of length 1."""
        seen = _features(texts)
        weights = np.log(len(texts) / np.maximum((seen > 0).sum(axis=0), 1.0)).clip(0.1).astype(np.float32)
        features = _unit(seen * weights)
        mean = vectors.mean(axis=0)
        kernel = features @ features.T + _RIDGE * np.eye(len(texts), dtype=np.float32)
        return cls(weights, features, np.linalg.solve(kernel, vectors - mean).astype(np.float32), mean)

    def __call__(self, texts: Sequence[str]) -> Floats:
        """(n, D) of length 1."""
        return _unit(_unit(_features(texts) * self.weights) @ self.fitted.T @ self.solution)

    def places(self, texts: Sequence[str], vectors: Floats) -> tuple[Floats, float, float]:
        """For each of n texts the share of the other vectors (n, D) that are farther from its estimate than its own;
        and the mean cosines with its own and with the others."""
        cosines = self(texts) @ _unit(vectors - self.mean).T  # (n, n)
        own, others = np.diag(cosines)[:, None], len(texts) - 1
        nearer = ((own > cosines).sum(axis=1) + ((own == cosines).sum(axis=1) - 1) / 2) / others  # equal texts: half
        return nearer.astype(np.float32), float(own.mean()), float((cosines.sum() - own.sum()) / len(texts) / others)


def belonging(texts: Sequence[str], vectors: Vectors) -> Belonging | None:
    """Of N texts and their vectors (N, D), the lengths of which are nothing; None where they are too few."""
    estimator = estimator_of(texts, vectors)
    return None if estimator is None else belonging_by(estimator, texts, vectors)


def belonging_by(estimator: Estimator, texts: Sequence[str], vectors: Vectors) -> Belonging:
    """The same by what `estimator_of` has fitted to them."""
    fitted, tried = _drawn(len(texts))
    learnt = [texts[row] for row in fitted]
    nearer, cosine, others = _places(estimator, texts, vectors, tried)
    share = float(nearer.mean())
    if share < RIGHT:
        shifted = ((k, Estimator.fit(learnt, units(vectors, fitted + k))) for k in OFFSETS)
        offset = next((k for k, other in shifted if _fits(other, k, texts, vectors, tried)), 0)
        return Belonging(share, cosine, others, offset=offset)
    wrong = _wrong_stretch(tried, nearer, len(texts))
    if wrong is None:
        return Belonging(share, cosine, others)
    inside = tried[(tried >= wrong[0]) & (tried < wrong[1])]
    offset = next((k for k in OFFSETS if _fits(estimator, k, texts, vectors, inside)), 0)
    return Belonging(share, cosine, others, wrong, offset)


def estimator_of(texts: Sequence[str], vectors: Vectors) -> Estimator | None:
    """Fitted to some of N texts, for the vectors of others, theirs or another set's; None where they are too few."""
    if len(texts) < LEAST:
        return None
    fitted, _ = _drawn(len(texts))
    return Estimator.fit([texts[row] for row in fitted], units(vectors, fitted))


def units(vectors: Vectors, rows: Rows) -> Floats:
    """Some of the vectors, at length 1."""
    return _unit(np.asarray(vectors[rows], np.float32))


def _places(estimator: Estimator, texts: Sequence[str], vectors: Vectors, rows: Rows) -> tuple[Floats, float, float]:
    return estimator.places([texts[row] for row in rows], units(vectors, rows))


def _fits(estimator: Estimator, offset: int, texts: Sequence[str], vectors: Vectors, rows: Rows) -> bool:
    """Whether the texts of these rows have the vectors so many rows later."""
    nearer, _, _ = estimator.places([texts[row] for row in rows], units(vectors, rows + offset))
    return float(nearer.mean()) >= RIGHT


def _drawn(count: int) -> tuple[Rows, Rows]:
    """Rows to fit and rows to try, the latter in order; none so near to an end that an offset leads beyond it."""
    edge = max(map(abs, OFFSETS))
    drawn = np.random.default_rng(0).permutation(np.arange(edge, count - edge))[: FITTED + TRIED]
    held_out = min(TRIED, len(drawn) // 4)
    return np.sort(drawn[held_out:]), np.sort(drawn[:held_out])


def _wrong_stretch(tried: Rows, nearer: Floats, count: int) -> tuple[int, int] | None:
    """The rows from the first to the last block of those in which vectors do not belong to their texts."""
    blocks = min(_BLOCKS, len(tried) // _EACH)
    parts = np.array_split(np.arange(len(tried)), max(1, blocks))
    bad = [place for place, part in enumerate(parts) if nearer[part].mean() < RIGHT]
    if not bad:
        return None
    first, last = parts[bad[0]], parts[bad[-1]]
    begin = 0 if bad[0] == 0 else int(tried[first[0]])
    return begin, count if bad[-1] == len(parts) - 1 else int(tried[last[-1]]) + 1


def _features(texts: Sequence[str]) -> Floats:
    """How often each word, and each three letters of one, are in each of n texts: (n, F), hashed."""
    found = np.zeros((len(texts), _FEATURES), np.float32)
    for row, text in enumerate(texts):
        for word in _WORD.findall(text[:_LETTERS].casefold()):
            found[row, _place(word)] += 1.0
            marked = f"<{word}>"
            for start in range(len(marked) - 2):
                found[row, _place(marked[start : start + 3])] += 0.3
    return found


def _place(feature: str) -> int:
    return zlib.crc32(feature.encode("utf-8", "surrogatepass")) % _FEATURES


def _unit(rows: npt.NDArray[np.floating]) -> Floats:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _TINY), np.float32)
