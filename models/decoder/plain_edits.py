"""Edits, proposed in NumPy: the reference of those in C++ (native/src/edits.h), which serves where these are missing.

Each edited text is summed anew, where the engine adds and takes away the few rows by which it differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from unembed.models.decoder.edits import (
    BACKOFF,
    GLANCE,
    UNKNOWN_PRIOR,
    WEIGHT,
    WEIGHTS,
    Breadth,
    Edits,
    Integers,
    usual_words,
)
from unembed.models.decoder.sketch import END, START, Bags, Ids, Sketch, bag_sums
from unembed.models.decoder.vectors import Vectors

LACK: Final = 0.7  # how much of what a text has already is taken from what words are looked for
LONG: Final = 0.3  # of a word's square, what it counts against the word
LONGEST_MOVED: Final = 3  # words that move together
_TINY: Final = 1e-12

Floats = npt.NDArray[np.float32]
Edit = list[int]  # an edited text: of each word its place in the text before, or -1 - its id


class PlainEditor:
    """By one sketch."""

    def __init__(self, sketch: Sketch) -> None:
        self._sketch = sketch
        self._words = sketch.judging[: len(sketch.words)]  # (W, J)
        self._squares = np.square(self._words).sum(axis=1)  # (W,)
        self._table = torch.from_numpy(sketch.judging)  # (R, J)
        self._priors = sketch.priors.astype(np.float32)  # (R,)
        self._usual = usual_words(sketch)

    def edits(self, texts: Sequence[Sequence[int]], queries: Vectors, breadth: Breadth) -> Edits:
        """As `Editor.edits`."""
        each, usual = breadth.each, self._usual[: breadth.usual]
        room = max([breadth.longest, *map(len, texts)])
        found = Edits(
            np.zeros((len(texts), each, room), dtype=np.int32),
            np.zeros((len(texts), each), dtype=np.int32),
            np.zeros((len(texts), each), dtype=np.float32),
        )
        for number, (text, query) in enumerate(zip(texts, queries, strict=True)):
            put_in, in_exchange = self._shortlists(text, query, breadth)
            of_words = [
                *self._fewer(text),
                *(self._more(text, query, put_in, breadth.inserted) if len(text) < breadth.longest else ()),
                *self._exchanged(text, query, in_exchange, breadth.exchanged),
            ]
            of_usual = list(self._smoothed(text, usual, breadth))
            tried = (of_words, list(moves(len(text))), of_usual)
            for kind, edits, weight in zip(breadth.kinds, tried, WEIGHTS, strict=True):
                keys = self.keys([applied(edit, text) for edit in edits], query, weight)
                self._keep(found, number, kind, keys, edits)
        return found

    def _keep(self, found: Edits, number: int, kind: slice, keys: Floats, tried: list[Edit]) -> None:
        """The best of those that were tried, as the edits of this kind of the text of this number."""
        for place, best in enumerate(np.argsort(-keys, kind="stable")[: kind.stop - kind.start], kind.start):
            edit = tried[best]
            found.words[number, place, : len(edit)] = edit
            found.lengths[number, place] = len(edit)
            found.keys[number, place] = keys[best]

    def keys(self, texts: Sequence[Sequence[int]], query: Floats, weight: float = WEIGHT) -> Floats:
        """Of C texts, as ids of their words: the cosine with the query (J,), and `weight` times the mean log-prior."""
        counts = np.array([len(text) for text in texts], dtype=np.int64)  # (C,)
        marked = [number for text in texts for number in (START, *text, END)]
        words = np.array(marked, dtype=np.int64)  # of all texts, one after the other
        ends = np.cumsum(counts + 2)
        second = np.delete(np.arange(len(words)), ends - counts - 2)  # places of all but the first marks
        pairs, priors = self._pair_priors(words[second - 1], words[second])
        rows = np.full((len(words), 2), -1, dtype=np.int64)
        rows[:, 0] = words
        rows[second, 1] = pairs
        sums = self._sums(rows, np.concatenate([[0], ends]))  # (C, J)
        mean = (
            np.add.reduceat(priors, np.concatenate([[0], np.cumsum(counts + 1)[:-1]])) / (counts + 1) if texts else 0.0
        )
        return np.asarray(cosines(sums, query) + weight * mean, dtype=np.float32)

    def _sums(self, rows: Ids, ends: Ids) -> Floats:
        """(C, J) of rows, -1 for none, that text c has from ends[c] to ends[c + 1]."""
        known = np.concatenate([[0], np.cumsum((rows >= 0).sum(axis=1))])
        return np.asarray(bag_sums(self._table, Bags(rows[rows >= 0], known[ends])).numpy())

    def _sum(self, text: Sequence[int], left_out: int | None = None) -> Floats:
        """(J,) of a text, without one of its words and that word's pairs."""
        words = np.array([START, *text, END], dtype=np.int64)
        pairs = np.append(self._sketch.pair_rows(words[:-1], words[1:]), -1)
        if left_out is not None:
            words[left_out + 1] = pairs[left_out] = pairs[left_out + 1] = -1
        rows = np.stack([words, pairs], axis=1)
        return np.asarray(self._sums(rows, np.array([0, len(rows)]))[0])

    def _shortlists(self, text: Sequence[int], query: Floats, breadth: Breadth) -> tuple[Ids, Ids]:
        """The words to be put in, and those to be tried in exchange for others, in the order of their ids.

        They are those that point most to where the text lacks something of the query. A long word that points there
        may turn the text further than it is to go: that counts against it, but among those that stand `apart`.
        """
        total = self._sum(text)
        share = (query @ total) / max(_TINY, float(total @ total))  # how much of the text its part along the query is
        wanted = query - LACK * share * total
        near = self._words[:, :GLANCE] @ wanted[:GLANCE]
        shortlist = _most(near - LONG * share * self._squares, breadth.shortlist)
        return _most(near, breadth.shortlist) if breadth.apart else shortlist, shortlist

    def _best_words(self, shortlist: Ids, base: Floats, query: Floats, most: int) -> list[int]:
        """Those that bring the sum `base` (J,) nearest to the query, their pairs apart."""
        near = cosines(base + self._words[shortlist], query)
        return [int(word) for word in shortlist[np.argsort(-near, kind="stable")[:most]]]

    def _fewer(self, text: Sequence[int]) -> Iterator[Edit]:
        if len(text) > 1:
            yield from (_spliced(len(text), at, at + 1) for at in range(len(text)))

    def _exchanged(self, text: Sequence[int], query: Floats, shortlist: Ids, most: int) -> Iterator[Edit]:
        for at in range(len(text)):
            for word in self._best_words(shortlist, self._sum(text, at), query, most):
                if word != text[at]:
                    yield _spliced(len(text), at, at + 1, word)

    def _smoothed(self, text: Sequence[int], usual: Integers, breadth: Breadth) -> Iterator[Edit]:
        """Usual words dropped, exchanged for one another, and put in wherever they are not already."""
        count, marked = len(text), [START, *text, END]
        for at in np.flatnonzero(np.isin(text, usual)).tolist():
            if count > 1:
                yield _spliced(count, at, at + 1)
            for word in self._likeliest(marked[at], marked[at + 2], usual, breadth.likeliest):
                if word != text[at]:
                    yield _spliced(count, at, at + 1, word)
        if count >= breadth.longest:
            return
        for at in range(count + 1):
            for word in self._likeliest(marked[at], marked[at + 1], usual, breadth.likeliest):
                if word not in marked[at : at + 2]:
                    yield _spliced(count, at, at, word)

    def _likeliest(self, left: int, right: int, usual: Integers, most: int) -> list[int]:
        """The usual words that are the likeliest between two others."""
        words = usual.astype(np.int64)  # (U,)
        _, here = self._pair_priors(np.full_like(words, left), words)
        _, after = self._pair_priors(words, np.full_like(words, right))
        likely = here + after  # (U,)
        return [int(word) for word in usual[np.argsort(-likely, kind="stable")[:most]]]

    def _pair_priors(self, first: Ids, second: Ids) -> tuple[Ids, Floats]:
        """Of C pairs of neighbours: the row of each, -1 for none, and the prior of its second word."""
        pairs = self._sketch.pair_rows(first, second)
        alone = np.where(second >= 0, self._priors[second] + np.float32(BACKOFF), np.float32(UNKNOWN_PRIOR))
        return pairs, np.where(pairs >= 0, self._priors[pairs], alone)

    def _more(self, text: Sequence[int], query: Floats, shortlist: Ids, most: int) -> Iterator[Edit]:
        for word in self._best_words(shortlist, self._sum(text), query, most):
            yield from (_spliced(len(text), at, at, word) for at in range(len(text) + 1))


