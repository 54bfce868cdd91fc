"""Files of results: .parquet and .jsonl hold exactly what was decoded, .csv is for spreadsheets.

A file appears under its name when it is whole, never before. In .csv, a cell that a spreadsheet would run as a formula
(it starts with = + - @, a tab or a carriage return, and is no number) gets an apostrophe in front: whoever chose the
vectors chose the texts.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from unembed.errors import InputError
from unembed.generations import SCHEMA
from unembed.schemas import GENERATION_FIELDS, Generation

_ROW_GROUP: Final = 16_384
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def check_output(path: Path) -> None:
    """InputError unless results can be written there; to be called before the work is done, not after."""
    if path.suffix not in _WRITERS:
        known = ", ".join(_WRITERS)
        raise InputError(f"{path} has the suffix {path.suffix!r}, but results are written as one of {known}")
    if path.is_dir():
        raise InputError(f"{path} is a folder, but results are written to a file")
    if not path.absolute().parent.is_dir():
        raise InputError(f"the folder {path.absolute().parent} does not exist")
    if not os.access(path.absolute().parent, os.W_OK):
        raise InputError(f"the folder {path.absolute().parent} cannot be written to")


def write_results(path: Path, rows: Iterable[Generation]) -> int:
    """Writes the rows as they come, a few thousand in memory at a time, and returns how many they were."""
    check_output(path)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        count = _WRITERS[path.suffix](half, iter(rows))
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)
    return count


def to_table(rows: Iterable[Generation]) -> pa.Table:
    """All rows as one Arrow table of `SCHEMA`."""
    return pa.Table.from_batches(list(_record_batches(iter(rows))), SCHEMA)


def _record_batches(rows: Iterator[Generation]) -> Iterator[pa.RecordBatch]:
    while group := list(islice(rows, _ROW_GROUP)):
        yield pa.RecordBatch.from_pylist([row.model_dump(mode="json") for row in group], SCHEMA)


def _write_parquet(path: Path, rows: Iterator[Generation]) -> int:
    count = 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for batch in _record_batches(rows):
            writer.write_batch(batch)
            count += batch.num_rows
    return count


def _write_json_lines(path: Path, rows: Iterator[Generation]) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(row.model_dump_json() + "\n")
            count += 1
    return count


def _write_csv(path: Path, rows: Iterator[Generation]) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(GENERATION_FIELDS)
        for row in rows:
            writer.writerow([_cell(value) for value in row.model_dump(mode="json").values()])
            count += 1
    return count


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_FORMULA) and not _is_number(value):
        return f"'{value}"
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return not text[0].isspace()


_WRITERS: Final[dict[str, Callable[[Path, Iterator[Generation]], int]]] = {
    ".parquet": _write_parquet,
    ".jsonl": _write_json_lines,
    ".csv": _write_csv,
}
