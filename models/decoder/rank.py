"""Which of a row's candidates to keep.

decoder   log p(pieces | embedding) / pieces ** length_penalty, by default the mean: free
encoder   of the best few, the cosine of the text, embedded again, and the given vector: by far the best, and dearer
          than decoding

Consensus among the candidates and the PMI of text and embedding were measured, and ranked worse (docs/lab.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from unembed.errors import InputError
from unembed.models.decoder.candidates import Candidate, Candidates, Floats, Places
from unembed.models.decoder.needs import embeds
from unembed.models.decoder.pool import Flags, likelihood
from unembed.models.decoder.vectors import Vectors
from unembed.models.encoders.base import cosines
from unembed.models.encoders.registry import shared_encoder, why_not
from unembed.schemas import DecodeOptions, Precision, Ranking

# Cosines this near are one: an encoder that folds case gives "the sea" and "The sea" the same vector but for the last
# bits, which change with the batch. The likelier text is then taken.
TIE: Final = 1e-5


class Embedded:
    """Texts, embedded again as they are asked for; each of them once."""

    def __init__(self, encoder: str, precision: Precision = "float32") -> None:
        self._encoder, self._precision = encoder, precision
        self._known: dict[str, Vectors] = {}

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """(M, D) of texts (M,)."""
        if fresh := [text for text in dict.fromkeys(texts) if text not in self._known]:
            self._known |= zip(fresh, shared_encoder(self._encoder, self._precision).encode(fresh), strict=True)
        return np.stack([self._known[text] for text in texts])

    def cosines(self, texts: Sequence[str], vectors: Vectors) -> Floats:
        """(M,) of texts (M,) and vectors (M, D)."""
        return cosines(self.vectors(texts), vectors).astype(np.float64) if texts else np.empty(0)


@dataclass(frozen=True)
class Ranked:
    """The candidates of N rows, of each row the best first."""

    candidates: Candidates  # M
    scores: Floats  # (M,): what they were ranked by before any was embedded again
    round_trips: Floats | None  # (M,) cosines, or NaN where a text was not embedded again; None: none was
    borrowed: AbstractSet[tuple[int, str]] = frozenset()  # rows and texts that are a bank's, and not the network's

    @property
    def firsts(self) -> Places:
        """(N,): the place of each row's best."""
        return np.flatnonzero(np.diff(self.candidates.row, prepend=-1))

    @property
    def best(self) -> Candidates:
        """Of each row, (N,)."""
        return self.candidates.take(self.firsts)

    @property
    def best_borrowed(self) -> Flags:
        """(N,)"""
        pairs = ((int(self.candidates.row[place]), self.candidates.texts[place]) for place in self.firsts.tolist())
        return np.array([pair in self.borrowed for pair in pairs], dtype=np.bool_)

    @property
    def best_round_trips(self) -> Floats | None:
        """(N,)"""
        return None if self.round_trips is None else self.round_trips[self.firsts]

    def listed(self, row: int, source: str, bank: str = "") -> tuple[Candidate, ...]:
        """The candidates of one row, to be shown, each with the name of what wrote it."""
        begin, end = np.searchsorted(self.candidates.row, (row, row + 1)).tolist()
        return tuple(
            Candidate(
                self.candidates.texts[place],
                float(self.scores[place]),
                bank if (row, self.candidates.texts[place]) in self.borrowed else source,
                self._round_trip(place),
            )
            for place in range(begin, end)
        )

    def _round_trip(self, place: int) -> float | None:
        known = self.round_trips is not None and not np.isnan(self.round_trips[place])
        return float(self.round_trips[place]) if known and self.round_trips is not None else None


def ranking(options: DecodeOptions, *, sketched: bool) -> Ranking:
    """By what candidates are ranked: "auto" is the sketch where the decoder has one."""
    if options.rank_by == "auto":
        return "sketch" if sketched else "decoder"
    return options.rank_by


def embedder(options: DecodeOptions, encoder: str | None, precision: Precision) -> Embedded | None:
    """What embeds texts again; None where the options do not ask for it.

    Raises InputError when the encoder cannot run here.
    """
    if encoder is None or not (options.embed or options.round_trip):
        return None
    if (reason := why_not(encoder)) is None:
        return Embedded(encoder, precision)
    asked, without = embeds(options)
    raise InputError(f"{asked}, which needs the encoder {encoder!r}, but that {reason}; expected {without}")


def by_decoder(found: Candidates, options: DecodeOptions) -> Ranked:
    """Of equally likely texts, the one that was found first comes first."""
    scores = likelihood(found, options)
    order = np.lexsort((-scores, found.row))
    return Ranked(found.take(order), scores[order], None)


def nearest_of_best(ranked: Ranked, vectors: Vectors, embedded: Embedded, options: DecodeOptions) -> Ranked:
    """The same, but of the first `options.embed` of each row, embedded again, the nearest to its vector (N, D) first.

    The others follow in the order that they had.
    """
    found = ranked.candidates
    place = np.arange(len(found)) - ranked.firsts[found.row]  # (M,) within the row
    chosen = np.flatnonzero(place < options.embed)  # (K,)
    row = found.row[chosen]  # (K,)
    round_trips = np.full(len(found), np.nan)
    round_trips[chosen] = embedded.cosines([found.texts[one] for one in chosen.tolist()], vectors[row])
    return nearest_first(found, round_trips, ranked.scores, options)


def nearest_first(found: Candidates, round_trips: Floats, scores: Floats, options: DecodeOptions) -> Ranked:
    """Of each row those that were embedded again, by their cosines; then the others, by their scores (M,).

    `round_trips` (M,) is NaN where a text was not embedded. Of the nearest, and those as near, the likelier is first.
    """
    known = ~np.isnan(round_trips)  # (M,)
    nearest = np.full(int(found.row.max(initial=-1)) + 1, -np.inf)
    np.maximum.at(nearest, found.row[known], round_trips[known])  # (N,)
    tied = known & (round_trips >= nearest[found.row] - TIE)  # (M,)
    within = np.where(tied, -likelihood(found, options), np.where(known, -round_trips, -scores))  # (M,)
    order = np.lexsort((within, ~tied, ~known, found.row))
    return Ranked(found.take(order), scores[order], round_trips[order])


def embedded_again(ranked: Ranked, vectors: Vectors, embedded: Embedded) -> Ranked:
    """The same, in the same order, with the cosine of each row's best candidate and its vector (N, D)."""
    round_trips = np.full(len(ranked.candidates), np.nan)
    round_trips[ranked.firsts] = embedded.cosines(ranked.best.texts, vectors)
    return replace(ranked, round_trips=round_trips)
