"""The encoder as a referee: the few texts that it embeds say where the sketch errs.

Texts that differ by a word or two share most of that error. For each text that was embedded, what its true embedding
has beyond its sketch is known; for the others of the row it is estimated from those, the more alike the more (a
Gaussian process, whose kernel is a power of the sketches' cosine). With it, the sketch ranks the texts that were not
embedded, and edits go on from the nearest ones towards what they really lack.

This is the loop of vec2text (Morris et al. 2023, arXiv 2310.06816), with a sketch in place of most of the embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from unembed.models.decoder.candidates import Candidates, Floats, Places
from unembed.models.decoder.sketch import Sketch
from unembed.models.decoder.vectors import Vectors

POWER: Final = 2  # of the sketches' cosine: how fast what one text says of another fades
NOISE: Final = 0.05  # of the estimate
SURENESS: Final = 30.0  # nats for a cosine of 1, once errors are known


@dataclass(frozen=True)
class Verdicts:
    """Of each of M candidates: its embedding in the space that texts are judged in, and its true cosine."""

    embedded: Vectors  # (M, J), at length 1; NaN where it was not embedded
    cosines: Floats  # (M,): with the row's vector; NaN where it was not embedded

    @classmethod
    def none(cls, count: int, width: int) -> Verdicts:
        return cls(np.full((count, width), np.nan, dtype=np.float32), np.full(count, np.nan))

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """(M,)"""
        return ~np.isnan(self.cosines)

    def with_more(self, places: Places, embeddings: Vectors, cosines: Floats, sketch: Sketch) -> Verdicts:
        """Also of the candidates at these places (K,), whose embeddings (K, E) and cosines (K,) are given."""
        embedded, known = self.embedded.copy(), self.cosines.copy()
        embedded[places], known[places] = sketch.queries(embeddings), cosines
        return Verdicts(embedded, known)

    def moved(self, before: Candidates, after: Candidates) -> Verdicts:
        """The same of a pool that has grown: each row's own come first in it."""
        places = (
            np.searchsorted(after.row, before.row) + np.arange(len(before)) - np.searchsorted(before.row, before.row)
        )
        grown = Verdicts.none(len(after), self.embedded.shape[1])
        grown.embedded[places], grown.cosines[places] = self.embedded, self.cosines
        return grown


def errors(sketches: Vectors, verdicts: Verdicts, row: Places) -> Vectors:
    """What each candidate's embedding is likely to have beyond its sketch (M, J): (M, J)."""
    found = np.zeros_like(sketches)
    known = verdicts.known
    for begin, end in _stretches(row):
        own = begin + np.flatnonzero(known[begin:end])  # (K,)
        if len(own):
            seen = sketches[own]
            alike = _kernel(seen, seen) + NOISE * np.eye(len(own), dtype=np.float32)  # (K, K)
            beyond = np.linalg.solve(alike, verdicts.embedded[own] - seen)  # (K, J)
            found[begin:end] = _kernel(sketches[begin:end], seen) @ beyond
    return found


def estimated(sketches: Vectors, beyond: Vectors, queries: Vectors) -> Floats:
    """The cosine of each candidate (M,) with its query (M, J), its sketch corrected by what it errs."""
    corrected = sketches + beyond
    lengths = np.maximum(np.linalg.norm(corrected, axis=1), 1e-12)
    return np.asarray(np.einsum("mj,mj->m", corrected, queries) / lengths, dtype=np.float64)


def aims(queries: Vectors, beyond: Vectors) -> Vectors:
    """What the sketches of edited texts should come near to, at length 1: (M, J)."""
    aimed = queries - beyond
    return np.asarray(aimed / np.maximum(np.linalg.norm(aimed, axis=1, keepdims=True), 1e-12), dtype=np.float32)


def stages(embed: int) -> list[int]:
    """How many texts of each row are embedded before the first correction, and after each."""
    first, each = 2 + embed // 8, max(1, embed // 8)
    shares = [min(embed, first)]
    while (left := embed - sum(shares)) > 0:
        shares.append(min(each, left))
    return shares


def _kernel(left: Vectors, right: Vectors) -> Vectors:
    return np.asarray(np.maximum(left @ right.T, 0.0) ** POWER, dtype=np.float32)


def _stretches(row: Places) -> list[tuple[int, int]]:
    """Where each row's candidates begin and end."""
    begins = np.flatnonzero(np.diff(row, prepend=-1))
    return list(zip(begins.tolist(), [*begins[1:].tolist(), len(row)], strict=True))
