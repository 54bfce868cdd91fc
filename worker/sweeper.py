"""What was lost comes back: a thread in each worker's main process, of which one at a time sweeps.

A message can vanish: popped by a worker that died before it noted it, or with Redis itself. A worker can vanish: its
lease runs out. `store.sweeping.sweep` finds both in SQL; here their messages are sent. Less often it tidies: vectors
that are lost, vectors that nobody needs any more, jobs that were left half sent, jobs that have outlived their use.
Two sweepers at once would do no harm, only send some messages twice; so a lock in Redis, which may be lost, is enough.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

import redis

from unembed.errors import ConflictError, NotFoundError, UnavailableError
from unembed.models import logs
from unembed.models.parts import Parts
from unembed.models.payloads import Payloads
from unembed.models.store import Attempt, Store, Swept
from unembed.models.store.totals import SweepAction
from unembed.schemas import job_id_of
from unembed.worker import spans
from unembed.worker.celery import QUEUE
from unembed.worker.feed import Feed

log = logging.getLogger(__name__)

LEADER: Final = "unembed:sweeper"
_LEADS_FOR: Final = 3  # intervals, without a word from the leader
_TIDIES_EVERY: Final = 6  # sweeps; it walks through all payloads
_NAMED: Final = 100  # batches of a sweep that get a line each in the log; after a loss of Redis there may be thousands


class Sweeper:
    def __init__(
        self,
        store: Store,
        queue: redis.Redis,
        payloads: Payloads,
        publish: Callable[[str], None],
        *,
        name: str,
        interval: float,
        parts: Parts | None = None,
        feed: Feed | None = None,
    ) -> None:
        self._store = store
        self._queue = queue
        self._payloads = payloads
        self._parts = parts or Parts(())
        self._feed = feed or Feed()
        self._sweeps = 0
        self._publish = publish
        self._name = name
        self._interval = interval

    def sweep(self) -> Swept | None:
        """Once; None when another worker leads. Raises UnavailableError."""
        if not self._leads():
            return None
        swept = self._store.sweeping.sweep(self._messages())
        self._feed.lost(swept.expired)
        spans.lost(swept.expired)
        for attempt in swept.expired:
            _say_expired(attempt)
        for place, batch_id in enumerate(swept.publish):
            self._publish(batch_id)
            if place < _NAMED:
                with logs.about(job=job_id_of(batch_id), batch=batch_id):
                    log.info("the message of a batch that waits is sent again")
        self._store.queue.mark_published(swept.publish)
        if swept.publish or swept.expired:
            log.info(
                "messages sent again: %d, leases expired: %d, batches failed for good: %d",
                len(swept.publish),
                len(swept.expired),
                swept.dead,
            )
        self._sweeps += 1
        done = {SweepAction.MESSAGE_SENT: len(swept.publish), SweepAction.LEASE_EXPIRED: len(swept.expired)}
        if self._sweeps % _TIDIES_EVERY == 0:
            done |= self.tidy()
        self._store.totals.count_sweep(done)
        return swept

    def _messages(self) -> int:
        """How many wait, and were not taken by a worker."""
        try:
            return self._queue.llen(QUEUE)
        except redis.RedisError as error:
            raise UnavailableError(f"Redis does not answer: {error}") from error

    def tidy(self) -> dict[SweepAction, int]:
        """How often it did what. Raises UnavailableError."""
        # In this order: a batch that waits before the payloads are listed had its payload before that, too.
        waiting = self._store.sweeping.queued()
        there = self._payloads.batch_ids()
        unlisted = waiting - there
        lost = unlisted.difference(self._payloads.present(sorted(unlisted)))
        if dead := self._store.sweeping.fail_missing_payloads(lost):
            log.error("batches that failed for good because their vectors are lost: %d", dead)
        unneeded = self._store.sweeping.done_or_cancelled(there)
        self._payloads.delete(unneeded)
        abandoned = self._store.sweeping.cancel_unsealed()
        for job_id in abandoned:
            log.warning("job %s was never sealed and is cancelled", job_id, extra={"job": job_id})
        removed = sum([self._remove(job_id) for job_id in self._store.sweeping.expired_jobs()])
        if files := self._store.files.remove_old():
            log.info("files that are older than UNEMBED_JOB_TTL were removed: %d", len(files))
        self._store.totals.fold()
        return {
            SweepAction.PAYLOAD_LOST: dead,
            SweepAction.PAYLOAD_DELETED: len(unneeded),
            SweepAction.JOB_ABANDONED: len(abandoned),
            SweepAction.JOB_REMOVED: removed,
        }

    def _remove(self, job_id: str) -> bool:
        try:
            parts = self._store.jobs.parts(job_id)
            self._payloads.delete(self._store.jobs.remove(job_id))
            self._parts.delete(parts)
        except (ConflictError, NotFoundError):
            return False  # somebody retried or removed it just now
        log.info("job %s was removed: it is older than UNEMBED_JOB_TTL", job_id, extra={"job": job_id})
        return True

    def run(self, ended: threading.Event, alive: Callable[[], None]) -> None:
        """Until `ended`; `alive` is called every time, leader or not."""
        away = False
        while not ended.wait(self._interval):
            try:
                alive()
                self.sweep()
            except UnavailableError as error:
                if not away:
                    log.warning("cannot look for lost batches now: %s", error)
                away = True
            except Exception:
                # What nobody foresaw must not end the only thread that brings back what was lost.
                log.exception("a sweep failed; the next one is in %.1f s", self._interval)
            else:
                away = False
        self._resign()

    def _leads(self) -> bool:
        lasts = int(self._interval * _LEADS_FOR * 1000)
        try:
            if self._queue.set(LEADER, self._name, nx=True, px=lasts):
                return True
            if self._queue.get(LEADER) != self._name.encode():
                return False
            self._queue.pexpire(LEADER, lasts)
        except redis.RedisError as error:
            raise UnavailableError(f"Redis does not answer: {error}") from error
        return True

    def _resign(self) -> None:
        """The next worker leads at once."""
        try:
            if self._queue.get(LEADER) == self._name.encode():
                self._queue.delete(LEADER)
        except redis.RedisError:
            pass  # the lock expires


def _say_expired(attempt: Attempt) -> None:
    with logs.about(job=job_id_of(attempt.batch_id), batch=attempt.batch_id, attempt=attempt.number):
        log.warning("the lease of %s expired; the batch is %s", attempt.worker, attempt.state)
