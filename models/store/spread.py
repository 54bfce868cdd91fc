"""How the quality of a batch's rows is spread: fine enough to find a job's best and worst rows without reading all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import pyarrow as pa

STEPS: Final = 50  # buckets of overall_quality, from 0 to 1
_SLACK: Final = 1e-9  # a bound is a little further out than its bucket: rounding must not leave a row out

Side = Literal["best", "worst"]


def spread_of(rows: pa.RecordBatch) -> list[int]:
    """How many rows there are in each bucket of overall_quality; those without one are in none."""
    quality = rows.column("overall_quality").drop_null().to_numpy(zero_copy_only=False)
    within = np.clip(quality[np.isfinite(quality)], 0.0, 1.0)  # what is not finite is stored as none
    places = np.minimum((within * STEPS).astype(int), STEPS - 1)
    return [int(count) for count in np.bincount(places, minlength=STEPS)]


def together(spreads: Sequence[Sequence[int]]) -> list[int]:
    """The spread of all rows of several batches."""
    return [int(count) for count in np.sum(spreads, axis=0)] if spreads else [0] * STEPS


def bound(spread: Sequence[int], side: Side, rows: int) -> float:
    """An overall_quality that at least so many rows reach from this side, if there are so many; few others do."""
    from_here = spread[::-1] if side == "best" else spread
    whole = np.flatnonzero(np.cumsum(from_here) >= rows)
    buckets = int(whole[0]) + 1 if whole.size else STEPS
    return 1 - buckets / STEPS - _SLACK if side == "best" else buckets / STEPS + _SLACK
