"""What a search has found of each row so far, and how near the sketch takes each text to be.

A text is worth its mean log p and NEARNESS times the cosine of its sketch with the row's embedding: whether it reads
well, and whether it is about the right things. What the sketch does not know as a word, the network has nearly always
made up from pieces ("reaundry"), and it costs INVENTED.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from unembed.models.decoder.candidates import Candidates, Floats, Places, joined
from unembed.models.decoder.sketch import Sketch
from unembed.models.decoder.vectors import Vectors
from unembed.schemas import DecodeOptions

NEARNESS: Final = 20.0  # nats for a cosine of 1: docs/lab.md
INVENTED: Final = 0.5  # nats a word

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Pool:
    """The candidates of N rows, row after row, M in all."""

    candidates: Candidates
    sketches: Vectors  # (M, J): in the space that texts are judged in, at length 1
    unknown_words: Places  # (M,): how many words of it the sketch does not know
    edited: Flags  # (M,): the edits of it are among the candidates

    @classmethod
    def of(cls, found: Candidates, sketch: Sketch) -> Pool:
        bags, unknown_words = sketch.bags_and_unknown(found.texts)
        return cls(found, sketch.judged_bags(bags), unknown_words, np.zeros(len(found), dtype=np.bool_))

    def __len__(self) -> int:
        return len(self.candidates)

    def worth(self, queries: Vectors, options: DecodeOptions) -> Floats:
        """(M,), from the queries (N, J) of all rows."""
        nearness = np.einsum("mj,mj->m", self.sketches, queries[self.candidates.row])
        return np.asarray(self.readability(options) + NEARNESS * nearness)

    def readability(self, options: DecodeOptions) -> Floats:
        """(M,): what the network says of it, less what invented words cost."""
        return np.asarray(likelihood(self.candidates, options) - INVENTED * self.unknown_words)

    def as_edited(self, places: Places) -> Pool:
        edited = self.edited.copy()
        edited[places] = True
        return replace(self, edited=edited)

    def as_unedited(self) -> Pool:
        return replace(self, edited=np.zeros_like(self.edited))

    def with_more(self, more: Pool) -> Pool:
        """Each row's own, then those of the other pool."""
        order = np.argsort(np.concatenate((self.candidates.row, more.candidates.row)), kind="stable")
        return Pool(
            joined([self.candidates, more.candidates]),
            np.concatenate((self.sketches, more.sketches))[order],
            np.concatenate((self.unknown_words, more.unknown_words))[order],
            np.concatenate((self.edited, more.edited))[order],
        )


def likelihood(found: Candidates, options: DecodeOptions) -> Floats:
    """(M,): log p / pieces ** length_penalty, by default the mean over the pieces."""
    return np.asarray(found.log_prob / found.lengths**options.length_penalty)


def best_of_rows(row: Places, worth: Floats, most: int) -> Places:
    """The places of the `most` of each row that are worth most, best first, row after row; -inf is never among them."""
    order = np.lexsort((-worth, row))
    firsts = np.searchsorted(row[order], row[order])  # where each one's row begins
    kept = (np.arange(len(order)) - firsts < most) & np.isfinite(worth[order])
    return np.asarray(order[kept], dtype=np.int64)
