"""Pages of a job whose rows are in files: which rows of which part, from SQL, and then the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, select

from unembed.generations import concatenated, error_rows, from_columns
from unembed.models.parts import Parts
from unembed.models.store import ids
from unembed.models.store.sql import BATCHES
from unembed.models.store.values import ResultsPage
from unembed.schemas import BatchState, JobState, Order


@dataclass(frozen=True, slots=True)
class PagePlan:
    """What is on a page, in its order: rows of parts, and the error rows of dead batches."""

    pieces: list[tuple[str, int, int] | pa.RecordBatch]  # a part's URI, its first row here, and how many
    next_cursor: str | None

    def read(self, parts: Parts) -> ResultsPage:
        """Raises StorageUnavailableError when a part is not to be had."""
        rows = [piece if isinstance(piece, pa.RecordBatch) else parts.read(*piece) for piece in self.pieces]
        return ResultsPage(concatenated([from_columns([]), *rows]), self.next_cursor)


def plan_page(
    connection: Connection, job_id: str, cursor: str | None, limit: int, order: Order, state: JobState
) -> PagePlan:
    """The same pages, with the same cursors, as those of rows in the database (unembed.models.store.results)."""
    if order == "index":
        return _by_index(connection, job_id, ids.read_index_cursor(cursor), limit, state)
    return _by_finished(connection, job_id, ids.read_finished_cursor(cursor), limit, state.is_ended)


_COLUMNS = (
    BATCHES.c.done_ordinal,
    BATCHES.c.first_index,
    BATCHES.c.rows,
    BATCHES.c.part,
    BATCHES.c.error_code,
    BATCHES.c.error,
)


def _by_index(connection: Connection, job_id: str, last: int, limit: int, state: JobState) -> PagePlan:
    shown = [BatchState.DONE] + ([BatchState.DEAD] if state in (JobState.PARTIAL, JobState.FAILED) else [])
    statement = (
        select(*_COLUMNS)
        .where(
            BATCHES.c.job_id == job_id,
            BATCHES.c.state.in_(shown),
            BATCHES.c.first_index + BATCHES.c.rows > last + 1,
        )
        .order_by(BATCHES.c.first_index)
        .limit(limit + 1)
    )
    pieces: list[tuple[str, int, int] | pa.RecordBatch] = []
    left, more = limit, False
    for batch in connection.execute(statement):
        begin = max(batch.first_index, last + 1)
        end = min(batch.first_index + batch.rows, begin + left)
        if end > begin:
            pieces.append(_piece(batch, begin, end))
            last, left = end - 1, left - (end - begin)
        more = more or batch.first_index + batch.rows > max(begin, end)
    return PagePlan(pieces, ids.index_cursor(last) if more else None)


def _by_finished(
    connection: Connection, job_id: str, last: tuple[int, int], limit: int, job_has_ended: bool
) -> PagePlan:
    ordinal, index = last
    done = BATCHES.c.done_ordinal
    statement = select(*_COLUMNS).where(BATCHES.c.job_id == job_id, done >= ordinal).order_by(done).limit(limit + 2)
    pieces: list[tuple[str, int, int] | pa.RecordBatch] = []
    left, more = limit, False
    for batch in connection.execute(statement):
        begin = max(batch.first_index, index + 1) if batch.done_ordinal == ordinal else batch.first_index
        end = min(batch.first_index + batch.rows, begin + left)
        if end > begin:
            pieces.append(_piece(batch, begin, end))
            last, left = (batch.done_ordinal, end - 1), left - (end - begin)
        more = more or batch.first_index + batch.rows > max(begin, end)
    goes_on = bool(pieces) and (more or not job_has_ended)
    return PagePlan(pieces, ids.finished_cursor(*last) if goes_on else None)


def _piece(batch: Any, begin: int, end: int) -> tuple[str, int, int] | pa.RecordBatch:
    if batch.part is None:
        return error_rows(range(begin, end), batch.error_code, batch.error)
    return batch.part["uri"], begin - batch.first_index, end - begin
