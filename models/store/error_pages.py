"""Pages of the rows without a text, by index: read of the batches that have such rows, and of no others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import ColumnElement, Connection, Row, and_, or_, select

from unembed.generations import concatenated, error_rows, from_columns
from unembed.models.store import ids
from unembed.models.store.sql import BATCHES
from unembed.models.store.values import ResultsPage
from unembed.schemas import BatchState, JobState, RowStatus

_BATCHES_A_PAGE: Final = 100

ReadErrors = Callable[[Row[Any], int, int], pa.RecordBatch]  # of a done batch, those between two indices


def batches_with_errors(connection: Connection, job_id: str, after: int, state: JobState) -> list[Row[Any]]:
    """The first batches that end after this index and have rows without a text: one more than are on a page."""
    having: list[ColumnElement[bool]] = [and_(BATCHES.c.state == BatchState.DONE, BATCHES.c.rows_error > 0)]
    if state in (JobState.PARTIAL, JobState.FAILED):  # before, a dead one may yet be tried again
        having.append(BATCHES.c.state == BatchState.DEAD)
    columns = ("first_index", "rows", "state", "part", "error_code", "error")
    statement = (
        select(*(BATCHES.c[name] for name in columns))
        .where(BATCHES.c.job_id == job_id, or_(*having), BATCHES.c.first_index + BATCHES.c.rows > after + 1)
        .order_by(BATCHES.c.first_index)
        .limit(_BATCHES_A_PAGE + 1)
    )
    return list(connection.execute(statement).all())


def errors_page(batches: list[Row[Any]], after: int, limit: int, read: ReadErrors) -> ResultsPage:
    """At most `limit` rows of these batches that come after an index; there may be fewer, and yet more to come."""
    found, seen = [from_columns([])], 0
    for rows in _errors(batches[:_BATCHES_A_PAGE], after, read):
        found.append(rows)
        seen += rows.num_rows
        if seen > limit:
            page = concatenated(found).slice(0, limit)
            return ResultsPage(page, ids.index_cursor(page.column("index")[-1].as_py()))
    goes_on = len(batches) > _BATCHES_A_PAGE
    last = batches[_BATCHES_A_PAGE - 1] if goes_on else None
    return ResultsPage(concatenated(found), last and ids.index_cursor(last.first_index + last.rows - 1))


def _errors(batches: list[Row[Any]], after: int, read: ReadErrors) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        begin, end = max(batch.first_index, after + 1), batch.first_index + batch.rows
        if batch.state == BatchState.DEAD:
            yield error_rows(range(begin, end), batch.error_code, batch.error)
        else:
            yield read(batch, begin, end)


def only_errors(rows: pa.RecordBatch) -> pa.RecordBatch:
    status: Any = rows.column("status")
    return rows.filter(pc.equal(status, pa.scalar(str(RowStatus.ERROR))))
