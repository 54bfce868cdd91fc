"""What to expect of a training: how good, and for how long. The numbers are measured (docs/lab.md, section 49)."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# Texts trained on, and the word F1 that came of them: of everyday sentences, decoded by default.
WORD_F1: Final = ((500, 0.07), (2_000, 0.26), (247_455, 0.75))
# The same of `unembed adapt`, the mean of three embedders (docs/adapting.md); of 50 texts, E5 alone.
ADAPTED_WORD_F1: Final = ((50, 0.14), (200, 0.27), (1_000, 0.49), (5_000, 0.60), (20_000, 0.65), (100_000, 0.68))
FEW_STEPS: Final = 500  # of a run from nothing: with fewer, nothing but the commonest words is learnt


@dataclass(frozen=True)
class Outlook:
    """What is known of a run before it begins."""

    texts: int
    steps: int  # that are left
    pieces: int  # that are left
    pieces_per_second: float  # measured on a few steps
    most_seconds: float | None  # that are left, where the recipe has an end in time
    base: str | None  # the decoder that it starts from

    @property
    def seconds(self) -> float:
        """Of training; without the reports in between, and what follows."""
        needed = self.pieces / self.pieces_per_second
        return needed if self.most_seconds is None else min(needed, self.most_seconds)

    @property
    def steps_in_time(self) -> int:
        return round(self.steps * self.seconds * self.pieces_per_second / max(1, self.pieces))


def expected_word_f1(texts: int) -> float:
    """An estimate, between what was measured for fewer texts and for more: by the logarithm of their number."""
    return _between(WORD_F1, texts)


def expected_of_adapting(texts: int) -> float:
    """The same of a decoder that is adapted to so many texts."""
    return _between(ADAPTED_WORD_F1, texts)


def _between(measured: Sequence[tuple[int, float]], texts: int) -> float:
    numbers = [number for number, _ in measured]
    if texts <= numbers[0]:
        return measured[0][1]
    if texts >= numbers[-1]:
        return measured[-1][1]
    after = bisect_right(numbers, texts)
    (fewer, low), (more, high) = measured[after - 1], measured[after]
    return low + (high - low) * math.log(texts / fewer) / math.log(more / fewer)
