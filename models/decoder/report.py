"""What a decoder has done since it was made: counts, seconds, rates, in the same memory after any number of rows."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from unembed.generations import Decoded, flags, floats

BINS: Final = 1000  # of overall_quality; a floor counts as the next thousandth
_EDGES: Final = np.arange(BINS + 1) / BINS


class DecodeStatistics:
    """Sums over the calls of one decoder."""

    def __init__(self) -> None:
        self._generations = self._tokens = self._scored = self._off_manifold = 0
        self._decode_ms = self._score_ms = self._quality = 0.0
        # How many rows have an overall_quality of this many thousandths, or up to one more; without those that are off
        # the manifold.
        self._histogram = np.zeros(BINS + 1, dtype=np.int64)

    def add(self, decoded: Decoded) -> None:
        """The rows of one call."""
        rows = decoded.rows
        self._generations += rows.num_rows
        self._decode_ms += decoded.decode_ms
        self._score_ms += decoded.score_ms
        self._tokens += int(np.nansum(floats(rows["tokens"])))
        off = flags(rows["off_manifold"])  # (N,)
        quality = floats(rows["overall_quality"])  # (N,)
        known = ~np.isnan(quality)  # (N,)
        self._off_manifold += int(off.sum())
        self._scored += int(known.sum())
        self._quality += float(quality[known & ~off].sum())  # a row off the manifold reports 0
        places = np.searchsorted(_EDGES, quality[known & ~off], side="right") - 1
        self._histogram += np.bincount(places, minlength=BINS + 1)

    def report(self, floor: float) -> dict[str, Any]:
        """`quality_passed` counts the rows whose overall_quality is at least `floor`, and whose vector is not off the
        manifold."""
        seconds = (self._decode_ms + self._score_ms) / 1000.0
        return {
            "generations": self._generations,
            "tokens": self._tokens,
            "decode_seconds": self._decode_ms / 1000.0,
            "score_seconds": self._score_ms / 1000.0,
            "generations_per_second": self._generations / seconds if seconds else None,
            "mean_overall_quality": self._quality / self._scored if self._scored else None,
            "off_manifold": self._off_manifold,
            "quality_passed": int(self._histogram[np.searchsorted(_EDGES, floor) :].sum()),
        }
