"""What a decoder has done since it was made: counts, seconds, rates."""

from __future__ import annotations

from collections.abc import Iterable
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

    def add(
        self, tokens: Iterable[int], qualities: Iterable[float | None], decode_seconds: float, score_seconds: float
    ) -> None:
        """One call: pieces and overall_quality of each of its rows."""
        counts = list(tokens)
        self.generations += len(counts)
        self.tokens += sum(counts)
        self.decode_seconds += decode_seconds
        self.score_seconds += score_seconds
        self.qualities.extend(quality for quality in qualities if quality is not None)

    def report(self, floor: float) -> dict[str, Any]:
        """`quality_passed` counts the rows whose overall_quality is at least `floor`."""
        seconds = self.decode_seconds + self.score_seconds
        return {
            "generations": self.generations,
            "tokens": self.tokens,
            "decode_seconds": self.decode_seconds,
            "score_seconds": self.score_seconds,
            "generations_per_second": self.generations / seconds if seconds else None,
            "mean_overall_quality": float(np.mean(self.qualities)) if self.qualities else None,
            "quality_passed": sum(quality >= floor for quality in self.qualities),
        }
