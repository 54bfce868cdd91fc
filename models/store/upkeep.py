"""Upkeep: what was lost comes back; who works; how long the queue is."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import ColumnElement, Connection, and_, false, func, or_, select, text, update

from models.clock import now, seconds_between
from models.store.attempts import ended, queued_again
from models.store.settling import settle
from models.store.sql import BATCHES, JOBS, WORKERS, Part, insert, lock_job
from models.store.values import QueueStats, Swept, Worker
from unembed.schemas import BatchState, JobState, RowStatus

_PUBLISH_AT_ONCE = 1000
_PROBES = 8


class UpkeepPart(Part):
    def sweep(self) -> Swept:
        """Take back the batches whose lease ran out, and name those whose message is to be sent."""
        expired = dead = 0
        with self._read() as connection:
            lapsed = select(BATCHES.c.job_id).where(_lease_ran_out()).distinct()
            job_ids = connection.scalars(lapsed.order_by(BATCHES.c.job_id)).all()
        for job_id in job_ids:
            with self._write() as connection:
                taken, died = _take_back(connection, job_id)
            expired, dead = expired + taken, dead + died
        with self._read() as connection:
            return Swept(_to_publish(connection, self.settings.republish_after), expired, dead)

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
            connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=facts | keep))

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

    def ping(self) -> None:
        """Raises StoreUnavailableError when the database cannot be reached."""
        with self._read() as connection:
            connection.execute(text("SELECT 1"))


def _lease_ran_out() -> ColumnElement[bool]:
    return and_(BATCHES.c.state == BatchState.RUNNING, BATCHES.c.lease_until < now())


def _take_back(connection: Connection, job_id: str) -> tuple[int, int]:
    """How many of the job's leases had run out, and how many of those batches are dead now."""
    job = lock_job(connection, job_id)
    lapsed = update(BATCHES).where(BATCHES.c.job_id == job_id, _lease_ran_out())
    if job["state"] == JobState.CANCELLING:
        expired, dead = connection.execute(lapsed.values(ended(BatchState.CANCELLED))).rowcount, 0
    else:
        why = {"error_code": "lease_expired", "error": "the worker stopped answering"}
        last = lapsed.where(BATCHES.c.attempt >= BATCHES.c.max_attempts)
        dead = connection.execute(last.values(ended(BatchState.DEAD) | why)).rowcount
        expired = dead + connection.execute(lapsed.values(queued_again() | why)).rowcount
    settle(connection, job)
    return expired, dead


def _to_publish(connection: Connection, republish_after: float) -> list[str]:
    """The queued batches whose message was never sent, or is lost.

    To send again whatever waits for long would flood a long queue with copies. But messages are taken in the order in
    which they were sent: a batch that was sent well before one that runs by now was passed over, its message is lost.
    If no batch was claimed for long, then every worker is busy, or every message is lost; a few probes tell: once one
    of them is claimed, all that was sent before it counts as passed over.
    """
    due = and_(BATCHES.c.state == BatchState.QUEUED, or_(BATCHES.c.not_before.is_(None), BATCHES.c.not_before <= now()))
    sent_long_ago = BATCHES.c.published_at < now(-republish_after)
    latest, claimed = connection.execute(
        select(func.max(BATCHES.c.published_at), func.max(BATCHES.c.claimed_at) >= now(-republish_after)).where(
            BATCHES.c.state == BatchState.RUNNING
        )
    ).one()
    passed_over = false() if latest is None else BATCHES.c.published_at < latest - timedelta(seconds=republish_after)
    unsent = or_(BATCHES.c.published_at.is_(None), and_(sent_long_ago, passed_over))
    found = connection.scalars(
        select(BATCHES.c.id).where(due, unsent).order_by(BATCHES.c.queued_at).limit(_PUBLISH_AT_ONCE)
    ).all()
    if claimed:
        return list(found)
    probes = connection.scalars(
        select(BATCHES.c.id).where(due, sent_long_ago).order_by(BATCHES.c.published_at).limit(_PROBES)
    ).all()
    return list(dict.fromkeys([*found, *probes]))
