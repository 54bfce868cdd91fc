"""A folder of results in parts, so that millions of rows stream, and what is written stays when the rest fails.

    TEXTS/part-00000.parquet, part-00001.parquet, ...   each whole, of PART_ROWS rows; the last one has the rest
    TEXTS/.unembed.json                                 what made them, and whether all are there

    none ──first row──▶ begun ──last row──▶ whole: not written over
                        ▲  │
                        └──┴── the same job again: the parts that are there stay; another job: begun anew

Parts in Arrow's format are what `datasets.load_from_disk` opens, with two notes of its own beside them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa

from unembed.corpus.names import shown
from unembed.errors import InputError
from unembed.results.made_by import MadeBy
from unembed.results.whole import TEMPORARY, whole_file
from unembed.schemas import Wire

PART_ROWS: Final = 131_072  # eight row groups of parquet
NOTE: Final = ".unembed.json"  # hidden: readers of folders pass it over
_PART: Final = re.compile(r"part-[0-9]{5,}\..+")
_STATE, _INFO = "state.json", "dataset_info.json"

Write = Callable[[IO[bytes], pa.Schema, Iterator[pa.RecordBatch]], None]


class PartsNote(Wire):
    """What is remembered of a folder of parts."""

    made_by: MadeBy | None
    suffix: str
    columns: tuple[str, ...]
    part_rows: int
    is_whole: bool = False


def require_free(folder: Path) -> None:
    """Raises InputError for a folder with anything in it but results that were begun and are not whole."""
    note = _read(folder)
    if note is not None and note.is_whole:
        job = f" of the job {note.made_by.job}" if note.made_by else ""
        raise InputError(f"{shown(folder)} holds the results{job} already: remove it, or name another folder")
    if note is None and (other := next((path for path in folder.iterdir() if not _is_half(path)), None)):
        raise InputError(
            f"the folder {shown(folder)} is not empty: {shown(other.name)} is in it; name one that is, or a new one"
        )


def write_parts(
    folder: Path,
    suffix: str,
    write: Write,
    schema: pa.Schema,
    batches: Iterator[pa.RecordBatch],
    made_by: MadeBy | None,
    part_rows: int = PART_ROWS,
) -> None:
    """Writes those that are not there yet. Raises what `require_free` raises, and OSError."""
    folder.mkdir(exist_ok=True)
    require_free(folder)
    note = PartsNote(made_by=made_by, suffix=suffix, columns=tuple(schema.names), part_rows=part_rows)
    _begin(folder, note)
    rows, names = _Rows(batches), list[str]()
    while not names or rows.are_left():
        names.append(f"part-{len(names):05}{suffix}")
        part = rows.next(part_rows)
        if (folder / names[-1]).exists():
            _pass_over(part)
        else:
            with whole_file(folder / names[-1]) as file:
                write(file, schema, part)
    if suffix == ".arrow":
        _write(folder / _INFO, {"citation": "", "description": _said(made_by), "homepage": "", "license": ""})
        _write(folder / _STATE, _state(names, made_by))
    _write(folder / NOTE, note.model_copy(update={"is_whole": True}).model_dump(mode="json"))


def _begin(folder: Path, note: PartsNote) -> None:
    """Forgets what is not of the same job and shape."""
    same = note.made_by is not None and _read(folder) == note
    for path in folder.iterdir():
        if not same and _PART.fullmatch(path.name):
            path.unlink(missing_ok=True)
    if not same:
        _write(folder / NOTE, note.model_dump(mode="json"))


class _Rows:
    """Batches, as so many rows at a time as are asked for."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._held: pa.RecordBatch | None = None  # what of the last one is left

    def are_left(self) -> bool:
        while self._held is None or not self._held.num_rows:
            self._held = next(self._batches, None)
            if self._held is None:
                return False
        return True

    def next(self, count: int) -> Iterator[pa.RecordBatch]:
        """As many rows, or those that are left; to be read to its end."""
        while count and self.are_left() and self._held is not None:
            some = self._held.slice(0, count)
            self._held = self._held.slice(some.num_rows)
            count -= some.num_rows
            yield some


def _pass_over(part: Iterator[pa.RecordBatch]) -> None:
    for _ in part:
        pass


def _is_half(path: Path) -> bool:
    return path.name.startswith(TEMPORARY)


def _said(made_by: MadeBy | None) -> str:
    return f"Texts that {made_by.decoder} decoded from embeddings" if made_by else "Texts decoded from embeddings"


def _state(names: list[str], made_by: MadeBy | None) -> dict[str, Any]:
    return {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": made_by.job if made_by else "unembed",
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }


def _read(folder: Path) -> PartsNote | None:
    try:
        return PartsNote.model_validate_json((folder / NOTE).read_bytes())
    except (OSError, ValueError):
        return None


def _write(path: Path, document: dict[str, Any]) -> None:
    with whole_file(path) as file:
        file.write(json.dumps(document).encode() + b"\n")
