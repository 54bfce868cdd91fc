"""Columns of vectors as numpy arrays: one reader for cells of every kind.

    lists of any kind, of any numbers      read as they lie, without a copy where Arrow's layout allows it
    lists of one list, of structs of one   the same, after they are opened up
    Spark's VectorUDT                      dense and sparse
    text, bytes, JSON                      a cell at a time, by `one_cell`

A cell that holds no vector costs its own row and no other: the row is NaN and so becomes an error row, and is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unembed.corpus.json_text import values_of
from unembed.corpus.one_cell import CellError, Coding, coded, vector_of
from unembed.corpus.paths import bare, bare_type, is_list
from unembed.corpus.slices import Vectors

_NULL: Final = "is null or missing"
_EMPTY: Final = "is empty"
_SPARSE: Final = {"size", "indices", "values"}


@dataclass(frozen=True, eq=False)
class Ragged:
    """N cells of any lengths, one after the other."""

    values: NDArray[Any]  # (sum of the lengths,)
    lengths: NDArray[np.int64]  # (N,), 0 where a cell holds no vector
    reasons: Mapping[int, str]  # of those that hold none and are not null

    def why(self) -> dict[int, str]:
        """Why cells hold no vector, of those that hold none."""
        return {int(row): self.reasons.get(int(row), _NULL) for row in np.flatnonzero(self.lengths == 0)}


@dataclass(eq=False)
class BadRows:
    """The rows that hold no vector, counted by what is wrong while a corpus is read."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, int] = field(default_factory=dict)  # the first row of each
    without_id: int = 0  # rows, where the corpus has ids
    with_more: int = 0  # rows that hold more vectors than the one that was read
    untold: dict[int, str] = field(default_factory=dict)  # why, of the rows that no batch has taken along yet

    def add(self, row: int, reason: str) -> None:
        self.untold[row] = reason
        if reason not in self.counts and len(self.counts) >= _KINDS:
            reason = _OTHERS
        self.counts[reason] += 1
        self.first.setdefault(reason, row)

    def take(self, first: int, rows: int) -> dict[int, str]:
        """Why the bad ones of these rows are, by their offset from the first; told once."""
        there = [row for row in range(rows) if first + row in self.untold] if self.untold else []
        return {row: self.untold.pop(first + row) for row in there}

    def clear(self) -> None:
        self.counts.clear()
        self.first.clear()
        self.untold.clear()
        self.without_id = self.with_more = 0

    def __len__(self) -> int:
        return self.counts.total()

    def __str__(self) -> str:
        """`1 row is empty (row 4), 2 rows have 3 values instead of 4 (the first: row 7)`."""
        told = [self._told(reason, count) for reason, count in self.counts.most_common(_TOLD)]
        others = len(self) - sum(count for _, count in self.counts.most_common(_TOLD))
        return "; ".join(told + ([f"{others} more of other kinds"] if others else []))

    def _told(self, reason: str, count: int) -> str:
        if count == 1:
            return f"row {self.first[reason]} {reason}"
        return f"row {self.first[reason]} and {count - 1:,} more: {reason}"


_TOLD: Final = 3  # kinds of bad rows
_KINDS: Final = 100  # that are told apart: each may quote a cell, and there may be millions
_OTHERS: Final = "cannot be read either, each for a reason of its own"


def is_vector_type(kind: Any) -> bool:
    """Whether cells of this type are vectors, whatever they are called; text and bytes may be, these are."""
    if isinstance(kind, pa.FixedShapeTensorType):
        return sum(size > 1 for size in kind.shape) <= 1
    kind = bare_type(kind)
    if pa.types.is_struct(kind):
        return _names(kind) >= _SPARSE
    if not is_list(kind):
        return False
    value = bare_type(kind.value_type)
    return is_number(_opened(value.value_type if is_list(value) else value))


def is_number(kind: Any) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind))


def holds_floats(kind: Any) -> bool:
    """Whether they are vectors of floats, and so hardly anything else than embeddings."""
    value = value_type(kind)
    return value is not None and bool(pa.types.is_floating(value))


def value_type(kind: Any) -> Any:
    """The type of the numbers in the lists, whatever is around them; None for other columns."""
    if not is_vector_type(kind):
        return None
    kind = bare_type(kind)
    if pa.types.is_struct(kind):
        return pa.float32()
    while is_list(kind):
        kind = _opened(kind.value_type)
    return kind


def dtype_of(kind: Any) -> np.dtype[Any]:
    """What a column of this type is read as: floats of the width that they have, and everything else as float32."""
    value = value_type(kind)
    return np.dtype(value.to_pandas_dtype() if value is not None and pa.types.is_floating(value) else np.float32)


def fixed_dim(kind: Any) -> int | None:
    """The dimensions that the type itself promises, if it does."""
    if isinstance(kind, pa.FixedShapeTensorType) and not is_vector_type(kind):
        return None
    kind = bare_type(kind)
    plain = pa.types.is_fixed_size_list(kind) and is_number(bare_type(kind.value_type))
    return int(kind.list_size) if plain else None


