"""Tables in .csv and .tsv files (RFC 4180): vectors are text in a cell, or one column a dimension.

All cells are text but those of numbered columns (`dim_0`, `dim_1`, ... or `0`, `1`, ...), which are numbers. So an id
that looks like a number stays as it is written.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from unembed.corpus.base import reading
from unembed.corpus.digests import of_file
from unembed.corpus.table import Table
from unembed.errors import CorpusError

_ROWS: Final = 1024  # taken together
_LONGEST_CELL: Final = 64 * 1024 * 1024  # characters; Python's own limit is less than a long vector has
_NUMBERED: Final = re.compile(r"(.*?)[_.\-]?(\d+)")
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")  # as some spreadsheets write it


def csv_table(path: Path, what: str, delimiter: str = ",") -> Table:
    """The first row is the header, unless it is numbers. Blank lines count for nothing; a short row ends in nulls."""
    with reading(what):
        with _rows(path, what, delimiter) as rows:
            header = next(rows, None)
            if header is None:
                raise CorpusError(f"{what} is empty: it has 0 rows")
            names = _names(header)
            first = header if names != header and _are_numbers(header) else next(rows, None)
            count = sum(1 for _ in rows) + (first is not None)
        has_header = first is not header
        numbers = _numbered(names, first or [])

    def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        at = [(names.index(name), name in numbers) for name in columns]
        with reading(what), _rows(path, what, delimiter) as rows:
            if has_header:
                next(rows)
            while group := list(islice(rows, _ROWS)):
                arrays = [_column(group, place, is_number) for place, is_number in at]
                yield pa.RecordBatch.from_arrays(arrays, names=list(columns))

    schema = pa.schema([(name, pa.float32() if name in numbers else pa.large_string()) for name in names])
    return Table(what, schema, count, batches, lambda: of_file(path), np.dtype(np.float32))


@contextmanager
def _rows(path: Path, what: str, delimiter: str) -> Iterator[Iterator[list[str]]]:
    csv.field_size_limit(max(_LONGEST_CELL, csv.field_size_limit()))  # of the process; nothing else depends on it
    with path.open(encoding=_encoding(path), errors="replace", newline="") as file:
        yield _filled(file, what, _delimiter(file, delimiter))


def _filled(file: IO[str], what: str, delimiter: str) -> Iterator[list[str]]:
    reader = csv.reader(file, delimiter=delimiter)
    try:
        yield from (row for row in reader if row)
    except csv.Error as error:
        raise CorpusError(f"line {reader.line_num} of {what} cannot be read: {error}") from error


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        return "utf-16" if file.read(2) in _UTF16 else "utf-8-sig"


def _delimiter(file: IO[str], usual: str) -> str:
    """A semicolon or a tab, where the header has those alone: spreadsheets of some countries write them."""
    header = file.readline()
    file.seek(0)
    return usual if usual in header else next((other for other in ("\t", ";") if other in header), usual)


def _names(header: Sequence[str]) -> list[str]:
    """The columns' names, each once; those of a file without a header are their numbers."""
    if _are_numbers(header):
        return [str(at) for at in range(len(header))]
    names = list[str]()
    for at, name in enumerate(header):
        names.append(name if name and name not in names else f"{name}#{at}")  # pandas leaves its index without a name
    return names


def _are_numbers(header: Sequence[str]) -> bool:
    """Whether this is a row already: numbers, and not the names 0, 1, 2, ..."""
    return len(header) > 1 and all(map(_is_number, header)) and not all(name.strip().isdigit() for name in header)


def _numbered(names: Sequence[str], first: Sequence[str]) -> frozenset[str]:
    """The columns whose names differ in a number alone, where they hold numbers in the first row."""
    stems = {name: found[1] for name in names if (found := _NUMBERED.fullmatch(name))}
    counts = Counter(stems.values())
    text = {stems.get(name) for name, cell in zip(names, first, strict=False) if cell and not _is_number(cell)}
    return frozenset(name for name, stem in stems.items() if counts[stem] > 1 and stem not in text)


def _column(rows: Sequence[Sequence[str]], at: int, is_number: bool) -> pa.Array[Any]:
    cells = [row[at] if at < len(row) else "" for row in rows]
    if is_number:
        return pa.array(_numbers(cells), pa.float32())
    return pa.array([cell or None for cell in cells], pa.large_string())


def _numbers(cells: Sequence[str]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # too large for float32 is infinity, and so an error row
        try:
            return np.array(cells, np.float64).astype(np.float32)
        except ValueError:
            return np.array([float(cell) if _is_number(cell) else np.nan for cell in cells]).astype(np.float32)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
