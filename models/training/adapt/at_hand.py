"""The pairs that a decoder is adapted to: read, looked through, and a share of them held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from unembed.corpus.stacked import usable
from unembed.errors import InputError
from unembed.models.decoder.vectors import Vectors
from unembed.models.evaluation.text_sets import Library, Say, TextSet
from unembed.models.training.checked_sets import read_checked
from unembed.models.training.recipe import Check

LEAST_PAIRS: Final = 50
LEAST_HELD_OUT: Final = 10
MOST_HELD_OUT: Final = 1000


@dataclass(frozen=True, eq=False)
class PairsAtHand:
    """N pairs to learn from and M others, in a random order."""

    texts: list[str]
    vectors: Vectors  # (N, D)
    held_out: list[str]
    held_out_vectors: Vectors  # (M, D)
    embedder: str | None = None  # whose vectors they are

    @property
    def pairs(self) -> int:
        return len(self.texts) + len(self.held_out)

    @classmethod
    def read(
        cls, sets: Sequence[TextSet], encoder: str | None, held_out: float, seed: int, say: Say, when: Check
    ) -> PairsAtHand:
        """Looked at first, as those of a training are. Raises what `of` and `read_checked` raise."""
        library = Library(encoder, None, say)
        checked = read_checked(sets, (), library, library, when, say)
        at_hand = cls.of(checked.texts, checked.vectors, held_out, seed, say)
        return replace(at_hand, embedder=library.embedder)

    @classmethod
    def of(cls, texts: Sequence[str], vectors: Vectors, held_out: float, seed: int, say: Say) -> PairsAtHand:
        """Raises InputError for too few different texts."""
        useful = usable(vectors)  # (N,): an encoder finds nothing in some texts
        if lost := int((~useful).sum()):
            say(f"leaving out {lost:,} texts without an embedding")
        seen: dict[str, int] = {}
        for row in np.flatnonzero(useful).tolist():
            seen.setdefault(texts[row], row)
        if again := int(useful.sum()) - len(seen):
            say(f"leaving out {again:,} texts that are there twice")
        if len(seen) < LEAST_PAIRS:
            raise InputError(
                f"{len(seen):,} different texts with embeddings are too few to adapt a decoder to; expected at least "
                f"{LEAST_PAIRS}, better 5,000"
            )
        rows = np.random.default_rng(seed).permutation(list(seen.values()))
        count = min(MOST_HELD_OUT, max(LEAST_HELD_OUT, round(held_out * len(rows))))
        apart, kept = np.split(rows, [count])
        return cls([texts[row] for row in kept], vectors[kept], [texts[row] for row in apart], vectors[apart])
