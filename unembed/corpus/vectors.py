"""Arrow columns of vectors as numpy arrays, without a copy where Arrow's layout allows it.

A null vector, or a null inside one, becomes NaN: the row is then an error row, and the rows around it decode.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from unembed.corpus.slices import FLOAT_DTYPES, Vectors, require_floats
from unembed.errors import CorpusError


def is_vector_type(kind: Any) -> bool:
    """Whether a column of this type can hold vectors: lists and fixed-shape tensors of one axis."""
    if isinstance(kind, pa.FixedShapeTensorType):
        return len(kind.shape) == 1
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def value_dtype(kind: Any, what: str) -> np.dtype[Any]:
    """The numpy dtype of the vectors' values; CorpusError unless they are floats."""
    if not is_vector_type(kind):
        raise CorpusError(f"{what} is {kind}, but embeddings are lists of {', '.join(FLOAT_DTYPES)}")
    value = kind.value_type
    if not pa.types.is_floating(value):
        raise CorpusError(f"{what} holds {value} values, but embeddings are {', '.join(FLOAT_DTYPES)}")
    return np.dtype(value.to_pandas_dtype())


def fixed_dim(kind: Any) -> int | None:
    """The dimensions that the type itself promises, if it does."""
    if isinstance(kind, pa.FixedShapeTensorType):
        return int(kind.shape[0])
    return int(kind.list_size) if pa.types.is_fixed_size_list(kind) else None


def vectors_of(column: pa.Array[Any], what: str, *, dim: int | None = None, first_row: int = 0) -> Vectors:
    """(N, D) of a column; a ragged row is a CorpusError that names it (counted from `first_row`) and both lengths.

    `dim` is what every row must have; None takes it from the type, or from the first vector that is not null.
    """
    dtype = value_dtype(column.type, what)
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_fixed_size_list(column.type):
        return _of_fixed(column, dtype, what, dim, first_row)
    return _of_lists(column, dtype, what, dim, first_row)


def length_error(what: str, row: int, got: int, expected: int) -> CorpusError:
    return CorpusError(f"row {row} of {what} has {got} values, but {expected} were expected: the rows are ragged")


def _of_fixed(column: Any, dtype: np.dtype[Any], what: str, dim: int | None, first_row: int) -> Vectors:
    size = int(column.type.list_size)
    if dim is not None and size != dim:
        raise length_error(what, first_row, size, dim)
    # `.values` holds every slot, those of null lists and those outside this slice too: hence the offset by hand.
    start = column.offset * size
    flat = _floats(column.values.slice(start, len(column) * size), dtype, what)
    vectors = flat.reshape(len(column), size)
    if column.null_count:
        vectors = vectors.copy()
        vectors[_nulls(column)] = np.nan
    return vectors


def _of_lists(column: Any, dtype: np.dtype[Any], what: str, dim: int | None, first_row: int) -> Vectors:
    nulls = _nulls(column)
    offsets = column.offsets.to_numpy(zero_copy_only=False)
    lengths = np.diff(offsets)
    present = lengths[~nulls]
    if dim is None:
        dim = int(present[0]) if len(present) else 0
    wrong = np.flatnonzero((lengths != dim) & ~nulls)
    if len(wrong):
        raise length_error(what, first_row + int(wrong[0]), int(lengths[wrong[0]]), dim)
    flat = _floats(column.flatten(), dtype, what)  # flatten() leaves null lists out
    if not nulls.any():
        return flat.reshape(len(column), dim)
    vectors = np.full((len(column), dim), np.nan, dtype=dtype)
    vectors[~nulls] = flat.reshape(-1, dim)
    return vectors


def _floats(values: Any, dtype: np.dtype[Any], what: str) -> Vectors:
    flat = np.asarray(values.to_numpy(zero_copy_only=False))
    require_floats(flat.dtype, what)
    return flat.astype(dtype, copy=False)


def _nulls(column: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.asarray(column.is_null().to_numpy(zero_copy_only=False), dtype=np.bool_)
