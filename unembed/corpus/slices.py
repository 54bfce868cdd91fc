"""A slice of a corpus: consecutive rows, and the ids that their owner gave them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from unembed.errors import CorpusError

Vectors = NDArray[np.floating[Any]]

FLOAT_DTYPES: Final = ("float16", "float32", "float64")


@dataclass(frozen=True, eq=False)
class Slice:
    """Rows `first_index` to `first_index + len(self)` of a corpus."""

    first_index: int
    embeddings: Vectors  # (N, D) float16, float32 or float64; a row that is not finite is an error row later on
    ids: tuple[str, ...] | None = None  # N of them

    def __len__(self) -> int:
        return int(self.embeddings.shape[0])

    @property
    def dim(self) -> int:
        return int(self.embeddings.shape[1])


def require_vectors(array: NDArray[Any], what: str) -> Vectors:
    """The array, if it is (N, D) floats with N and D at least 1; a CorpusError that names what it is instead."""
    require_floats(array.dtype, what)
    require_shape(array.shape, what)
    return array


def require_floats(dtype: np.dtype[Any], what: str) -> None:
    if dtype.name not in FLOAT_DTYPES:
        raise CorpusError(f"{what} holds {dtype.name} values, but embeddings are {', '.join(FLOAT_DTYPES)}")


def require_shape(shape: tuple[int, ...], what: str) -> None:
    if len(shape) != 2:
        raise CorpusError(f"{what} has the shape {shape}, but embeddings have two axes: (rows, dimensions)")
    if shape[0] == 0:
        raise CorpusError(f"{what} is empty: it has 0 rows, but a corpus needs at least 1")
    if shape[1] == 0:
        raise CorpusError(f"{what} has vectors of 0 dimensions, but at least 1 is needed")


def as_ids(ids: Sequence[object], rows: int, what: str, first_row: int = 0) -> tuple[str, ...]:
    """Ids as strings; integers are written in decimal. CorpusError when their number or their type is wrong."""
    if len(ids) != rows:
        raise CorpusError(f"{what} has {rows} rows, but there are {len(ids)} ids")
    return tuple(as_id(value, row, what) for row, value in enumerate(ids, start=first_row))


def as_id(value: object, row: int, what: str) -> str:
    if isinstance(value, str):
        if "\0" in value or not _is_unicode(value):
            raise CorpusError(f"the id in row {row} of {what} is {value!r}, which no database stores as text")
        return value
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return str(int(value))
    raise CorpusError(f"the id in row {row} of {what} is {value!r}, but ids are strings or integers")


def _is_unicode(value: str) -> bool:
    """False for half a surrogate pair, which JSON can spell and UTF-8 cannot."""
    return value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value)
