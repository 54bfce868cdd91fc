"""Sweeping: what was lost comes back, what cannot come back ends, and what has outlived its use is named.

running    its lease ran out, or its worker is known to be dead ──▶ queued, or dead after the last attempt
queued     its message is lost ──▶ named by `sweep`, to be sent again
queued     its payload is lost ──▶ dead (payload_missing), until its client sends it again
receiving  and nothing came for long ──▶ cancelled
ended      and older than it is to be kept ──▶ named by `expired_jobs`, to be removed
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

from sqlalchemy import ColumnElement, Connection, and_, func, select, update

from unembed.codes import FailureCode
from unembed.models.clock import now
from unembed.models.payloads import SEND_AGAIN
from unembed.models.store.attempts import ended, queued_again
from unembed.models.store.job_end import settle
from unembed.models.store.jobs import cancel_locked
from unembed.models.store.sql import BATCHES, JOBS, WORKERS, StorePart, lock_job, to_attempt
from unembed.models.store.totals import count_ends
from unembed.models.store.turns import WAITS
from unembed.models.store.values import Attempt, Swept
from unembed.schemas import BatchState, JobState, job_id_of

_PUBLISH_AT_ONCE = 1000
_IDS_A_QUERY = 500
_EXPIRED_AT_ONCE = 20

_SILENT = {"error_code": FailureCode.LEASE_EXPIRED, "error": "the worker stopped answering"}
_WITHOUT_PAYLOAD = {
    "error_code": FailureCode.PAYLOAD_MISSING,
    "error": f"its vectors are no longer in Redis; {SEND_AGAIN}",
}
_GONE = {"error_code": FailureCode.WORKER_LOST, "error": "the worker's process died while it decoded this batch"}


class Sweeping(StorePart):
    """What a sweep and a tidy-up do in SQL."""

    def sweep(self, messages: int) -> Swept:
        """Take back the batches whose lease ran out, and name those whose message is to be sent.

        `messages` is how many waited in the queue of messages just before.
        """
        expired = self._reclaim(_lease_ran_out(), _SILENT)
        with self._read() as connection:
            return Swept(_to_publish(connection, self.settings.republish_after, messages), expired)

    def reclaim(self, worker: str, message: str | None = None) -> list[Attempt]:
        """A worker is known to be dead: what it held need not wait for its lease to run out. The attempts it died in.

        `message` for what it took in answer to that one alone. The attempt counts, for it may be the batch that kills
        its workers.
        """
        held = and_(BATCHES.c.state == BatchState.RUNNING, BATCHES.c.worker == worker)
        return self._reclaim(held if message is None else and_(held, BATCHES.c.message == message), _GONE)

    def reclaim_all(self) -> list[Attempt]:
        """The same for every worker: all that used this database are known to be dead."""
        return self._reclaim(BATCHES.c.state == BatchState.RUNNING, _GONE)

    def queued(self) -> set[str]:
        """The ids of all queued batches that need a payload."""
        waiting = and_(BATCHES.c.state == BatchState.QUEUED, BATCHES.c.reference.is_(None))
        with self._read() as connection:
            return set(connection.scalars(select(BATCHES.c.id).where(waiting)))

    def fail_missing_payloads(self, batch_ids: Collection[str]) -> int:
        """These batches have no payload: those that still wait are dead; how many."""
        dead = 0
        for job_id, of_job in groupby(sorted(batch_ids), key=job_id_of):
            for some in _chunks(list(of_job)):
                with self._write() as connection:
                    dead += _end_without_payload(connection, job_id, some)
        return dead

    def forget_payloads(self) -> None:
        """No payload is left: what waits is dead until its client sends it again, and so is what was dead before."""
        self.fail_missing_payloads(self.queued())
        with self._write() as connection:
            dead = and_(BATCHES.c.state == BatchState.DEAD, BATCHES.c.reference.is_(None))
            connection.execute(update(BATCHES).where(dead).values(_WITHOUT_PAYLOAD))

    def done_or_cancelled(self, batch_ids: Collection[str]) -> list[str]:
        """Of these, the batches that are done or cancelled: nobody will ask for their payloads again."""
        found: list[str] = []
        for some in _chunks(sorted(batch_ids)):
            over = BATCHES.c.state.in_((BatchState.DONE, BatchState.CANCELLED))
            with self._read() as connection:
                found += connection.scalars(select(BATCHES.c.id).where(BATCHES.c.id.in_(some), over))
        return found

    def cancel_unsealed(self) -> list[str]:
        """Cancel the jobs that their clients began and left; their ids."""
        given_up = []
        with self._read() as connection:
            abandoned = connection.scalars(select(JOBS.c.id).where(_was_abandoned(self.settings.receive_timeout))).all()
        for job_id in abandoned:
            with self._write() as connection:
                lock_job(connection, job_id)
                still = and_(JOBS.c.id == job_id, _was_abandoned(self.settings.receive_timeout))
                if connection.scalar(select(JOBS.c.id).where(still)) is not None:
                    cancel_locked(connection, job_id, _why_unsealed(self.settings.receive_timeout))
                    given_up.append(job_id)
        return given_up

    def expired_jobs(self) -> list[str]:
        """Some of the ended jobs that are older than they are to be kept, the oldest first."""
        if self.settings.job_ttl is None:
            return []
        old = JOBS.c.finished_at < now(-self.settings.job_ttl)  # only what has ended has finished
        with self._read() as connection:
            statement = select(JOBS.c.id).where(old).order_by(JOBS.c.finished_at).limit(_EXPIRED_AT_ONCE)
            return list(connection.scalars(statement))

    def _reclaim(self, which: ColumnElement[bool], why: dict[str, str]) -> list[Attempt]:
        """Takes these batches back; the attempts that this ends."""
        lost: list[Attempt] = []
        with self._read() as connection:
            job_ids = connection.scalars(select(BATCHES.c.job_id).where(which).distinct()).all()
        for job_id in sorted(job_ids):
            with self._write() as connection:
                lost += _reclaim_of(connection, job_id, which, why)
        return lost


def _lease_ran_out() -> ColumnElement[bool]:
    return and_(BATCHES.c.state == BatchState.RUNNING, BATCHES.c.lease_until < now())


def _reclaim_of(connection: Connection, job_id: str, which: ColumnElement[bool], why: dict[str, str]) -> list[Attempt]:
    job = lock_job(connection, job_id)
    lost = update(BATCHES).where(BATCHES.c.job_id == job_id, which).returning(BATCHES)
    if job["state"] == JobState.CANCELLING:
        taken = list(connection.execute(lost.values(ended(BatchState.CANCELLED))).mappings())
    else:
        last = lost.where(BATCHES.c.attempt >= BATCHES.c.max_attempts)
        taken = list(connection.execute(last.values(ended(BatchState.DEAD) | why)).mappings())
        taken += connection.execute(lost.values(queued_again() | why)).mappings()
    count_ends(connection, job["decoder"], taken)
    settle(connection, job)
    names = {batch["worker"] for batch in taken}
    workers = connection.execute(select(WORKERS.c.name, WORKERS.c.device).where(WORKERS.c.name.in_(names)))
    device = {worker.name: worker.device for worker in workers}
    return [to_attempt(batch, job["name"], device.get(batch["worker"])) for batch in taken]


def _to_publish(connection: Connection, republish_after: float, messages: int) -> list[str]:
    """The queued batches whose message was never sent, and as many that have waited long as lack a message.

    A message is answered with the batch that is next, whichever it names: so it is their number that tells whether some
    were lost. Only as many are sent again, for a long queue is not to be flooded with copies; and only for batches that
    have waited, for one that was taken a moment ago may not be claimed yet.
    """
    unsent = select(BATCHES.c.id).where(WAITS, BATCHES.c.published_at.is_(None)).order_by(BATCHES.c.queued_at)
    found = list(connection.scalars(unsent.limit(_PUBLISH_AT_ONCE)))
    sent = and_(BATCHES.c.state == BatchState.QUEUED, BATCHES.c.published_at.is_not(None))
    missing = int(connection.scalar(select(func.count()).where(sent)) or 0) - messages
    if missing <= 0:
        return found
    long_ago = and_(BATCHES.c.state == BatchState.QUEUED, BATCHES.c.published_at < now(-republish_after))
    lost = select(BATCHES.c.id).where(long_ago).order_by(BATCHES.c.published_at)
    return found + list(connection.scalars(lost.limit(min(missing, _PUBLISH_AT_ONCE))))


def _end_without_payload(connection: Connection, job_id: str, batch_ids: Sequence[str]) -> int:
    job = lock_job(connection, job_id)
    lost = update(BATCHES).where(BATCHES.c.id.in_(batch_ids), BATCHES.c.state == BatchState.QUEUED)
    without = lost.values(ended(BatchState.DEAD) | _WITHOUT_PAYLOAD).returning(BATCHES)
    dead = connection.execute(without).mappings().all()
    count_ends(connection, job["decoder"], dead)
    settle(connection, job)
    return len(dead)


def _was_abandoned(receive_timeout: float) -> ColumnElement[bool]:
    """Receiving, and neither begun nor sent a batch of late."""
    late = now(-receive_timeout)
    came = select(BATCHES.c.id).where(BATCHES.c.job_id == JOBS.c.id, BATCHES.c.queued_at >= late).exists()
    return and_(JOBS.c.state == JobState.RECEIVING, JOBS.c.created_at < late, ~came)


def _why_unsealed(receive_timeout: float) -> str:
    return f"its client began it and never sealed it: nothing came for {receive_timeout:g} s"


def _chunks(batch_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(batch_ids), _IDS_A_QUERY):
        yield batch_ids[start : start + _IDS_A_QUERY]
