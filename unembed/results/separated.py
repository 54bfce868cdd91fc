"""Results for spreadsheets: cells between commas or tabs.

A cell that a spreadsheet would run as a formula (it starts with = + - @, a tab or a carriage return, and is no number)
gets an apostrophe in front: whoever chose the vectors chose the texts.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import IO, Any, Final

import pyarrow as pa

from unembed.corpus.paths import bare
from unembed.results.json_lines import json_cells

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def write_csv(file: IO[bytes], schema: pa.Schema, batches: Iterator[pa.RecordBatch], *, delimiter: str = ",") -> None:
    """A header, and a row each; what is nested is JSON in its cell, and null an empty cell."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(map(_harmless, schema.names))
    for batch in batches:
        writer.writerows(zip(*map(_cells, batch.columns), strict=True))
        _move(text, file)
    _move(text, file)


def write_tsv(file: IO[bytes], schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    write_csv(file, schema, batches, delimiter="\t")


def _move(text: io.StringIO, file: IO[bytes]) -> None:
    file.write(text.getvalue().encode())
    text.seek(0)
    text.truncate()


def _cells(column: Any) -> list[Any]:
    column = bare(column)
    kind = column.type
    types = pa.types
    if types.is_string(kind) or types.is_large_string(kind):
        return list(map(_harmless, column.to_pylist()))
    if types.is_boolean(kind) or types.is_integer(kind) or kind == pa.float64():
        return list(column.to_pylist())
    values = json_cells(column)
    listed = [values] * len(column) if isinstance(values, str) else values.to_pylist()
    return [None if cell == "null" else _harmless(_unquoted(cell)) for cell in listed]


def _unquoted(cell: str) -> str:
    """A time or bytes: in a cell of its own, a string needs no quotes."""
    return cell[1:-1] if cell.startswith('"') and "\\" not in cell else cell


def _harmless(text: str | None) -> str | None:
    return f"'{text}" if text is not None and text.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return not text[0].isspace()
