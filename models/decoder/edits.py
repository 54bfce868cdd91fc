"""Edits of texts: words dropped, exchanged, put in and moved, so that the sketch comes nearer to a query.

Which edits are worth a look, the sketch says, and how usual the words are beside one another: the `key` of an edit is
its text's cosine with the query and WEIGHT times the mean log-prior of its words. Whether it reads well, the network
says later (`editing.py`): thousands of edits of a text are weighed for each that the network sees.

A sketch hardly sees words such as "to" and "the", without which a sentence is none. So the most usual words are tried
in every place besides, and weighed by how usual they are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from unembed.models.decoder.sketch import END, START, Sketch
from unembed.models.decoder.vectors import Vectors

WEIGHT: Final = 0.02
USUAL_WEIGHT: Final = 0.1  # the same, of edits of usual words
WEIGHTS: Final = (WEIGHT, WEIGHT, USUAL_WEIGHT)  # of each of `Breadth.kinds`
BACKOFF: Final = -1.5  # nats: how much less likely a word is after one that it was seldom seen after
# Nats, of a word that the sketch does not know. Far less likely than any that it does: such a word is nearly always
# invented, so the edit that is rid of it goes before others (docs/lab.md).
UNKNOWN_PRIOR: Final = -60.0

GLANCE: Final = 96  # numbers of a word, the first and longest, by which it comes on the shortlist: half the work

Integers = npt.NDArray[np.int32]


class Reading(NamedTuple):
    """How many edits of a row's texts the network reads, of each kind."""

    words: int
    order: int
    usual: int


READ: Final = Reading(3, 1, 4)  # more, and likelier texts win over nearer ones: docs/lab.md


@dataclass(frozen=True)
class Breadth:
    """How widely edits are looked for, and how many of them are read."""

    shortlist: int = 128  # words that point where a text lacks something
    apart: bool = False  # as many others are tried to be put in, whose length does not count against them
    exchanged: int = 4  # of the shortlist, in each word's place
    inserted: int = 8  # and between any two words
    most: int = 12  # edits of words to give of each text
    moved: int = 4  # and of order alone
    usual: int = 2000  # words that may be tried in every place, whatever they mean
    likeliest: int = 12  # of them, those that are: the likeliest there
    smoothed: int = 8  # edits of usual words to give of each text
    longest: int = 48  # words that a text may come to have
    read: Reading = READ

    @property
    def kinds(self) -> tuple[slice, slice, slice]:
        """Where a text's edits of each kind are among all that are given of it: of words, of order, of usual words."""
        ends = (self.most, self.most + self.moved, self.each)
        return slice(0, ends[0]), slice(ends[0], ends[1]), slice(ends[1], ends[2])

    @property
    def each(self) -> int:
        """Edits to give of each text, of all kinds."""
        return self.most + self.moved + self.smoothed


@dataclass(frozen=True)
class Edits:
    """Of each of M texts the best edits of each kind (`Breadth.kinds`), best first; S of all."""

    words: Integers  # (M, S, L): of an edited text each word is a place in the text it came of, or -1 - its id
    lengths: Integers  # (M, S): words; 0: there are no more
    keys: npt.NDArray[np.float32]  # (M, S): the higher the better


class Editor(Protocol):
    """Proposes edits of texts, by one sketch."""

    def edits(self, texts: Sequence[Sequence[int]], queries: Vectors, breadth: Breadth) -> Edits:
        """Of M texts, as ids of their words (-1: unknown), and what each is to come near to: queries (M, J), unit."""


def usual_words(sketch: Sketch) -> Integers:
    """The ids of the words that begin with a letter, the most usual by themselves first."""
    likeliest = np.argsort(-sketch.priors[: len(sketch.words)], kind="stable").tolist()
    found = [word for word in likeliest if word not in (START, END) and sketch.words[word][:1].isalpha()]
    return np.array(found, dtype=np.int32)
