"""Rows in files: where a job asks for it, a parquet part for each batch, known to SQL by the batch's row alone.

    <results_uri>/<batch id>.<attempt>.parquet

An attempt's number is given out once, so no attempt ever writes over the part of another. What SQL does not name is
left over from an attempt that failed, and goes with the next one's success, or with the job.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from unembed.corpus.storage import StoredFile, filesystem_of, open_file, reaching
from unembed.errors import CorpusError, MissingExtraError, RootsError, StorageUnavailableError
from unembed.generations import SCHEMA, concatenated, from_columns, storable
from unembed.roots import Location, Roots
from unembed.schemas import ResultsPart

log = logging.getLogger(__name__)

SETTING: Final = "UNEMBED_RESULTS_ROOTS"
_GROUP_ROWS: Final = 8192  # a page of results reads no more than the groups that it needs


def part_uri(folder: str, batch_id: str, attempt: int) -> str:
    return f"{folder.rstrip('/')}/{batch_id}.{attempt}.parquet"


class Parts:
    """The parts under the roots that are allowed."""

    def __init__(self, roots: Iterable[str]) -> None:
        self._roots = Roots.of(roots, SETTING)

    def require(self, folder: str) -> None:
        """Raises RootsError unless parts may be written to this folder."""
        location = self._roots.require(f"{folder.rstrip('/')}/part")
        if location.scheme == "https":
            raise RootsError("results cannot be written to https://; expected a folder, s3:// or gs://")

    def write(self, uri: str, rows: pa.RecordBatch) -> ResultsPart:
        """The rows, whole or not at all. Raises RootsError and StorageUnavailableError."""
        location = self._roots.require(uri)
        rows = pa.RecordBatch.from_arrays([storable(column) for column in rows.columns], schema=SCHEMA)
        with reaching(location):
            size = _write_local(Path(location.path), rows) if location.is_local else _write_remote(location, rows)
        return ResultsPart(uri=uri, bytes=size)

    def read(self, uri: str, start: int, count: int) -> pa.RecordBatch:
        """Rows `start` to `start + count` of a part. Raises StorageUnavailableError when they are not to be had."""
        try:
            location = self._roots.require(uri)
            stored = open_file(location)
            try:
                with reaching(location):
                    return _read(stored, start, count)
            finally:
                stored.close()
        except (RootsError, CorpusError, MissingExtraError) as error:
            raise StorageUnavailableError(f"this server cannot read the rows in {uri}: {error.message}") from error

    def delete(self, uris: Iterable[str]) -> None:
        """Those that are not there are no error, and those that cannot be reached are logged."""
        for uri in uris:
            try:
                location = self._roots.require(uri)
                with reaching(location):
                    _delete(location)
            except (RootsError, CorpusError, MissingExtraError, StorageUnavailableError) as error:
                log.warning("the part %s stays: %s", uri, error)
                return  # nor can the others be


def _write_local(path: Path, rows: pa.RecordBatch) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    half = _half(path)
    try:
        with half.open("wb") as file:
            pq.write_table(pa.Table.from_batches([rows]), file, row_group_size=_GROUP_ROWS)
            file.flush()
            os.fsync(file.fileno())  # SQL is about to say that the rows are there
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)
    return path.stat().st_size


def _half(path: Path) -> Path:
    return path.with_name(f".{path.name}.half")


def _write_remote(location: Location, rows: pa.RecordBatch) -> int:
    filesystem, path = filesystem_of(location)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_batches([rows]), sink, row_group_size=_GROUP_ROWS)
    data = bytes(sink.getvalue())
    filesystem.pipe_file(path, data)  # an object appears whole
    return len(data)


def _read(stored: StoredFile, start: int, count: int) -> pa.RecordBatch:
    with pq.ParquetFile(stored.file) as file:
        if not file.schema_arrow.equals(SCHEMA) or file.metadata.num_rows < start + count:
            raise ValueError(f"it has {file.metadata.num_rows} rows of {', '.join(file.schema_arrow.names)}")
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        ends = np.cumsum(sizes)
        groups = [g for g, end in enumerate(ends) if end > start and end - sizes[g] < start + count]
        before = int(ends[groups[0]] - sizes[groups[0]])
        found = file.read_row_groups(groups).to_batches()
    return concatenated([from_columns([]), *found]).slice(start - before, count)


def _delete(location: Location) -> None:
    if location.is_local:
        path = Path(location.path)
        for each in (path, _half(path)):
            each.unlink(missing_ok=True)
        return
    filesystem, name = filesystem_of(location)
    if filesystem.exists(name):
        filesystem.rm_file(name)
