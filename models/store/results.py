"""Rows: written once with their batch, read in pages."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import islice
from typing import Any, Literal

from sqlalchemy import ARRAY, Column, Connection, RowMapping, and_, func, literal, or_, select
from sqlalchemy import column as named

from unembed.errors import InputError, NotFoundError
from unembed.models.store import ids
from unembed.models.store.sql import BATCHES, GENERATIONS, JOBS, Part, insert, one, storable
from unembed.schemas import GENERATION_FIELDS, BatchState, Generation, GenerationPage, JobState, RowStatus

Order = Literal["finished", "index"]

_RANGES_A_QUERY = 200
_WITH_DEAD = (JobState.PARTIAL, JobState.FAILED)


class ResultsPart(Part):
    def generations(
        self, job_id: str, *, cursor: str | None = None, limit: int = 1000, order: Order = "finished"
    ) -> GenerationPage:
        """A page of rows, at most `limit`.

        "finished": by the order in which the batches finished, which only grows at its end: read while the job runs,
        it misses nothing and repeats nothing. The cursor is there whenever rows came, until the last page of an ended
        job; an empty page of a job that runs has none: ask again with the last one.
        "index": by index in the corpus; whole once the job has ended: the rows of dead batches, which are not stored,
        are error rows then, with their batch's error and without their ids. A cancelled job has what was done.
        """
        if limit < 1:
            raise InputError(f"a page of {limit} rows; expected 1 or more")
        with self._read() as connection:
            # The state before the rows: a job that has ended by now gets no more of them.
            job = one(connection, select(JOBS.c.state).where(JOBS.c.id == job_id))
            if job is None:
                raise NotFoundError(f"no job has the id {job_id!r}")
            state = JobState(job["state"])
            if order == "index":
                return _by_index(connection, job_id, cursor, limit, state)
            return _by_finished(connection, job_id, cursor, limit, state.is_ended)


def _by_index(connection: Connection, job_id: str, cursor: str | None, limit: int, state: JobState) -> GenerationPage:
    last = ids.read_index_cursor(cursor)
    index = GENERATIONS.c["index"]
    statement = select(GENERATIONS).where(GENERATIONS.c.job_id == job_id, index > last).order_by(index).limit(limit + 1)
    written = (_to_generation(row) for row in connection.execute(statement).mappings().all())
    unwritten = _rows_of_dead(connection, job_id, last, limit + 1) if state in _WITH_DEAD else ()
    rows = list(islice(merge(written, unwritten, key=lambda row: row.index), limit + 1))
    page, more = rows[:limit], len(rows) > limit
    return GenerationPage(generations=page, next_cursor=ids.index_cursor(page[-1].index) if more else None)


def _rows_of_dead(connection: Connection, job_id: str, after: int, limit: int) -> Iterator[Generation]:
    """The first rows after this index that a dead batch did not come to write."""
    columns = (BATCHES.c.first_index, BATCHES.c.rows, BATCHES.c.error_code, BATCHES.c.error)
    dead = select(*columns).where(
        BATCHES.c.job_id == job_id,
        BATCHES.c.state == BatchState.DEAD,
        BATCHES.c.first_index + BATCHES.c.rows > after + 1,
    )
    for first, count, code, error in connection.execute(dead.order_by(BATCHES.c.first_index).limit(limit)).all():
        for index in range(max(first, after + 1), first + count):
            yield Generation(index=index, status=RowStatus.ERROR, error_code=code, error=error)


def _by_finished(
    connection: Connection, job_id: str, cursor: str | None, limit: int, job_has_ended: bool
) -> GenerationPage:
    """The rows are known before they are read, since a done batch has all its rows: so no sort, and no skipping."""
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
    rows = list(_rows_in(connection, job_id, ranges))
    goes_on = bool(rows) and (more or not job_has_ended)
    return GenerationPage(generations=rows, next_cursor=ids.finished_cursor(*last) if goes_on else None)


def _rows_in(connection: Connection, job_id: str, ranges: Sequence[range]) -> Iterator[Generation]:
    index = GENERATIONS.c["index"]
    for start in range(0, len(ranges), _RANGES_A_QUERY):
        some = ranges[start : start + _RANGES_A_QUERY]
        within = or_(*(and_(index >= each[0], index <= each[-1]) for each in some))
        statement = select(GENERATIONS).where(GENERATIONS.c.job_id == job_id, within)
        found = {row["index"]: row for row in connection.execute(statement).mappings()}
        for each in some:
            yield from (_to_generation(found[position]) for position in each)


def _to_generation(row: RowMapping) -> Generation:
    return Generation(**{name: row[name] for name in GENERATION_FIELDS})


def write_rows(connection: Connection, batch: RowMapping, rows: Sequence[Generation]) -> None:
    """Insert the rows of a batch, each at most once: one statement on PostgreSQL, one prepared one on SQLite."""
    values = [_storable_row(row) for row in rows]
    owner = {"job_id": batch["job_id"], "batch_id": batch["id"]}
    statement = insert(connection, GENERATIONS)
    once = ["job_id", "index"]
    if connection.dialect.name == "postgresql":
        unnested = func.unnest(*(_array(name, values) for name in GENERATION_FIELDS))
        source = unnested.table_valued(*(named(name) for name in GENERATION_FIELDS)).render_derived()
        owned = [literal(value) for value in owner.values()]
        chosen = select(*owned, *(source.c[name] for name in GENERATION_FIELDS))
        connection.execute(
            statement.from_select([*owner, *GENERATION_FIELDS], chosen).on_conflict_do_nothing(index_elements=once)
        )
    else:
        connection.execute(statement.on_conflict_do_nothing(index_elements=once), [owner | row for row in values])


def _array(name: str, values: Sequence[dict[str, Any]]) -> Any:
    column: Column[Any] = GENERATIONS.c[name]
    return literal([row[name] for row in values], ARRAY(column.type))


def _storable_row(row: Generation) -> dict[str, Any]:
    return {name: _storable_value(getattr(row, name)) for name in GENERATION_FIELDS}


def _storable_value(value: Any) -> Any:
    """NaN and infinity become NULL: JSON has neither."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return storable(value) if isinstance(value, str) else value
