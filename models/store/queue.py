"""The queue: which batch is next, which have a message, how much is waiting, and whose it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from sqlalchemy import ColumnElement, case, func, select, update

from unembed.models.clock import now, seconds_between
from unembed.models.store.sql import BATCHES, JOBS, StorePart
from unembed.models.store.totals import stored_rows
from unembed.models.store.turns import FIRST_IN_TURN
from unembed.models.store.values import Backlog, QueueStats
from unembed.schemas import BatchState, JobState


class Queue(StorePart):
    """The batches that are waiting or running, of all jobs together."""

    def first_in_turn(self) -> str | None:
        """The batch that is to be decoded next; None when none waits, or all wait for their back-off."""
        with self._read() as connection:
            return cast("str | None", connection.scalar(FIRST_IN_TURN))

    def mark_published(self, batch_ids: Sequence[str]) -> None:
        """Their messages were sent. One that somebody is just changing is left out: at worst it is sent again."""
        if not batch_ids:
            return
        queued = select(BATCHES.c.id).where(BATCHES.c.id.in_(batch_ids), BATCHES.c.state == BatchState.QUEUED)
        with self._write() as connection:
            free = queued.with_for_update(skip_locked=True)
            connection.execute(update(BATCHES).where(BATCHES.c.id.in_(free)).values(published_at=now()))

    def mark_unsent(self, batch_ids: Sequence[str]) -> None:
        """Their messages could not be sent: the next sweep sends them."""
        with self._write() as connection:
            connection.execute(
                update(BATCHES)
                .where(BATCHES.c.id.in_(batch_ids), BATCHES.c.state == BatchState.QUEUED)
                .values(published_at=None)
            )

    def stats(self) -> QueueStats:
        open_states = (BatchState.QUEUED, BatchState.RUNNING, BatchState.DEAD)
        batches = (
            select(
                BATCHES.c.state,
                func.count().label("batches"),
                func.sum(BATCHES.c.rows).label("rows"),
                seconds_between(func.min(BATCHES.c.queued_at), now()).label("oldest"),
            )
            .where(BATCHES.c.state.in_(open_states))
            .group_by(BATCHES.c.state)
        )
        jobs = select(JOBS.c.state, func.count()).group_by(JOBS.c.state)
        with self._read() as connection:
            by_state = {row["state"]: row for row in connection.execute(batches).mappings()}
            counted = {state: int(number) for state, number in connection.execute(jobs)}
            rows = stored_rows(connection)
        count = {state: int(by_state[state]["batches"]) if state in by_state else 0 for state in open_states}
        queued = by_state.get(BatchState.QUEUED)
        return QueueStats(
            queued_batches=count[BatchState.QUEUED],
            running_batches=count[BatchState.RUNNING],
            dead_batches=count[BatchState.DEAD],
            queued_rows=int(queued["rows"]) if queued else 0,
            oldest_queued_seconds=max(0.0, float(queued["oldest"])) if queued else 0.0,
            jobs={state: counted.get(state, 0) for state in JobState},
            rows=rows,
        )

    def backlog(self, job_id: str) -> Backlog:
        """What is queued or running, in all and of the client that this job belongs to."""
        owner = select(JOBS.c.client).where(JOBS.c.id == job_id).scalar_subquery()
        own = JOBS.c.client == owner

        def total(column: str, *, of_client: bool) -> ColumnElement[int]:
            counted = case((own, BATCHES.c[column]), else_=0) if of_client else BATCHES.c[column]
            return func.coalesce(func.sum(counted), 0)

        statement = (
            select(*(total(column, of_client=of) for of in (False, True) for column in ("rows", "bytes")))
            .join_from(BATCHES, JOBS, BATCHES.c.job_id == JOBS.c.id)
            .where(BATCHES.c.state.in_((BatchState.QUEUED, BatchState.RUNNING)))
        )
        with self._read() as connection:
            return Backlog(*(int(number) for number in connection.execute(statement).one()))
