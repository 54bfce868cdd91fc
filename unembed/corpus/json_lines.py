"""Tables in .jsonl files: an object a line, or a bare list of numbers a line.

A line that is no JSON costs its own row. Only the last one, without an end of line, says that the file is cut short.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
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

Row = dict[str, Any] | Broken


def json_lines_table(path: Path) -> Table:
    """JSON has one kind of number, so vectors are float32, and 1 is as good as 1.0. Blank lines count for nothing."""
    what = str(path)
    with reading(path):
        rows = sum(1 for _ in _lines(path))
        require_shape((rows, 1), what)
        bare = next(_lines(path)).lstrip()[:1] == b"["
        first = list(islice(_rows(path, bare), _ROWS))
        if all(isinstance(row, Broken) for row in first):
            _row(next(_lines(path)), 0, path, bare, strictly=True)
    schema = pa.schema([(name, array_of(values).type) for name, values in _columns(first).items()])

    def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with reading(path):
            source = _rows(path, bare)
            while group := list(islice(source, _ROWS)):
                arrays = [array_of([_value(row, name) for row in group]) for name in columns]
                yield pa.RecordBatch.from_arrays(arrays, names=list(columns))

    return Table(what, schema, rows, batches, lambda: of_file(path), np.dtype(np.float32))


def _columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """The values of each key that a row has."""
    names = dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row)
    return {name: [row.get(name) for row in rows if isinstance(row, dict)] for name in names}


def _value(row: Row, name: str) -> Any:
    return row if isinstance(row, Broken) else row.get(name)


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from (line for line in file if not line.isspace())


def _rows(path: Path, bare: bool) -> Iterator[Row]:
    return (_row(line, index, path, bare) for index, line in enumerate(_lines(path)))


def _row(line: bytes, index: int, path: Path, bare: bool, *, strictly: bool = False) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        if strictly or not line.endswith(b"\n"):
            raise CorpusError(f"row {index} of {path} is not JSON; the file may be cut short: {error}") from error
        return Broken(f"is not JSON: {line[:_SHOWN].decode(errors='replace').strip()!r}")
    if isinstance(row, dict):
        return row
    if bare and isinstance(row, list) and row and isinstance(row[0], (int, float)):
        return {_LIST: row}
    if strictly:
        raise CorpusError(
            f"row {index} of {path} is {repr(row)[:40]}, but each line must be an object or a list of numbers"
        )
    return Broken(f"is {repr(row)[:_SHOWN]}, not an object")


_SHOWN: Final = 40  # characters of a line that is no JSON
