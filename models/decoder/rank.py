"""Which of a row's candidates to keep.

encoder   the cosine of the candidate, embedded again, and the given vector: by far the best, and dearer than decoding
decoder   log p(pieces | embedding) / pieces ** length_penalty, by default the mean: free

Consensus among the candidates and the PMI of text and embedding were measured, and ranked worse (docs/lab.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from unembed.errors import InputError
from unembed.models.decoder.base import Candidate
from unembed.models.decoder.encoder import cosines, is_installed, shared_encoder
from unembed.models.decoder.search import Draft
from unembed.models.decoder.vectors import Vectors
from unembed.schemas import DecodeOptions, Ranking

# Cosines this near are one: an encoder that folds case gives "the sea" and "The sea" the same vector but for the last
# bits, which change with the batch. The likelier text is then taken.
TIE: Final = 1e-5


class Embedded:
    """Texts, embedded again as they are asked for; each of them once."""

    def __init__(self, encoder: str) -> None:
        self._encoder = encoder
        self._known: dict[str, Vectors] = {}

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """(M, D) of texts (M,)."""
        if fresh := [text for text in dict.fromkeys(texts) if text not in self._known]:
            self._known |= zip(fresh, shared_encoder(self._encoder).encode(fresh), strict=True)
        return np.stack([self._known[text] for text in texts])

    def cosines(self, texts: Sequence[str], vectors: Vectors) -> list[float]:
        """Of texts (M,) and vectors (M, D)."""
        return [float(value) for value in cosines(self.vectors(texts), vectors)] if texts else []


@dataclass(frozen=True)
class Ranked:
    """The candidates of a row, the best first."""

    best: Draft
    candidates: tuple[Candidate, ...]


def ranking(options: DecodeOptions, encoder: str | None) -> Ranking:
    """By what candidates are ranked: "auto" is the encoder where it is at hand. Raises InputError when it is asked for
    and the decoder names none."""
    if options.rank_by == "encoder" and encoder is None:
        raise InputError("rank_by is 'encoder', but the decoder names no encoder; expected 'decoder' or 'auto'")
    if options.rank_by == "auto":
        return "encoder" if encoder is not None and is_installed(encoder) else "decoder"
    return options.rank_by


def by_decoder(found: Sequence[Sequence[Draft]], options: DecodeOptions, source: str) -> list[Ranked]:
    ranked = []
    for row in found:
        order = sorted(row, key=lambda one: -_score(one, options))  # stable: the first of equals
        candidates = tuple(Candidate(one.text, _score(one, options), source) for one in order)
        ranked.append(Ranked(order[0], candidates))
    return ranked


def by_encoder(
    found: Sequence[Sequence[Draft]], vectors: Vectors, embedded: Embedded, options: DecodeOptions, source: str
) -> list[Ranked]:
    """`vectors` (N, D) are those that were decoded."""
    texts = [one.text for row in found for one in row]
    owners = np.repeat(np.arange(len(found)), [len(row) for row in found])  # (M,)
    scores = iter(embedded.cosines(texts, vectors[owners]))
    ranked = []
    for row in found:
        pairs = [(next(scores), one) for one in row]
        floor = max(score for score, _ in pairs) - TIE
        pairs.sort(key=lambda pair: (pair[0] < floor, -_score(pair[1], options) if pair[0] >= floor else -pair[0]))
        candidates = tuple(Candidate(one.text, score, source, score) for score, one in pairs)
        ranked.append(Ranked(pairs[0][1], candidates))
    return ranked


def embedded_again(ranked: Sequence[Ranked], vectors: Vectors, embedded: Embedded) -> list[Ranked]:
    """The same, in the same order, with the cosine of each best candidate and its vector (N, D)."""
    cosines = embedded.cosines([row.best.text for row in ranked], vectors)
    return [
        replace(row, candidates=(replace(row.candidates[0], round_trip=cosine), *row.candidates[1:]))
        for row, cosine in zip(ranked, cosines, strict=True)
    ]


def _score(one: Draft, options: DecodeOptions) -> float:
    return float(one.log_prob / len(one.ids) ** options.length_penalty)