def read_cells(array: Any, coding: Coding | None = None, dim: int | None = None) -> Ragged:
    """The vectors of a column, of whatever length each has. `dim` tells the width of floats in bytes."""
    if isinstance(array.type, pa.FixedShapeTensorType) and not is_vector_type(array.type):
        shape = "x".join(map(str, array.type.shape))
        reasons = dict.fromkeys(range(len(array)), f"is a tensor of {shape} values; expected one axis")
        return Ragged(np.zeros(0, np.float32), np.zeros(len(array), np.int64), reasons)
    array = bare(array)
    kind = array.type
    if pa.types.is_null(kind):
        return Ragged(np.zeros(0, np.float32), np.zeros(len(array), np.int64), {})
    if is_list(kind):
        return _of_lists(array, coding)
    if pa.types.is_struct(kind) and not _names(kind) >= _SPARSE and kind.num_fields == 1:
        return read_cells(pc.struct_field(array, [0]), coding, dim)
    return _one_by_one(values_of(array), coding, dim)


def fitted(cells: Ragged, dim: int, dtype: np.dtype[Any]) -> tuple[Vectors, dict[int, str]]:
    """(N, D) floats, a row of NaN for each cell that holds no vector of D values; and why, of those rows."""
    wrong = cells.lengths != dim
    if not wrong.any():
        with np.errstate(over="ignore"):
            return cells.values.astype(dtype, copy=False).reshape(len(wrong), dim), {}
    vectors = np.full((len(wrong), dim), np.nan, dtype)
    with np.errstate(over="ignore"):
        vectors[~wrong] = cells.values[np.repeat(~wrong, cells.lengths)].reshape(-1, dim)
    return vectors, {int(row): _why(cells, int(row), dim) for row in np.flatnonzero(wrong)}


def _why(cells: Ragged, row: int, dim: int) -> str:
    if length := int(cells.lengths[row]):
        return f"has {length} value{'' if length == 1 else 's'} instead of {dim}"
    return cells.reasons.get(row, _NULL)


def _one_by_one(cells: Iterable[Any], coding: Coding | None, dim: int | None) -> Ragged:
    parts, lengths, reasons = list[NDArray[Any]](), list[int](), dict[int, str]()
    for row, cell in enumerate(cells):
        try:
            parts.append(vector_of(cell, coding, dim))
            lengths.append(len(parts[-1]))
        except CellError as error:
            reasons[row] = str(error)
            lengths.append(0)
    with np.errstate(over="ignore"):
        values = np.concatenate([part.astype(np.float32, copy=False) for part in parts] or [np.zeros(0, np.float32)])
    return Ragged(values, np.array(lengths, np.int64), reasons)


def _of_lists(array: Any, coding: Coding | None) -> Ragged:
    lengths = np.asarray(pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False), np.int64)
    inner = _open(bare(array.flatten()))  # flatten() leaves null lists out, wherever this array begins in its buffers
    if is_list(inner.type):
        return _of_matrices(array, lengths, _of_lists(inner, coding))
    if not (is_number(inner.type) or pa.types.is_null(inner.type)):
        return _one_by_one(array.to_pylist(), coding, None)
    values = _numbers(inner)
    if coding is not None:
        try:
            values = coded(values, coding)
        except CellError:
            return _one_by_one(array.to_pylist(), coding, None)
        lengths = lengths * (8 if coding is Coding.BINARY else 1)
    return Ragged(values, lengths, _emptiness(array, lengths))


def _of_matrices(array: Any, outer: NDArray[np.int64], inner: Ragged) -> Ragged:
    """(N, 1, D) and (N, D, 1) as (N, D)."""
    if len(inner.lengths) == len(array) and (outer == 1).all():
        return inner
    starts = np.cumsum(outer) - outer
    ends = starts + outer
    before = np.concatenate([[0], np.cumsum(inner.lengths)])  # values before each inner list
    single = np.concatenate([[0], np.cumsum(inner.lengths == 1)])
    lengths = before[ends] - before[starts]
    many = (outer > 1) & (single[ends] - single[starts] != outer)
    reasons = _emptiness(array, outer)
    reasons |= {int(row): f"holds {outer[row]} vectors; expected one" for row in np.flatnonzero(many)}
    for row in np.flatnonzero((outer == 1) & (lengths == 0)):
        reasons[int(row)] = inner.reasons.get(int(starts[row]), _NULL)
    values = inner.values
    if many.any():
        values = values[np.repeat(~many, lengths)]
        lengths = np.where(many, 0, lengths)
    return Ragged(values, lengths, reasons)


def _emptiness(array: Any, lengths: NDArray[np.int64]) -> dict[int, str]:
    rows = np.flatnonzero(lengths == 0)
    return {int(row): _EMPTY for row in rows if array[int(row)].is_valid} if len(rows) else {}


def _numbers(array: Any) -> NDArray[Any]:
    if pa.types.is_null(array.type):
        return np.full(len(array), np.nan, np.float32)
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.float64())
    return np.asarray(array.to_numpy(zero_copy_only=False))  # null becomes NaN


def _open(array: Any) -> Any:
    """What is in structs of one field."""
    is_one = pa.types.is_struct(array.type) and array.type.num_fields == 1
    return bare(pc.struct_field(array, [0])) if is_one else array


def _opened(kind: Any) -> Any:
    """The type in a struct of one field, as DuckDB puts it around the values of its arrays."""
    kind = bare_type(kind)
    return bare_type(kind.field(0).type) if pa.types.is_struct(kind) and kind.num_fields == 1 else kind


def _names(kind: Any) -> set[str]:
    return {kind.field(at).name for at in range(kind.num_fields)}
