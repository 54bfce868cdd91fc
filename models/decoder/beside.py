"""Phrases of a bank beside a network's texts: they are known, and so are their embeddings.

A phrase that lies near a row's vector is a candidate like those that the network finds: it is ranked with them, and
edited. What the sketch errs on it is known without an encoder, and corrects the sketch for all texts that are like it
(`referee.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from unembed.models.decoder.candidates import Floats, Places
from unembed.models.decoder.vectors import Vectors

NEAREST: Final = 8  # phrases of a row: docs/lab.md
SAME: Final = 0.999  # from this cosine on the phrase is the text itself, or one that the encoder takes for it


@dataclass(frozen=True, eq=False)
class Beside:
    """P phrases of N rows, row after row, each row's nearest first."""

    bank: str  # its name
    row: Places  # (P,), ascending
    texts: tuple[str, ...]  # (P,)
    embeddings: Vectors  # (P, E), at length 1
    cosines: Floats  # (P,): with the row's vector

    def __len__(self) -> int:
        return len(self.texts)

    def of_rows(self, begin: int, end: int) -> Beside:
        """Those of some rows, which are counted from 0 again."""
        first, last = np.searchsorted(self.row, (begin, end)).tolist()
        part = slice(first, last)
        return Beside(self.bank, self.row[part] - begin, self.texts[part], self.embeddings[part], self.cosines[part])

    @cached_property
    def places(self) -> dict[tuple[int, str], int]:
        """Of each row and text, its place."""
        return {pair: place for place, pair in enumerate(zip(self.row.tolist(), self.texts, strict=True))}
