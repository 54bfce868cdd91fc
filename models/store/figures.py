"""What a job's page shows beside its counts: when who worked on it, what went wrong, how good its rows are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Select, case, func, or_, select

from unembed.models.store.spread import together
from unembed.models.store.sql import BATCHES, GENERATIONS, StorePart, to_batch
from unembed.models.store.values import ErrorCount
from unembed.schemas import Batch, BatchState, RowStatus

_LOOKED_INTO: Final = 100  # batches with errors whose rows are read to count them by code
_LATEST: Final = case((BATCHES.c.state == BatchState.RUNNING, 0), else_=1)


class Figures(StorePart):
    """Of one job each. A job that is not there has nothing of any."""

    def claimed(self, job_id: str, limit: int) -> list[Batch]:
        """The batches that were ever claimed: those that run, then the others, that which was claimed last first."""
        return self._batches(
            select(BATCHES)
            .where(BATCHES.c.job_id == job_id, BATCHES.c.claimed_at.is_not(None))
            .order_by(_LATEST, BATCHES.c.claimed_at.desc(), BATCHES.c.ordinal.desc())
            .limit(limit)
        )

    def troubled(self, job_id: str, limit: int) -> list[Batch]:
        """The batches that have failed once at least, by ordinal; of one that is done, its error is forgotten."""
        failed = or_(BATCHES.c.error_code.is_not(None), BATCHES.c.attempt > 1)
        return self._batches(
            select(BATCHES).where(BATCHES.c.job_id == job_id, failed).order_by(BATCHES.c.ordinal).limit(limit)
        )

    def quality(self, job_id: str) -> list[int]:
        """How many rows have an overall_quality in each of STEPS buckets from 0 to 1."""
        counted = select(BATCHES.c.quality).where(BATCHES.c.job_id == job_id, BATCHES.c.quality.is_not(None))
        with self._read() as connection:
            return together(connection.scalars(counted).all())

    def errors(self, job_id: str) -> list[ErrorCount]:
        """The rows without a text by code, the most first: those of dead batches, and those of the first hundred
        batches that are done and have some. Rows in files are not looked into."""
        dead = (
            select(BATCHES.c.error_code, func.sum(BATCHES.c.rows), func.min(BATCHES.c.error))
            .where(BATCHES.c.job_id == job_id, BATCHES.c.state == BatchState.DEAD)
            .group_by(BATCHES.c.error_code)
        )
        some = (
            select(BATCHES.c.id)
            .where(BATCHES.c.job_id == job_id, BATCHES.c.state == BatchState.DONE, BATCHES.c.rows_error > 0)
            .order_by(BATCHES.c.ordinal)
            .limit(_LOOKED_INTO)
        )
        with self._read() as connection:
            found = list(connection.execute(dead).all())
            if batches := list(connection.scalars(some)):
                found += connection.execute(_rows_by_code(batches)).all()
        counts: dict[str, ErrorCount] = {}
        for code, rows, example in found:
            before = counts.get(code, ErrorCount(code, 0, example))
            counts[code] = ErrorCount(code, before.rows + int(rows), before.example)
        return sorted(counts.values(), key=lambda one: (-one.rows, one.code))

    def explained(self, job_id: str) -> dict[str, Any] | None:
        """How the text of a job that explains came about; None before it is done, or where its worker did not tell."""
        with self._read() as connection:
            first = select(BATCHES.c.explained).where(BATCHES.c.job_id == job_id, BATCHES.c.ordinal == 0)
            found: dict[str, Any] | None = connection.scalar(first)
            return found

    def _batches(self, statement: Select[Any]) -> list[Batch]:
        with self._read() as connection:
            return [to_batch(row) for row in connection.execute(statement).mappings()]


def _rows_by_code(batches: Sequence[str]) -> Select[Any]:
    return (
        select(GENERATIONS.c.error_code, func.count(), func.min(GENERATIONS.c.error))
        .where(GENERATIONS.c.batch_id.in_(batches), GENERATIONS.c.status == RowStatus.ERROR)
        .group_by(GENERATIONS.c.error_code)
    )
