"""Attempts: a batch is claimed, kept alive, and finished, failed or given back. The attempt's number is the fence."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sqlalchemy import ColumnElement, Connection, RowMapping, Select, and_, bindparam, case, func, or_, select, update

from unembed.generations import counts_of
from unembed.models.clock import now, seconds_between
from unembed.models.store.job_end import settle
from unembed.models.store.results import write_rows
from unembed.models.store.spread import spread_of
from unembed.models.store.sql import (
    BATCHES,
    JOBS,
    WORKERS,
    StorePart,
    lock_job_of,
    one,
    storable_error,
    to_attempt,
    to_batch,
    to_head,
)
from unembed.models.store.totals import Key, Outcome, count, count_done, count_ends
from unembed.models.store.turns import STARTABLE, WAITS, charge
from unembed.models.store.values import Attempt, Beat, Claim
from unembed.models.store.workers import COUNT_FOR_WORKER
from unembed.schemas import BatchState, JobState, ResultsPart, RowStatus, Timings

_MEASURED_BY_WORKER: Final = ("load_ms", "decode_ms", "score_ms")


class Attempts(StorePart):
    """One run of a batch by a worker, from its claim to its end."""

    def claim(
        self, batch_id: str, worker: str, lease: float, message: str | None = None, *, or_next: bool = False
    ) -> Claim | None:
        """The batch, for `lease` seconds; None when it is not to be had: somebody has it, it has ended, or it is early.

        `message` is the id of the message that this attempt answers. `or_next`: where the batch is not to be had, the
        first of its job that waits. Many workers that look for the next batch at once all find the same one: each takes
        another as soon as the job's lock is its own, and need not look again.
        """
        with self._write() as connection:
            job = lock_job_of(connection, batch_id)
            if job is None or job["state"] not in STARTABLE:
                return None
            who = {"by": worker, "lease": lease, "answers": message}
            taken = one(connection, _TAKE, {"batch": batch_id} | who)
            if taken is None and or_next:
                taken = one(connection, _TAKE_NEXT, {"job": job["id"]} | who)
            if taken is None:
                return None
            charge(connection, job, taken["rows"])
            state = JobState.RUNNING if job["state"] == JobState.QUEUED else job["state"]
            if state != job["state"] or job["started_at"] is None:
                started = func.coalesce(JOBS.c.started_at, now())
                connection.execute(update(JOBS).where(JOBS.c.id == job["id"]).values(state=state, started_at=started))
            if taken["published_at"] is None:
                connection.execute(_TAKE_A_MESSAGE)
            return Claim(
                to_batch(taken), replace(to_head(job), state=JobState(state)), taken["attempt"], taken["traceparent"]
            )

    def heartbeat(self, batch_id: str, attempt: int, lease: float, unwritten: int = 0) -> Beat:
        """The lease begins anew, unless the batch is no longer this attempt's; `unwritten` rows are decoded by now.

        A number that comes late changes nothing: within an attempt it only grows.
        """
        with self._write() as connection:
            told = {"batch": batch_id, "held": attempt, "lease": lease, "unwritten": unwritten}
            state = connection.scalar(_RENEW, told)
            if state is None:
                return Beat.FENCED
            return Beat.CANCELLED if state == JobState.CANCELLING else Beat.ALIVE

    def finish(
        self,
        batch_id: str,
        attempt: int,
        rows: pa.RecordBatch,
        timings: Timings,
        *,
        device: str | None = None,
        precision: str | None = None,
        engine: str | None = None,
        peak_memory_bytes: int | None = None,
        part: ResultsPart | None = None,
        explained: dict[str, Any] | None = None,
    ) -> bool:
        """Write the rows, columns of `SCHEMA`, and end the batch. False: fenced, nothing was written.

        `explained` is kept as it is, for who asked for it.
        Of a job that keeps its rows in files, `part` is the one that has these, and is noted in their place.
        Called again by the same attempt, it changes nothing and returns True.

        `timings.waited_ms` and `timings.write_ms` are the store's own to measure and are not looked at.
        Raises ValueError unless the rows are the batch's, each once.
        """
        with self._write() as connection:
            job = lock_job_of(connection, batch_id)
            looked = time.perf_counter()
            batch = _held(connection, batch_id, attempt)
            if job is None or batch is None:
                return _was_finished_by(connection, batch_id, attempt)
            _expect_all(batch, rows.column("index").to_numpy())
            assert (part is None) == (job["results_uri"] is None), "the rows are where the job says"
            began = time.perf_counter()
            if part is None:
                write_rows(connection, batch, rows)
            write_ms = (time.perf_counter() - began) * 1000
            statuses = counts_of(rows.column("status"))
            measured = {name: getattr(timings, name) for name in _MEASURED_BY_WORKER} | {"write_ms": write_ms}
            what = {"device": device, "precision": precision, "engine": engine, "peak_memory_bytes": peak_memory_bytes}
            counted = {f"rows_{status}": statuses[status] for status in RowStatus}
            place = {"done_ordinal": job["batches_done"] + 1, "part": None if part is None else part.model_dump()}
            place |= {"quality": spread_of(rows), "explained": explained}
            changes = {f"new_{name}": value for name, value in (measured | what | counted | place).items()}
            connection.execute(_END, {"batch": batch_id, "held": attempt} | changes)
            connection.execute(_COUNT_FOR_JOB, {"job": job["id"]})
            peak = {"peak": peak_memory_bytes}
            connection.execute(COUNT_FOR_WORKER, {"by": batch["worker"], "done": batch["rows"]} | peak)
            count_done(
                connection,
                job["decoder"],
                batch,
                rows,
                decode_seconds=timings.decode_ms / 1000,
                start_seconds=batch["seconds_to_start"],
                end_seconds=batch["seconds_till_now"] + time.perf_counter() - looked,
                **counted,
            )
            settle(connection, job)
            return True

    def fail(
        self, batch_id: str, attempt: int, error_code: str, error: str, *, final: bool = False
    ) -> BatchState | None:
        """The attempt did not succeed: the batch waits for the next one, or is dead. None: fenced.

        The wait doubles with each attempt. `final`: no other attempt could do better.
        """
        with self._write() as connection:
            job = lock_job_of(connection, batch_id)
            batch = _held(connection, batch_id, attempt)
            if job is None or batch is None:
                return None
            if job["state"] == JobState.CANCELLING:
                changes = ended(BatchState.CANCELLED)
            elif final or attempt >= batch["max_attempts"]:
                changes = ended(BatchState.DEAD)
            else:
                changes = queued_again(delay=self.settings.backoff * 2 ** (attempt - 1))
            changes |= {"error_code": error_code[:64], "error": storable_error(error)}
            _end_with(connection, job, batch_id, attempt, changes)
            return BatchState(str(changes["state"]))

    def release(self, batch_id: str, attempt: int) -> bool:
        """Give the batch back at once, without holding the attempt against it: the worker shuts down. False: fenced.

        One more attempt is allowed instead of counting this one back, so that no number is ever given out twice: a
        worker that released its batch and yet went on must not pass for the next one.
        """
        with self._write() as connection:
            job = lock_job_of(connection, batch_id)
            batch = _held(connection, batch_id, attempt)
            if job is None or batch is None:
                return False
            if job["state"] == JobState.CANCELLING:
                changes = ended(BatchState.CANCELLED)
            else:
                changes = queued_again() | {"max_attempts": BATCHES.c.max_attempts + 1}
            _end_with(connection, job, batch_id, attempt, changes, handed_back=True)
            return True

    def latest(self, limit: int, worker: str | None = None) -> list[Attempt]:
        """The last attempts at so many batches, that which began last first; of one worker, where it is named."""
        statement = _LAST_ATTEMPTS.order_by(BATCHES.c.claimed_at.desc()).limit(limit)
        if worker is not None:
            statement = statement.where(BATCHES.c.worker == worker)
        return self._attempts(statement)

    def of(self, batch_ids: Sequence[str]) -> list[Attempt]:
        """The last attempts at these batches, in any order."""
        return self._attempts(_LAST_ATTEMPTS.where(BATCHES.c.id.in_(batch_ids)))

    def _attempts(self, statement: Select[Any]) -> list[Attempt]:
        with self._read() as connection:
            found = connection.execute(statement).mappings()
            return [to_attempt(row, row["job_name"], row["of_worker"]) for row in found]

    def state_of(self, batch_id: str) -> BatchState | None:
        """What has become of a batch; None when there is none of this id."""
        with self._read() as connection:
            state = connection.scalar(select(BATCHES.c.state).where(BATCHES.c.id == batch_id))
            return None if state is None else BatchState(state)

    def cancel_running(self, batch_id: str, attempt: int) -> bool:
        """The worker has stopped because the job was cancelled. False: fenced, or the job was not cancelled."""
        with self._write() as connection:
            job = lock_job_of(connection, batch_id)
            if job is None or job["state"] != JobState.CANCELLING or _held(connection, batch_id, attempt) is None:
                return False
            _end_with(connection, job, batch_id, attempt, ended(BatchState.CANCELLED))
            return True


def _end_with(
    connection: Connection,
    job: RowMapping,
    batch_id: str,
    attempt: int,
    changes: dict[str, object],
    *,
    handed_back: bool = False,
) -> None:
    """The attempt, which holds the batch of this locked job, ends without rows."""
    left = update(BATCHES).where(_held_by(batch_id, attempt)).values(changes)
    batch = one(connection, left.returning(BATCHES))
    assert batch is not None, "the attempt holds it, and its job is locked"
    if handed_back and batch["state"] == BatchState.QUEUED:
        count(connection, Key(job["decoder"], batch["worker"], Outcome.HANDED_BACK, ""), batches=1)
    else:
        count_ends(connection, job["decoder"], [batch])
    settle(connection, job)


def ended(state: BatchState) -> dict[str, object]:
    """The changes that end a batch without rows. Of one that is dead, each row is an error."""
    counted = {"rows_error": BATCHES.c.rows} if state is BatchState.DEAD else {}
    return {"state": state, "lease_until": None, "finished_at": now(), "rows_unwritten": 0, **counted}


def queued_again(delay: float = 0.0) -> dict[str, object]:
    """The changes that put a running or a dead batch back; it waits from now on, and its message is to be sent."""
    return {
        "state": BatchState.QUEUED,
        "lease_until": None,
        "rows_unwritten": 0,
        "rows_error": 0,
        "queued_at": now(),
        "not_before": now(delay) if delay > 0 else None,
        "published_at": None,
    }


def _held_by(batch_id: str, attempt: int) -> ColumnElement[bool]:
    return and_(BATCHES.c.id == batch_id, BATCHES.c.attempt == attempt, BATCHES.c.state == BatchState.RUNNING)


def _held(connection: Connection, batch_id: str, attempt: int) -> RowMapping | None:
    """The batch, if this attempt still has it. Whoever holds the job's lock may rely on the answer."""
    return one(connection, _HELD_BATCH, {"batch": batch_id, "held": attempt})


