"""What a decoder has done since it was made: counts, seconds, rates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Tally:
    """Sums over the calls of one decoder."""

    generations: int = 0
    tokens: int = 0
    decode_seconds: float = 0.0
    score_seconds: float = 0.0  # ranking and scores
    qualities: list[float] = field(default_factory=list)
    doubted: list[bool] = field(default_factory=list)  # of each of these qualities: its vector is off the manifold
    off_manifold: int = 0

    def add(
        self,
        tokens: Iterable[int],
        qualities: Sequence[float | None],
        decode_seconds: float,
        score_seconds: float,
        off_manifold: Sequence[bool | None] | None = None,
    ) -> None:
        """One call: pieces, overall_quality, and what is known of the vector, of each of its rows."""
        off = [False] * len(qualities) if off_manifold is None else [bool(one) for one in off_manifold]
        counts = list(tokens)
        self.generations += len(counts)
        self.tokens += sum(counts)
        self.decode_seconds += decode_seconds
        self.score_seconds += score_seconds
        self.qualities.extend(quality for quality in qualities if quality is not None)
        self.doubted.extend(one for quality, one in zip(qualities, off, strict=True) if quality is not None)
        self.off_manifold += sum(off)

    def report(self, floor: float) -> dict[str, Any]:
        """`quality_passed` counts the rows whose overall_quality is at least `floor`, and whose vector is not off the
        manifold."""
        seconds = self.decode_seconds + self.score_seconds
        return {
            "generations": self.generations,
            "tokens": self.tokens,
            "decode_seconds": self.decode_seconds,
            "score_seconds": self.score_seconds,
            "generations_per_second": self.generations / seconds if seconds else None,
            "mean_overall_quality": float(np.mean(self.qualities)) if self.qualities else None,
            "off_manifold": self.off_manifold,
            "quality_passed": sum(
                quality >= floor and not off for quality, off in zip(self.qualities, self.doubted, strict=True)
            ),
        }
