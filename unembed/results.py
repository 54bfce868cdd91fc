"""Files of results: .parquet and .jsonl hold exactly what was decoded, .csv is for spreadsheets.

A file appears under its name when it is whole, never before. In .csv, a cell that a spreadsheet would run as a formula
(it starts with = + - @, a tab or a carriage return, and is no number) gets an apostrophe in front: whoever chose the
vectors chose the texts.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from unembed.errors import InputError
from unembed.generations import SCHEMA, json_lines

Batches = Iterator[pa.RecordBatch]

_ROW_GROUP: Final = 16_384  # rows of a .parquet file that are kept in memory together
# Columns of few values. A dictionary of the others, which hardly repeat, takes time and makes the file larger.
_REPEATING: Final[Any] = ["status", "error_code", "error", "source", "tokens", "decode_ms"]
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


def write_results(path: str | Path, batches: Iterable[pa.RecordBatch]) -> int:
    """Writes rows as they come, such as those of `JobHandle.result_batches()`, and returns how many they were.

    A few thousand rows are in memory at a time. Raises InputError for what is not a record batch of results.
    """
    path = Path(path)
    check_output(path)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        count = _WRITERS[path.suffix](half, map(_checked, batches))
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)
    return count


def _checked(batch: pa.RecordBatch) -> pa.RecordBatch:
    if not isinstance(batch, pa.RecordBatch) or not batch.schema.equals(SCHEMA):
        raise InputError(
            f"got a {type(batch).__name__}; expected record batches of results, such as job.result_batches() yields"
        )
    return batch


def _write_parquet(path: Path, batches: Batches) -> int:
    count = 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd", use_dictionary=_REPEATING) as writer:
        for group in _row_groups(batches):
            writer.write_table(group, row_group_size=_ROW_GROUP)
            count += group.num_rows
    return count


def _row_groups(batches: Batches) -> Iterator[pa.Table]:
    """The same rows, as many together as a row group has: the fewer groups, the smaller and faster the file."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        waiting.append(batch)
        rows += batch.num_rows
        if rows >= _ROW_GROUP:
            table = pa.Table.from_batches(waiting, SCHEMA)
            whole = rows - rows % _ROW_GROUP
            yield table.slice(0, whole)
            waiting, rows = table.slice(whole).to_batches(), rows - whole
    if rows:
        yield pa.Table.from_batches(waiting, SCHEMA)


def _write_json_lines(path: Path, batches: Batches) -> int:
    count = 0
    with path.open("wb") as file:
        for batch in batches:
            file.write(json_lines(batch))
            count += batch.num_rows
    return count


def _write_csv(path: Path, batches: Batches) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(SCHEMA.names)
        for batch in batches:
            writer.writerows(zip(*map(_cells, batch.columns), strict=True))
            count += batch.num_rows
    return count


def _cells(column: pa.Array[Any]) -> list[Any]:
    values = column.to_pylist()
    return list(map(_harmless, values)) if pa.types.is_string(column.type) else values


def _harmless(text: str | None) -> str | None:
    return f"'{text}" if text is not None and text.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return not text[0].isspace()


_WRITERS: Final[dict[str, Callable[[Path, Batches], int]]] = {
    ".parquet": _write_parquet,
    ".jsonl": _write_json_lines,
    ".csv": _write_csv,
}