_LAST_ATTEMPTS: Final = (
    select(BATCHES, JOBS.c.name.label("job_name"), WORKERS.c.device.label("of_worker"))
    .join_from(BATCHES, JOBS, BATCHES.c.job_id == JOBS.c.id)
    .outerjoin(WORKERS, BATCHES.c.worker == WORKERS.c.name)
    .where(BATCHES.c.claimed_at.is_not(None))
)
_HELD: Final = and_(
    BATCHES.c.id == bindparam("batch"), BATCHES.c.attempt == bindparam("held"), BATCHES.c.state == BatchState.RUNNING
)
_ACCEPTED: Final = func.coalesce(BATCHES.c.accepted_at, BATCHES.c.queued_at)
_HELD_BATCH: Final = select(
    BATCHES,
    seconds_between(_ACCEPTED, BATCHES.c.claimed_at).label("seconds_to_start"),
    seconds_between(_ACCEPTED, now()).label("seconds_till_now"),
).where(_HELD)
_ABANDONED: Final = and_(BATCHES.c.state == BatchState.RUNNING, BATCHES.c.lease_until < now())
_TAKEN: Final[dict[str, Any]] = {
    "state": BatchState.RUNNING,
    "attempt": BATCHES.c.attempt + 1,
    "worker": bindparam("by"),
    "message": bindparam("answers"),
    "rows_unwritten": 0,
    "lease_until": now("lease"),
    "not_before": None,
    "claimed_at": now(),
    "waited_ms": seconds_between(BATCHES.c.queued_at, now()) * 1000,
}
_MAY_BE_TRIED: Final = BATCHES.c.attempt < BATCHES.c.max_attempts
_TAKE: Final = (
    update(BATCHES)
    .where(BATCHES.c.id == bindparam("batch"), _MAY_BE_TRIED, or_(WAITS, _ABANDONED))
    .values(**_TAKEN)
    .returning(BATCHES)
)
_NEXT: Final = (
    select(BATCHES.c.id)
    .where(BATCHES.c.job_id == bindparam("job"), _MAY_BE_TRIED, WAITS)
    .order_by(BATCHES.c.ordinal)
    .limit(1)
    .scalar_subquery()
)
_TAKE_NEXT: Final = update(BATCHES).where(BATCHES.c.id == _NEXT).values(**_TAKEN).returning(BATCHES)
# A batch that had no message of its own was taken by one that was sent for another: the one that has waited longest for
# its message counts as unsent from now on, and the next sweep sends one.
_LONGEST_SENT: Final = (
    select(BATCHES.c.id)
    .where(BATCHES.c.state == BatchState.QUEUED, BATCHES.c.published_at.is_not(None))
    .order_by(BATCHES.c.published_at)
    .limit(1)
    .with_for_update(skip_locked=True)
    .scalar_subquery()
)
_TAKE_A_MESSAGE: Final = update(BATCHES).where(BATCHES.c.id == _LONGEST_SENT).values(published_at=None)
_RENEW: Final = (
    update(BATCHES)
    .where(_HELD)
    .values(
        lease_until=now("lease"),
        rows_unwritten=case(
            (BATCHES.c.rows_unwritten < bindparam("unwritten"), bindparam("unwritten")), else_=BATCHES.c.rows_unwritten
        ),
    )
    .returning(select(JOBS.c.state).where(JOBS.c.id == BATCHES.c.job_id).correlate(BATCHES).scalar_subquery())
)
_END: Final = (
    update(BATCHES)
    .where(_HELD)
    .values(
        state=BatchState.DONE,
        lease_until=None,
        finished_at=now(),
        rows_unwritten=0,
        error_code=None,
        error=None,
        **{
            name: bindparam(f"new_{name}", type_=BATCHES.c[name].type)
            for name in (
                "done_ordinal",
                "part",
                "quality",
                "explained",
                "write_ms",
                *_MEASURED_BY_WORKER,
                *(f"rows_{status}" for status in RowStatus),
                "device",
                "precision",
                "engine",
                "peak_memory_bytes",
            )
        },
    )
)
_COUNT_FOR_JOB: Final = update(JOBS).where(JOBS.c.id == bindparam("job")).values(batches_done=JOBS.c.batches_done + 1)


def _was_finished_by(connection: Connection, batch_id: str, attempt: int) -> bool:
    state = connection.scalar(select(BATCHES.c.state).where(BATCHES.c.id == batch_id, BATCHES.c.attempt == attempt))
    return bool(state == BatchState.DONE)


def _expect_all(batch: RowMapping, given: npt.NDArray[np.int64]) -> None:
    """`given` are the indices of the rows (N,)."""
    expected = np.arange(batch["first_index"], batch["first_index"] + batch["rows"])
    if not np.array_equal(np.sort(given), expected):
        within = f", {given.min()} to {given.max()}" if len(given) else ""
        raise ValueError(
            f"batch {batch['id']} has rows {expected[0]} to {expected[-1]}, each once; given were {len(given)}{within}"
        )
