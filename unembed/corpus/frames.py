"""What has columns in memory, as a table of Arrow: frames and series, rows and batches by the names of their fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from unembed.corpus.arrays import made_by, plain
from unembed.corpus.cells import is_number
from unembed.corpus.columns import CANDIDATES, IDS
from unembed.corpus.json_text import array_of
from unembed.corpus.paths import bare_type

COLUMN: Final = "embedding"
ID: Final = "id"
_INDEX: Final = "__index_level_0__"  # what pandas calls an index without a name


def table_of(source: Any) -> pa.Table | None:
    """The columns of what has some, or is one; None for everything else."""
    if isinstance(source, (pa.RecordBatch, pa.Table)):
        return pa.table(source)
    if isinstance(source, (pa.Array, pa.ChunkedArray)):
        return None if is_number(bare_type(source.type)) else pa.table({COLUMN: source})
    if made_by(source, "pandas"):
        return _of_pandas(source)
    if hasattr(source, "__arrow_c_stream__"):
        columns = pa.chunked_array(source)
        is_frame = pa.types.is_struct(columns.type)
        return pa.Table.from_struct_array(columns) if is_frame else pa.table({COLUMN: columns})
    if _is_data_set(source):
        return table_of(source.with_format("arrow")[:])
    if isinstance(source, Mapping):
        return _of_columns(source)
    if isinstance(source, list) and source:
        rows = [_mapping(item) for item in source]
        if all(row is not None for row in rows):
            return _of_mappings([row for row in rows if row is not None])
    return None


def gathered(source: Any) -> Any:
    """A list of what an iterable gives, which is read once; what is more than an iterable stays as it is."""
    if isinstance(source, (str, bytes, list, Mapping)) or not isinstance(source, Iterable):
        return source
    is_more = hasattr(source, "__array__") or hasattr(source, "__arrow_c_stream__") or _is_data_set(source)
    return source if is_more or made_by(source, "pandas") or made_by(source, "torch") else list(source)


def _is_data_set(source: Any) -> bool:
    """One of Hugging Face whose rows can be counted; those that only flow by are iterables."""
    return hasattr(source, "with_format") and hasattr(type(source), "__len__") and hasattr(source, "column_names")


def _mapping(item: Any) -> Mapping[Any, Any] | None:
    """A row by its names: a dict, a model of pydantic as clients return them, a named tuple, a dataclass."""
    if isinstance(item, Mapping):
        return item
    for method in ("model_dump", "_asdict"):
        if callable(found := getattr(item, method, None)) and not isinstance(item, type):
            return dict(found())
    return vars(item) if is_dataclass(item) and not isinstance(item, type) else None


def _of_mappings(rows: list[Mapping[Any, Any]]) -> pa.Table:
    """Rows by their names, or batches of columns by theirs, as some loaders give them."""
    if all(map(is_batch, rows)):
        return pa.concat_tables([_of_columns(row) for row in rows], promote_options="permissive")
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({str(name): array_of([_values(row.get(name)) for row in rows]) for name in names})


def is_batch(row: Mapping[Any, Any]) -> bool:
    """Whether it has vectors in a column of a usual name, and columns as long beside them."""
    lengths = {str(name): _length(value) for name, value in row.items()}
    found = [name for name, value in row.items() if str(name).lower() in CANDIDATES and _is_deep(value)]
    return bool(found) and len(set(lengths.values())) == 1


def _length(value: Any) -> int | None:
    sized = hasattr(value, "__len__") and not isinstance(value, (str, bytes, Mapping))
    return len(value) if sized else None


def _is_deep(value: Any) -> bool:
    value = plain(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.ndim > 1
    return bool(_length(value)) and isinstance(plain(value[0]), (list, np.ndarray))


def _of_pandas(source: Any) -> pa.Table:
    """A frame or a series; an index that says more than the numbers of the rows goes along."""
    is_frame = hasattr(source, "columns")
    columns = {str(name): source[name] for name in source.columns} if is_frame else {COLUMN: source}
    arrays = {name: _of_series(series) for name, series in columns.items()}
    index = source.index
    is_plain = type(index).__name__ == "RangeIndex" and (index.start, index.step) == (0, 1)
    if not is_plain and type(index).__name__ != "MultiIndex":
        arrays.setdefault(str(index.name or _INDEX), _of_series(index))
    return pa.table(arrays)


def _of_series(series: Any) -> Any:
    try:
        return pa.array(series, from_pandas=True)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return array_of([value.tolist() if hasattr(value, "tolist") else value for value in series])


def _of_columns(columns: Mapping[Any, Any]) -> pa.Table:
    """Columns by their names; the vectors of ids, where the keys are ids."""
    arrays = {str(name): _listed(values) for name, values in columns.items()}
    lengths = {len(values) for values in arrays.values() if values is not None}
    numbers = all(values and isinstance(values[0], (int, float)) for values in arrays.values())
    if numbers and len(lengths) == 1 and not any(name.lower() in (*CANDIDATES, *IDS) for name in arrays):
        return pa.table({ID: list(arrays), COLUMN: array_of(list(arrays.values()))})
    usual = len(next((values for values in arrays.values() if values is not None), ()))
    return pa.table({name: array_of(values) for name, values in arrays.items() if values and len(values) == usual})


def _listed(values: Any) -> list[Any] | None:
    if hasattr(values, "tolist"):
        return list(plain(values).tolist())
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        return None
    return [_values(value) for value in values]


def _values(value: Any) -> Any:
    return plain(value).tolist() if hasattr(value, "tolist") else value
