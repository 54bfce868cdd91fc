"""Tables in .jsonl files: an object a line, or a bare list of numbers a line.

A line that is no JSON costs its own row. Only the last one, without an end of line, says that the file is cut short.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from unembed.corpus.base import reading
from unembed.corpus.digests import of_file
from unembed.corpus.json_text import Broken, array_of
from unembed.corpus.slices import require_shape
from unembed.corpus.table import Table
from unembed.errors import CorpusError

_ROWS: Final = 1024
_LIST: Final = "embedding"  # what a line that is a list is called
_SHOWN: Final = 40  # characters of a line that is no JSON

Row = dict[str, Any] | Broken


def json_lines_table(path: Path, what: str) -> Table:
    """JSON has one kind of number, so vectors are float32, and 1 is as good as 1.0. Blank lines count for nothing."""
    with reading(what):
        count = sum(1 for _ in _lines(path))
        require_shape((count, 1), what)
        first = next(_lines(path))
        bare = first.lstrip()[:1] == b"["
        if all(isinstance(row, Broken) for row in islice(_rows(path, what, bare), _ROWS)):
            _row(first, 0, what, bare, strictly=True)

    def rows() -> Iterator[Row]:
        with reading(what):
            yield from _rows(path, what, bare)

    return table_of_rows(what, rows, count, lambda: of_file(path))


def table_of_rows(what: str, rows: Callable[[], Iterator[Row]], count: int, digest: Callable[[], str]) -> Table:
    """The columns are the keys that the first rows have; a row may lack any of them."""
    first = _columns(list(islice(rows(), _ROWS)))
    schema = pa.schema([(name, array_of(values).type) for name, values in first.items()])

    def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        source = rows()
        while group := list(islice(source, _ROWS)):
            arrays = [array_of([_value(row, name) for row in group]) for name in columns]
            yield pa.RecordBatch.from_arrays(arrays, names=list(columns))

    return Table(what, schema, count, batches, digest, np.dtype(np.float32))


def row_of(value: Any, *, bare: bool = True) -> Row:
    """The row that a JSON value is: an object, or the list of a vector alone where that is usual here."""
    if isinstance(value, dict):
        return value
    is_vector = bare and isinstance(value, list) and value and isinstance(value[0], (int, float))
    return {_LIST: value} if is_vector else Broken(f"is {repr(value)[:_SHOWN]}, not an object")


def _columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """The values of each key that a row has."""
    names = dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row)
    return {name: [row.get(name) for row in rows if isinstance(row, dict)] for name in names}


def _value(row: Row, name: str) -> Any:
    return row if isinstance(row, Broken) else row.get(name)


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from (line for line in file if not line.isspace())


def _rows(path: Path, what: str, bare: bool) -> Iterator[Row]:
    return (_row(line, index, what, bare) for index, line in enumerate(_lines(path)))


def _row(line: bytes, index: int, what: str, bare: bool, *, strictly: bool = False) -> Row:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        if strictly or not line.endswith(b"\n"):
            raise CorpusError(f"row {index} of {what} is not JSON; the file may be cut short: {error}") from error
        return Broken(f"is not JSON: {line[:_SHOWN].decode(errors='replace').strip()!r}")
    row = row_of(value, bare=bare)
    if strictly and isinstance(row, Broken):
        raise CorpusError(f"row {index} of {what} {row}; each line must be an object or a list of numbers")
    return row
