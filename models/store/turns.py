"""Whose turn it is. Clients take turns, and so do the jobs of each client; within a job the order is the corpus's.

    turn      of a client: how many rows were taken of it; of a job: the same, divided by the weight of its priority
    next      the first batch that waits, of that job with the lowest turn, of that client with the lowest turn

Who comes, or comes back with nothing waiting, starts where those are that wait: it is served among the first, and has
nothing to catch up on. So a small job passes a large one, which then goes on with all that is left. This is fair
queueing by start times (SFQ). What it costs does not grow with the queue: docs/decisions/0020-turns.md.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, and_, bindparam, func, or_, select, update

from unembed.models.clock import now
from unembed.models.store.sql import BATCHES, CLIENTS, JOBS, insert
from unembed.schemas import BatchState, JobState, Priority

STARTABLE: Final = (JobState.RECEIVING, JobState.QUEUED, JobState.RUNNING)
WEIGHTS: Final = {Priority.HIGH: 8.0, Priority.NORMAL: 1.0, Priority.LOW: 0.125}

WAITS: Final = and_(
    BATCHES.c.state == BatchState.QUEUED, or_(BATCHES.c.not_before.is_(None), BATCHES.c.not_before <= now())
)

# One probe of an index for each job that is looked at. Not EXISTS: a planner may turn it into a join of all there is.
_NEXT_OF_JOB: Final = (
    select(BATCHES.c.id)
    .where(BATCHES.c.job_id == JOBS.c.id, BATCHES.c.attempt < BATCHES.c.max_attempts, WAITS)
    .order_by(BATCHES.c.ordinal)
    .limit(1)
    .correlate(JOBS)
    .scalar_subquery()
)
_HAS_A_TURN: Final = and_(JOBS.c.turn.is_not(None), JOBS.c.state.in_(STARTABLE), _NEXT_OF_JOB.is_not(None))
_NEXT_OF_CLIENT: Final = (
    select(_NEXT_OF_JOB)
    .select_from(JOBS)
    .where(JOBS.c.client == CLIENTS.c.name, _HAS_A_TURN)
    .order_by(JOBS.c.turn, JOBS.c.id)
    .limit(1)
    .correlate(CLIENTS)
    .scalar_subquery()
)


def _of_the_next_client(column: ColumnElement[Any]) -> Select[Any]:
    return (
        select(column)
        .select_from(CLIENTS)
        .where(_NEXT_OF_CLIENT.is_not(None))
        .order_by(CLIENTS.c.turn, CLIENTS.c.name)
        .limit(1)
    )


FIRST_IN_TURN: Final = _of_the_next_client(_NEXT_OF_CLIENT)


def introduce(connection: Connection, client: str) -> None:
    """From now on this client has turns."""
    connection.execute(insert(connection, CLIENTS).values(name=client, turn=0.0).on_conflict_do_nothing())


def join(connection: Connection, job: RowMapping) -> None:
    """A batch of this job, which the caller has locked, is about to wait: if none did, the job takes its place now."""
    of = {"of": job["client"]}
    if connection.scalar(_JOB_WAITS, {"job": job["id"]}):
        return
    place = connection.scalar(_JOB_THAT_WAITS, of)
    if place is None:  # nothing of its client waits
        among_clients = connection.scalar(_CLIENT_THAT_WAITS)
        if among_clients is None:
            among_clients = connection.scalar(_LAST_CLIENT)
        connection.execute(_RAISE_CLIENT, of | {"place": among_clients})
        place = connection.scalar(_LAST_JOB, of)
    connection.execute(_RAISE_JOB, {"job": job["id"], "place": place or 0.0})


def charge(connection: Connection, job: RowMapping, rows: int) -> None:
    """So many rows of this job, which the caller has locked, are decoded now: others come before it does again."""
    connection.execute(_CHARGE_JOB, {"job": job["id"], "cost": rows / WEIGHTS[Priority(job["priority"])]})
    connection.execute(_CHARGE_CLIENT, {"of": job["client"], "cost": float(rows)})


_JOB_WAITS: Final = select(
    select(BATCHES.c.id).where(BATCHES.c.job_id == bindparam("job"), BATCHES.c.state == BatchState.QUEUED).exists()
)
_JOB_THAT_WAITS: Final = (
    select(JOBS.c.turn).where(JOBS.c.client == bindparam("of"), _HAS_A_TURN).order_by(JOBS.c.turn, JOBS.c.id).limit(1)
)
_CLIENT_THAT_WAITS: Final = _of_the_next_client(CLIENTS.c.turn)
# Where nothing waits: those that were served have had so much, and may have more in a moment.
_LAST_JOB: Final = select(func.max(JOBS.c.turn)).where(JOBS.c.client == bindparam("of"))
_LAST_CLIENT: Final = select(func.max(CLIENTS.c.turn))
_RAISE_JOB: Final = (
    update(JOBS)
    .where(JOBS.c.id == bindparam("job"), or_(JOBS.c.turn.is_(None), JOBS.c.turn < bindparam("place")))
    .values(turn=bindparam("place"))
)
_RAISE_CLIENT: Final = (
    update(CLIENTS)
    .where(CLIENTS.c.name == bindparam("of"), CLIENTS.c.turn < bindparam("place"))
    .values(turn=bindparam("place"))
)
_CHARGE_JOB: Final = update(JOBS).where(JOBS.c.id == bindparam("job")).values(turn=JOBS.c.turn + bindparam("cost"))
_CHARGE_CLIENT: Final = (
    update(CLIENTS).where(CLIENTS.c.name == bindparam("of")).values(turn=CLIENTS.c.turn + bindparam("cost"))
)
