"""The letters of words, some in a row: words that are alike in them mostly mean something alike."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from unembed.errors import MissingExtraError

LETTERS: Final = (2, 3, 4)  # in a row, of a word between its two spaces
PLACES: Final = 1 << 18  # that they are hashed to

Floats = npt.NDArray[np.float32]
Sparse = Any  # scipy's rows: scipy has no types


def sparse() -> Any:
    """scipy.sparse. Raises MissingExtraError without scipy."""
    try:
        return import_module("scipy.sparse")
    except ImportError:
        raise MissingExtraError.of("scipy", "train") from None


def counted(texts: Sequence[str]) -> Sparse:
    """1 + log of how often each place is taken by the letters of each of M texts: (M, PLACES).

    Raises MissingExtraError without scipy.
    """
    found = [Counter(chain.from_iterable(map(_places, text.lower().split()))) for text in texts]
    starts = np.concatenate([[0], np.cumsum([len(one) for one in found])])
    places = np.fromiter(chain.from_iterable(found), np.int64, starts[-1])
    counts = np.fromiter(chain.from_iterable(one.values() for one in found), np.float32, starts[-1])
    return sparse().csr_matrix((1.0 + np.log(counts), places, starts), shape=(len(texts), PLACES))


def rarity_of(letters: Sparse) -> Floats:
    """Of each place, by how few of M texts take it: (PLACES,)."""
    seen = np.bincount(letters.indices, minlength=PLACES)
    return np.asarray(np.log((1 + letters.shape[0]) / (1 + seen)) + 1.0, np.float32)


def weighted(letters: Sparse, rarity: Floats) -> Sparse:
    """At length 1, each place by how rare it is; a text without letters is zero."""
    found = letters.multiply(rarity[None, :]).tocsr()
    lengths = np.sqrt(np.asarray(found.multiply(found).sum(axis=1)).ravel()).clip(1e-9)
    found.data = (found.data / np.repeat(lengths, np.diff(found.indptr))).astype(np.float32)
    return found


@lru_cache(maxsize=100_000)
def _places(word: str) -> tuple[int, ...]:
    marked = f" {word} "
    return tuple(
        zlib.crc32(marked[start : start + count].encode("utf-8", "surrogatepass")) % PLACES
        for count in LETTERS
        for start in range(len(marked) - count + 1)
    )
