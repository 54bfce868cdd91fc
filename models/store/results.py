"""Rows: written once with their batch, read in pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pyarrow import csv
from sqlalchemy import Connection, RowMapping, Select, and_, or_, select
from sqlalchemy.exc import DBAPIError

from unembed.errors import InputError, NotFoundError
from unembed.generations import SCHEMA, concatenated, error_rows, from_columns, in_order, storable
from unembed.models.parts import Parts
from unembed.models.postgresql import BINARY
from unembed.models.store import ids
from unembed.models.store.error_pages import batches_with_errors, errors_page, only_errors
from unembed.models.store.part_pages import PagePlan, plan_page
from unembed.models.store.sql import BATCHES, GENERATIONS, JOBS, StorePart, one
from unembed.models.store.values import ResultsPage, ResultsVersion
from unembed.schemas import GENERATION_FIELDS, BatchState, JobState, Order, RowStatus

_RANGES_A_QUERY = 200
_ROWS_A_FETCH: Final = 500  # as many as stay in the processor's cache until they are columns
_WITH_DEAD = (JobState.PARTIAL, JobState.FAILED)
_FLAGS: Final = tuple(field.name for field in SCHEMA if pa.types.is_boolean(field.type))
FIELDS: Final = select(*(GENERATIONS.c[name] for name in GENERATION_FIELDS))


class Results(StorePart):
    """The rows that were written."""

    def page(
        self, job_id: str, *, cursor: str | None = None, limit: int = 1000, order: Order = "finished"
    ) -> ResultsPage:
        """A page of rows, at most `limit`.

        "finished": by the order in which the batches finished, which only grows at its end: read while the job runs,
        it misses nothing and repeats nothing. The cursor is there whenever rows came, until the last page of an ended
        job; an empty page of a job that runs has none: ask again with the last one.
        "index": by index in the corpus; whole once the job has ended: the rows of dead batches, which are not stored,
        are error rows then, with their batch's error and without their ids. A cancelled job has what was done.

        Raises StorageUnavailableError when the rows are in files that cannot be read here.
        """
        if limit < 1:
            raise InputError(f"a page of {limit} rows; expected 1 or more")
        page = self._page(job_id, cursor, limit, order)
        return page.read(Parts(self.settings.results_roots)) if isinstance(page, PagePlan) else page

    def errors(self, job_id: str, *, cursor: str | None = None, limit: int = 1000) -> ResultsPage:
        """A page of the rows without a text, at most `limit`, by index; those of dead batches once the job has ended.

        While the job runs there may be more later, before the cursor too. Raises what `page` raises.
        """
        after = ids.read_index_cursor(cursor)
        parts = Parts(self.settings.results_roots)
        with self._read() as connection:
            job = one(connection, select(JOBS.c.state).where(JOBS.c.id == job_id))
            if job is None:
                raise NotFoundError.of_job(job_id)
            batches = batches_with_errors(connection, job_id, after, JobState(job["state"]))

        def read(batch: Any, begin: int, end: int) -> pa.RecordBatch:
            if batch.part is not None:
                return only_errors(parts.read(batch.part["uri"], begin - batch.first_index, end - begin))
            within = GENERATIONS.c["index"].between(begin, end - 1)
            errors = GENERATIONS.c.status == RowStatus.ERROR
            with self._read() as connection:
                found = read_rows(connection, FIELDS.where(GENERATIONS.c.job_id == job_id, within, errors))
            return in_order([found])

        return errors_page(batches, after, limit, read)

    def version(self, job_id: str) -> ResultsVersion:
        """Raises NotFoundError. The rows of a batch that is done do not change, so these few numbers tell."""
        with self._read() as connection:
            job = one(connection, select(JOBS.c.state, JOBS.c.batches_done).where(JOBS.c.id == job_id))
        if job is None:
            raise NotFoundError.of_job(job_id)
        return ResultsVersion(JobState(job["state"]), job["batches_done"])

    def _page(self, job_id: str, cursor: str | None, limit: int, order: Order) -> ResultsPage | PagePlan:
        with self._read() as connection:
            # The state before the rows: a job that has ended by now gets no more of them.
            job = one(connection, select(JOBS.c.state, JOBS.c.results_uri).where(JOBS.c.id == job_id))
            if job is None:
                raise NotFoundError.of_job(job_id)
            state = JobState(job["state"])
            if job["results_uri"] is not None:
                return plan_page(connection, job_id, cursor, limit, order, state)
            if order == "index":
                return _by_index(connection, job_id, cursor, limit, state)
            return _by_finished(connection, job_id, cursor, limit, state.is_ended)


def _by_index(connection: Connection, job_id: str, cursor: str | None, limit: int, state: JobState) -> ResultsPage:
    last = ids.read_index_cursor(cursor)
    index = GENERATIONS.c["index"]
    written = FIELDS.where(GENERATIONS.c.job_id == job_id, index > last).order_by(index).limit(limit + 1)
    unwritten = _rows_of_dead(connection, job_id, last, limit + 1) if state in _WITH_DEAD else ()
    rows = in_order([read_rows(connection, written), *unwritten])
    page, more = rows.slice(0, limit), rows.num_rows > limit
    return ResultsPage(page, ids.index_cursor(page.column("index")[-1].as_py()) if more else None)


def _rows_of_dead(connection: Connection, job_id: str, after: int, limit: int) -> Iterator[pa.RecordBatch]:
    """The first rows after this index, `limit` at most, that a dead batch did not come to write."""
    columns = (BATCHES.c.first_index, BATCHES.c.rows, BATCHES.c.error_code, BATCHES.c.error)
    dead = select(*columns).where(
        BATCHES.c.job_id == job_id,
        BATCHES.c.state == BatchState.DEAD,
        BATCHES.c.first_index + BATCHES.c.rows > after + 1,
    )
    left = limit
    for first, count, code, error in connection.execute(dead.order_by(BATCHES.c.first_index).limit(limit)).all():
        begin = max(first, after + 1)
        unwritten = range(begin, min(first + count, begin + left))
        yield error_rows(unwritten, code, error)
        left -= len(unwritten)


def _by_finished(
    connection: Connection, job_id: str, cursor: str | None, limit: int, job_has_ended: bool
) -> ResultsPage:
    """The rows are known before they are read, since a done batch has all its rows: so no skipping."""
    ordinal, index = ids.read_finished_cursor(cursor)
    done = BATCHES.c.done_ordinal
    statement = (
        select(done, BATCHES.c.first_index, BATCHES.c.rows)
        .where(BATCHES.c.job_id == job_id, done >= ordinal)
        .order_by(done)
        .limit(limit + 2)
    )
    ranges, last, left = [], (ordinal, index), limit
    more = False
    for done_ordinal, first, count in connection.execute(statement):
        begin = max(first, index + 1) if done_ordinal == ordinal else first
        end = min(first + count, begin + left)
        if end > begin:
            ranges.append(range(begin, end))
            last, left = (done_ordinal, end - 1), left - (end - begin)
        more = more or first + count > max(begin, end)
    if not ranges:
        return ResultsPage(from_columns([]), None)
    goes_on = more or not job_has_ended
    return ResultsPage(_rows_in(connection, job_id, ranges), ids.finished_cursor(*last) if goes_on else None)


def _rows_in(connection: Connection, job_id: str, ranges: Sequence[range]) -> pa.RecordBatch:
    """The rows of all ranges, in the order of the ranges."""
    index, merged = GENERATIONS.c["index"], _merged(ranges)
    parts = []
    for start in range(0, len(merged), _RANGES_A_QUERY):
        some = merged[start : start + _RANGES_A_QUERY]
        within = or_(*(and_(index >= each[0], index <= each[-1]) for each in some))
        parts.append(read_rows(connection, FIELDS.where(GENERATIONS.c.job_id == job_id, within)))
    rows = in_order(parts)
    wanted = np.concatenate([np.arange(each.start, each.stop) for each in ranges])  # (N,)
    if (np.diff(wanted) > 0).all():
        return rows
    return rows.take(np.argsort(np.argsort(wanted)))  # each by its rank among all


def _merged(ranges: Sequence[range]) -> list[range]:
    """The same indices in order, in as few ranges as can be: batches finish nearly in turn, so that these are few."""
    merged: list[range] = []
    for each in sorted(ranges, key=lambda one: one.start):
        if merged and merged[-1].stop == each.start:
            merged[-1] = range(merged[-1].start, each.stop)
        else:
            merged.append(each)
    return merged


def read_rows(connection: Connection, statement: Select[Any]) -> pa.RecordBatch:
    """The driver's own tuples as columns, a few at a time: SQLAlchemy's rows would take as long again."""
    result = connection.execute(statement, execution_options={BINARY: True})
    assert result.cursor is not None, "a SELECT has a cursor"
    numbers_for_flags = connection.dialect.name == "sqlite"
    parts = []
    while found := result.cursor.fetchmany(_ROWS_A_FETCH):
        columns: dict[str, Any] = dict(zip(GENERATION_FIELDS, zip(*found, strict=True), strict=True))
        if numbers_for_flags:
            columns |= {name: pa.array(columns[name], pa.int8()).cast(pa.bool_()) for name in _FLAGS}
        parts.append(from_columns(columns.pop("index"), **columns))
    result.close()
    return concatenated(parts) if parts else from_columns(())


def write_rows(connection: Connection, batch: RowMapping, rows: pa.RecordBatch) -> None:
    """Insert the rows of a batch: by COPY on PostgreSQL, by one prepared statement on SQLite.

    Raises IntegrityError when one of them is there already.
    """
    owner = {"job_id": batch["job_id"], "batch_id": batch["id"]}
    columns = [storable(rows.column(name)) for name in GENERATION_FIELDS]
    if connection.dialect.name == "postgresql":
        _copy(connection, [*owner.values()], columns)
        return
    values = chain(map(repeat, owner.values()), (column.to_pylist() for column in columns))
    connection.exec_driver_sql(_INSERT, list(zip(*values, strict=False)))  # the owner's never end


_NAMES: Final = ", ".join(f'"{name}"' for name in ("job_id", "batch_id", *GENERATION_FIELDS))
_INSERT: Final = f"INSERT INTO generations ({_NAMES}) VALUES ({', '.join('?' * (2 + len(GENERATION_FIELDS)))})"  # noqa: S608  # our own names
_COPY: Final = f"COPY generations ({_NAMES}) FROM STDIN (FORMAT csv)"


def _copy(connection: Connection, owner: Sequence[str], columns: Sequence[pa.Array[Any]]) -> None:
    """As CSV, which Arrow writes without an object a value: text is in quotes, and null is what is not there."""
    count = len(columns[0])
    owned = [pa.repeat(pa.scalar(value), count) for value in owner]
    table = pa.Table.from_arrays([*owned, *columns], names=[str(number) for number in range(len(owned) + len(columns))])
    sink = pa.BufferOutputStream()
    csv.write_csv(table, sink, csv.WriteOptions(include_header=False, quoting_style="needed"))
    driver: Any = connection.connection.driver_connection
    dbapi = connection.dialect.loaded_dbapi
    try:
        with driver.cursor() as cursor, cursor.copy(_COPY) as copying:
            copying.write(sink.getvalue())
    except dbapi.Error as error:  # as if it had come through SQLAlchemy
        raise DBAPIError.instance(_COPY, None, error, dbapi.Error, dialect=connection.dialect) from error
