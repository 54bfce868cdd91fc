"""The words and pairs of neighbouring words of many texts that were seen often enough to learn something of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from unembed.models.decoder.sketch import END, MARKS, START, UNKNOWN
from unembed.models.decoder.words import capitalised, ends_sentence, is_mark, split, surfaces
from unembed.models.training.chunks import chunks


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """W words and P pairs, as a sketch has them: R = W + P rows."""

    words: tuple[str, ...]  # the marks of the ends, then the commonest first
    pairs: npt.NDArray[np.int32]  # (P, 2): ids of words, in order
    counts: npt.NDArray[np.int64]  # (R,): how often each was seen; the marks once a text
    total: int  # words seen, those that are not among these and the ends of texts included

    @property
    def rows(self) -> int:
        return len(self.words) + len(self.pairs)

    @property
    def bytes(self) -> int:
        """In a file."""
        return sum(len(word.encode()) + 3 for word in self.words) + self.pairs.nbytes

    @property
    def log_probs(self) -> npt.NDArray[np.float64]:
        """Of each word among all words and ends of texts, of each pair's second word after its first: (R,)."""
        before = np.full(self.rows, self.total)
        before[START] = self.counts[START]  # each text has one
        before[len(self.words) :] = self.counts[self.pairs[:, 0]]
        return np.asarray(np.log(self.counts / before))

    @classmethod
    def of(cls, texts: Sequence[str], least_word: int, least_pair: int) -> Vocabulary:
        """Words and pairs that were seen so many times."""
        within, first = _written(texts)
        counts: Counter[str] = Counter()
        ways: dict[str, str] = {}  # how each is commonest within a sentence
        for surface, count in within.most_common():
            counts[surface.lower()] += count
            ways.setdefault(surface.lower(), surface)
        for surface, count in first.most_common():
            key = surface.lower()
            counts[key] += count
            # A word that is only ever seen in front may owe its capital to that.
            ways.setdefault(key, key if surface == capitalised(key) else surface)
        kept = sorted((-count, key) for key, count in counts.items() if count >= least_word)
        words = (*MARKS, *[ways[key] for _, key in kept])
        seen = [len(texts), len(texts), *[-count for count, _ in kept]]
        ids = {key: END + 1 + place for place, (_, key) in enumerate(kept)}
        codes, together = _pairs(texts, ids)
        often = together >= least_pair
        pairs = np.stack([codes[often] // len(words), codes[often] % len(words)], axis=1).astype(np.int32)
        return cls(words, pairs, np.concatenate([seen, together[often]]), counts.total() + len(texts))

    def within(self, rows: int, pair_worth: float) -> Vocabulary:
        """The commonest words and pairs, so many of both together; a pair counts as a share of a word."""
        if self.rows <= rows:
            return self
        worth = self.counts.astype(np.float64)
        worth[: len(MARKS)] = np.inf
        worth[len(self.words) :] *= pair_worth
        chosen = np.zeros(self.rows, dtype=bool)
        chosen[np.argsort(-worth, kind="stable")[:rows]] = True
        words, pairs = chosen[: len(self.words)], chosen[len(self.words) :]
        pairs &= words[self.pairs].all(axis=1)
        new_ids = np.cumsum(words, dtype=np.int32) - 1
        return Vocabulary(
            tuple(word for word, keep in zip(self.words, words, strict=True) if keep),
            new_ids[self.pairs[pairs]],
            self.counts[np.concatenate([words, pairs])],
            self.total,
        )


def _written(texts: Sequence[str]) -> tuple[Counter[str], Counter[str]]:
    """How often each way to write a word was seen within a sentence, and at the beginning of one."""
    within: Counter[str] = Counter()
    first: Counter[str] = Counter()
    for text in texts:
        words = split(text)
        begins = True
        for word in words:
            (first if begins else within)[word.surface] += 1
            begins = ends_sentence(word) or (begins and is_mark(word.surface))
    return within, first


def _pairs(texts: Sequence[str], ids: dict[str, int]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Each pair of neighbours that both have an id, as left · W + right, in order, and how often it was seen."""
    size = len(ids) + len(MARKS)
    codes, counts = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    for some in chunks(texts):
        found = ([START, *[ids.get(surface.lower(), UNKNOWN) for surface in surfaces(text)], END] for text in some)
        words = np.fromiter(chain.from_iterable(found), np.int64)
        left, right = words[:-1], words[1:]
        both = (left >= 0) & (right >= 0) & (left != END)  # an end and the next text's start are no neighbours
        seen = np.concatenate([codes, left[both] * size + right[both]])
        weights = np.concatenate([counts, np.ones(int(both.sum()), dtype=np.int64)])
        codes, places = np.unique(seen, return_inverse=True)
        counts = np.bincount(places, weights).astype(np.int64)
    return codes, counts
