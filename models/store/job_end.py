"""When a job has ended, and how well."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, RowMapping, bindparam, select, update

from unembed import tracing
from unembed.models.clock import now
from unembed.models.store.sql import BATCHES, JOBS, batch_counts, one, row_counts, sums_of
from unembed.models.store.webhooks import make_due
from unembed.schemas import BatchCounts, BatchState, JobState, RowCounts

log = logging.getLogger(__name__)


def settle(connection: Connection, job: RowMapping) -> None:
    """End the job if nothing of it waits or runs any more. The caller holds the job's lock and has just moved a batch.

    `job` is the row as it was when it was locked; of it only the state before that move, the seal and the reason of a
    cancel are looked at.
    """
    if JobState(job["state"]).is_ended or _has_open_batches(connection, job["id"]):
        return
    sums = sums_of(connection, job["id"])
    batches = batch_counts(sums)
    if job["state"] == JobState.CANCELLING:
        _end(connection, job["id"], JobState.CANCELLED, job["error"])
    elif job["sealed_at"] is not None:
        rows = row_counts(sums)
        _end(connection, job["id"], _outcome(rows, batches), _reason(connection, job["id"], rows, batches))


def _has_open_batches(connection: Connection, job_id: str) -> bool:
    """Whether a batch waits or runs. Asked after every batch, so not by counting them all."""
    return bool(connection.scalar(_OPEN_BATCHES, {"job": job_id}))


_OPEN_BATCHES: Final = select(
    select(BATCHES.c.id)
    .where(BATCHES.c.job_id == bindparam("job"), BATCHES.c.state.in_((BatchState.QUEUED, BatchState.RUNNING)))
    .exists()
)


def _outcome(rows: RowCounts, batches: BatchCounts) -> JobState:
    if rows.ok + rows.fallback == 0:
        return JobState.FAILED
    return JobState.PARTIAL if rows.error or batches.dead else JobState.SUCCEEDED


def _reason(connection: Connection, job_id: str, rows: RowCounts, batches: BatchCounts) -> str | None:
    if batches.dead:
        last = _last_error(connection, job_id)
        which = "its only batch" if batches.total == 1 else f"{batches.dead} of {batches.total} batches"
        return f"{which} failed for good; the last error: {last['error_code']}: {last['error']}"
    if rows.error == rows.total:
        return "no row could be decoded; the rows say why"
    return None


def _last_error(connection: Connection, job_id: str) -> Mapping[str, str]:
    dead = select(BATCHES.c.error_code, BATCHES.c.error).where(
        BATCHES.c.job_id == job_id, BATCHES.c.state == BatchState.DEAD
    )
    found = one(connection, dead.order_by(BATCHES.c.finished_at.desc(), BATCHES.c.ordinal.desc()).limit(1))
    assert found is not None, "a dead batch was counted"
    return {name: str(value) for name, value in found.items()}


def _end(connection: Connection, job_id: str, state: JobState, error: str | None) -> None:
    connection.execute(
        update(JOBS).where(JOBS.c.id == job_id).values(state=state, error=error, finished_at=now(), turn=None)
    )
    make_due(connection, job_id)
    log.info("the job has ended: %s", state, extra={"job": job_id})
    with tracing.span("job end", job=job_id, state=str(state)):
        pass
