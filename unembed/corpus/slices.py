"""A slice of a corpus: consecutive rows, and the ids that their owner gave them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from unembed.corpus.ids import EXPECTED, Ids, kept, text_of
from unembed.errors import CorpusError

Vectors = NDArray[np.floating[Any]]

FLOAT_DTYPES: Final = ("float16", "float32", "float64")


@dataclass(frozen=True, eq=False)
class Slice:
    """Rows `first_index` to `first_index + len(self)` of a corpus."""

    first_index: int
    embeddings: Vectors  # (N, D) float16, float32 or float64; a row that is not finite is an error row later on
    ids: Ids | None = None  # N of them, None for a row that has none
    faults: Mapping[int, str] = field(default_factory=dict)  # why rows hold no vector, by their offset
    carried: pa.RecordBatch | None = None  # (N,) columns that go along

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


def as_ids(ids: Sequence[object], rows: int, what: str) -> Ids:
    """Ids as strings; whole numbers are written in decimal, None stays. CorpusError for a wrong number of them."""
    if len(ids) != rows:
        raise CorpusError(f"{what} has {rows} rows, but there are {len(ids)} ids")
    return tuple(_as_id(value, row, what) for row, value in enumerate(ids))


def _as_id(value: object, row: int, what: str) -> str | None:
    text = kept(text_of(value))
    if text is None and value is not None and value == value:
        raise CorpusError(f"the id in row {row} of {what} is {value!r}, but ids are {EXPECTED}")
    return text
