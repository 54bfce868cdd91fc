"""Upkeep: who works, how long the queue is, and how much of it is whose."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, case, func, or_, select, text, update

from unembed.models.clock import now, seconds_between
from unembed.models.store.sql import BATCHES, JOBS, WORKERS, Part, insert
from unembed.models.store.values import Backlog, QueueStats, Worker
from unembed.schemas import BatchState, JobState, RowStatus


class UpkeepPart(Part):
    def worker_seen(self, name: str, host: str, pid: int, device: str | None, dtype: str | None) -> None:
        """A worker is there. With another pid it has started anew."""
        with self._write() as connection:
            facts = {"host": host, "pid": pid, "device": device, "dtype": dtype, "last_seen": now()}
            statement = insert(connection, WORKERS).values(
                name=name, started_at=now(), batches_done=0, rows_done=0, **facts
            )
            # The process that started tells a device only once it has one.
            keep = {
                column: func.coalesce(statement.excluded[column], WORKERS.c[column]) for column in ("device", "dtype")
            }
            anew = case((WORKERS.c.pid != statement.excluded.pid, now()), else_=WORKERS.c.started_at)
            changes = facts | keep | {"started_at": anew}
            connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=changes))

    def worker_done(self, name: str, rows: int) -> None:
        """A worker has finished a batch of so many rows."""
        with self._write() as connection:
            connection.execute(
                update(WORKERS)
                .where(WORKERS.c.name == name)
                .values(
                    batches_done=WORKERS.c.batches_done + 1,
                    rows_done=WORKERS.c.rows_done + rows,
                    last_seen=now(),
                    last_done=now(),
                )
            )

    def workers(self) -> list[Worker]:
        with self._read() as connection:
            found = connection.execute(select(WORKERS).order_by(WORKERS.c.name)).mappings()
            return [Worker(**row) for row in found]

    def is_deaf(self, name: str, seconds: float) -> bool:
        """Whether batches could have been taken for so long, and the worker has neither taken one nor runs one."""
        ago = now(-seconds)
        due = or_(BATCHES.c.not_before.is_(None), BATCHES.c.not_before < ago)
        waits = select(BATCHES.c.id).where(BATCHES.c.state == BatchState.QUEUED, BATCHES.c.queued_at < ago, due)
        took = select(BATCHES.c.id).where(
            BATCHES.c.worker == name, or_(BATCHES.c.state == BatchState.RUNNING, BATCHES.c.claimed_at >= ago)
        )
        new = select(WORKERS.c.name).where(WORKERS.c.name == name, WORKERS.c.started_at >= ago)
        with self._read() as connection:
            return bool(connection.scalar(select(and_(waits.exists(), ~took.exists(), ~new.exists()))))

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
        # From the counts of the batches: counting the rows themselves would read every one of them.
        written = select(*(func.coalesce(func.sum(BATCHES.c[f"rows_{status}"]), 0) for status in RowStatus))
        with self._read() as connection:
            by_state = {row["state"]: row for row in connection.execute(batches).mappings()}
            counted = {state: int(number) for state, number in connection.execute(jobs)}
            rows = connection.execute(written).one()
        count = {state: int(by_state[state]["batches"]) if state in by_state else 0 for state in open_states}
        queued = by_state.get(BatchState.QUEUED)
        return QueueStats(
            queued_batches=count[BatchState.QUEUED],
            running_batches=count[BatchState.RUNNING],
            dead_batches=count[BatchState.DEAD],
            queued_rows=int(queued["rows"]) if queued else 0,
            oldest_queued_seconds=max(0.0, float(queued["oldest"])) if queued else 0.0,
            jobs={state: counted.get(state, 0) for state in JobState},
            rows={status: int(number) for status, number in zip(RowStatus, rows, strict=True)},
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

    def ping(self) -> None:
        """Raises StoreUnavailableError when the database cannot be reached."""
        with self._read() as connection:
            connection.execute(text("SELECT 1"))
