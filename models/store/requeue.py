"""Once more: dead batches that are tried again, because somebody asked for it or has sent what was missing.

    dead ── retry, or its vectors are sent again ──▶ queued        the job: partial | failed ──▶ queued or running

Attempts go on counting, and as many more are allowed as a new batch has: no attempt's number is ever given out twice.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, RowMapping, and_, select, update

from unembed.errors import ConflictError, NotFoundError
from unembed.models.store.attempts import queued_again
from unembed.models.store.sql import BATCHES, JOBS, StorePart, lock_job, lock_job_of, one, read_job, to_batch
from unembed.models.store.totals import Outcome, count_taken_out
from unembed.models.store.turns import join
from unembed.schemas import Batch, BatchState, Job, JobState, RowStatus


class Requeue(StorePart):
    """Dead batches go back into the queue."""

    def retry(self, job_id: str, batch_ids: Collection[str]) -> Job:
        """Queue the dead ones of these batches again; whoever calls has seen that their payloads are there.

        Raises ConflictError when the job is cancelled, or none of them is dead.
        """
        with self._write() as connection:
            job = lock_job(connection, job_id)
            if not self._revive(connection, job, batch_ids):
                raise ConflictError(f"job {job_id} is {job['state']} and has no dead batch that could be tried again")
            return read_job(connection, job_id)

    def after_resend(self, batch_id: str) -> Batch:
        """The vectors that a dead batch lacked are there again: queue it. One that is not dead stays as it is.

        Raises ConflictError when its job was cancelled.
        """
        with self._write() as connection:
            job = lock_job_of(connection, batch_id)
            if job is None:
                raise NotFoundError(f"no batch has the id {batch_id!r}")
            self._revive(connection, job, [batch_id])
            batch = one(connection, select(BATCHES).where(BATCHES.c.id == batch_id))
            assert batch is not None, "its job is locked"
            return to_batch(batch)

    def _revive(self, connection: Connection, job: RowMapping, batch_ids: Collection[str]) -> int:
        if job["state"] in (JobState.CANCELLING, JobState.CANCELLED):
            raise ConflictError(f"job {job['id']} is {job['state']}: what was not done of it stays undone")
        dead = and_(BATCHES.c.job_id == job["id"], BATCHES.c.id.in_(batch_ids), BATCHES.c.state == BatchState.DEAD)
        rows = (BATCHES.c[f"rows_{status}"] for status in RowStatus)
        before = connection.execute(select(*rows).where(dead)).mappings().all()
        if not before:
            return 0
        join(connection, job)
        allowed = BATCHES.c.attempt + self.settings.max_attempts
        again = queued_again() | {"finished_at": None, "max_attempts": allowed}
        connection.execute(update(BATCHES).where(dead).values(again))
        count_taken_out(connection, job["decoder"], Outcome.REVIVED, before)
        if JobState(job["state"]).is_ended:
            state = JobState.QUEUED if job["started_at"] is None else JobState.RUNNING
            goes_on = {"state": state, "finished_at": None, "error": None}
            connection.execute(update(JOBS).where(JOBS.c.id == job["id"]).values(goes_on))
        return len(before)