def moves(count: int) -> Iterator[Edit]:
    """Up to LONGEST_MOVED neighbours of so many words put elsewhere; each order once.

    To move words backwards over a few others is to move those forwards over them.
    """
    for span in range(1, LONGEST_MOVED + 1):
        for at in range(count - span + 1):
            moved, rest = list(range(at, at + span)), [*range(at), *range(at + span, count)]
            for to in range(len(rest) + 1):
                if to > at or to < at - LONGEST_MOVED:
                    yield rest[:to] + moved + rest[to:]


def _spliced(count: int, begin: int, end: int, *words: int) -> Edit:
    """A text of so many words, with these words in place of those from `begin` to before `end`."""
    return [*range(begin), *(-1 - word for word in words), *range(end, count)]


def applied(edit: Sequence[int], text: Sequence[int]) -> list[int]:
    """The ids of the edited text's words."""
    return [text[word] if word >= 0 else -1 - word for word in edit]


def _most(near: Floats, most: int) -> Ids:
    """The words (W,) that are nearest, in the order of their ids, without the marks."""
    chosen = np.sort(np.argsort(-near, kind="stable")[:most])
    return np.asarray(chosen[(chosen != START) & (chosen != END)])


def cosines(sums: Floats, query: Floats) -> Floats:
    """(C,) of sums (C, J) with a query (J,) of length 1."""
    return np.asarray(sums @ query / np.sqrt(np.maximum(np.square(sums).sum(axis=1), _TINY)))
