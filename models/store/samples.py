"""A look at a job's rows: the best, the worst, some at random, those with a word; read by indexes, a page at a time.

Of rows that are in the database. Those of a job that keeps them in files are read by `Results`, in their order alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from sqlalchemy import ColumnElement, Connection, func, select

from unembed.errors import InputError, NotFoundError
from unembed.models.store import ids
from unembed.models.store.results import FIELDS, read_rows
from unembed.models.store.spread import Side, bound, together
from unembed.models.store.sql import BATCHES, GENERATIONS, JOBS, StorePart, one
from unembed.models.store.values import FoundPage, ResultsPage
from unembed.schemas import BatchState

DEEPEST: Final = 1000  # rows that can be leafed through from the best or the worst on
SEARCHED: Final = 100_000  # rows that one page of a search reads
_MOST_DRAWN: Final = 10_000  # rows of one order that was drawn

_INDEX: Final = GENERATIONS.c["index"]
_QUALITY: Final = GENERATIONS.c.overall_quality


class Samples(StorePart):
    """Rows of a job, chosen. Each method raises NotFoundError, and InputError for a cursor that is none."""

    def by_quality(self, job_id: str, side: Side, *, cursor: str | None = None, limit: int = 50) -> ResultsPage:
        """The rows by their overall_quality, the best or the worst first, DEEPEST of them. Those without one are not
        there."""
        begin = ids.read_index_cursor(cursor) + 1
        limit = min(limit, DEEPEST - begin)
        if limit <= 0:
            raise InputError(f"only the {DEEPEST} {side} rows can be looked through")
        with self._read() as connection:
            _expect_job(connection, job_id)
            done = (BATCHES.c.job_id == job_id, BATCHES.c.state == BatchState.DONE)
            spreads = connection.scalars(select(BATCHES.c.quality).where(*done)).all()
            within: list[ColumnElement[bool]] = [
                GENERATIONS.c.batch_id.in_(select(BATCHES.c.id).where(*done)),
                _QUALITY.is_not(None),
            ]
            if all(spread is not None for spread in spreads):
                limit_at = bound(together(spreads), side, begin + limit + 1)
                within.append(limit_at <= _QUALITY if side == "best" else limit_at >= _QUALITY)
            order = (_QUALITY.desc(), _INDEX) if side == "best" else (_QUALITY, _INDEX)
            found = select(_INDEX).where(*within).order_by(*order).offset(begin).limit(limit + 1)
            chosen = list(connection.scalars(found))
            rows = _rows(connection, job_id, chosen[:limit])
        end = begin + limit
        return ResultsPage(rows, ids.index_cursor(end - 1) if len(chosen) > limit and end < DEEPEST else None)

    def drawn(self, job_id: str, seed: int, *, cursor: str | None = None, limit: int = 50) -> ResultsPage:
        """Rows in an order that the seed draws: the same for the same seed, once all batches have arrived.

        A row that is not written yet is left out, so that a page may have fewer than `limit`.
        """
        begin = ids.read_index_cursor(cursor) + 1
        with self._read() as connection:
            _expect_job(connection, job_id)
            last = func.max(BATCHES.c.first_index + BATCHES.c.rows)
            total = connection.scalar(select(last).where(BATCHES.c.job_id == job_id)) or 0
            places = _order(seed, total)
            rows = _rows(connection, job_id, places[begin : begin + limit])
        end = begin + limit
        return ResultsPage(rows, ids.index_cursor(end - 1) if end < len(places) else None)

    def with_text(self, job_id: str, words: str, *, cursor: str | None = None, limit: int = 50) -> FoundPage:
        """Rows whose text has these words in it, in upper or lower case, by index.

        At most SEARCHED rows are read for one page: it may be empty, and yet not be the last.
        """
        if not words:
            raise InputError("there is nothing to search for; expected a word, or a part of one")
        last = ids.read_index_cursor(cursor)
        end = last + SEARCHED
        own = GENERATIONS.c.job_id == job_id
        matches = GENERATIONS.c.text.icontains(words, autoescape=True)
        statement = FIELDS.where(own, last < _INDEX, end >= _INDEX, matches).order_by(_INDEX).limit(limit + 1)
        with self._read() as connection:
            _expect_job(connection, job_id)
            rows = read_rows(connection, statement)
            if rows.num_rows > limit:
                page = rows.slice(0, limit)
                end = page.column("index")[-1].as_py()
                return FoundPage(page, ids.index_cursor(end), end)
            goes_on = connection.scalar(select(_INDEX).where(own, end < _INDEX).order_by(_INDEX).limit(1)) is not None
        return FoundPage(rows, ids.index_cursor(end) if goes_on else None, end if goes_on else None)


def _order(seed: int, total: int) -> list[int]:
    """Indices below `total`, each once, in an order that is the seed's."""
    if total <= 2 * _MOST_DRAWN:
        return [int(index) for index in np.random.default_rng(seed).permutation(total)[:_MOST_DRAWN]]
    several = np.random.default_rng(seed).integers(total, size=2 * _MOST_DRAWN)
    return list(dict.fromkeys(several.tolist()))[:_MOST_DRAWN]


def _rows(connection: Connection, job_id: str, indices: Sequence[int]) -> pa.RecordBatch:
    """The rows at these indices that are there, in this order."""
    rows = read_rows(connection, FIELDS.where(GENERATIONS.c.job_id == job_id, _INDEX.in_(indices)))
    place = {index: at for at, index in enumerate(indices)}
    found = rows.column("index").to_numpy()  # (N,)
    return rows.take(np.argsort([place[int(index)] for index in found]))


def _expect_job(connection: Connection, job_id: str) -> None:
    if one(connection, select(JOBS.c.id).where(JOBS.c.id == job_id)) is None:
        raise NotFoundError.of_job(job_id)
