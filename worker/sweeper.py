"""What was lost comes back: a thread in each worker's main process, of which one at a time sweeps.

A message can vanish: popped by a worker that died before it noted it, or with Redis itself. A worker can vanish: its
lease runs out. `Store.sweep` finds both in SQL; here their messages are sent. Two sweepers at once would do no harm,
they would send some messages twice; so a lock in Redis, which may be lost, is enough.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

import redis

from models.store import Store, Swept
from unembed.errors import UnavailableError

log = logging.getLogger(__name__)

LEADER: Final = "unembed:sweeper"
_LEADS_FOR: Final = 3  # intervals, without a word from the leader


class Sweeper:
    def __init__(
        self, store: Store, queue: redis.Redis, publish: Callable[[str], None], *, name: str, interval: float
    ) -> None:
        self._store = store
        self._queue = queue
        self._publish = publish
        self._name = name
        self._interval = interval

    def sweep(self) -> Swept | None:
        """Once; None when another worker leads. Raises UnavailableError."""
        if not self._leads():
            return None
        swept = self._store.sweep()
        for batch_id in swept.publish:
            self._publish(batch_id)
        self._store.mark_published(swept.publish)
        if swept.publish or swept.expired:
            log.info("%d sent again, %d leases ran out, %d dead", len(swept.publish), swept.expired, swept.dead)
        return swept

    def run(self, ended: threading.Event, alive: Callable[[], None]) -> None:
        """Until `ended`; `alive` is called every time, leader or not."""
        away = False
        while not ended.wait(self._interval):
            try:
                alive()
                self.sweep()
            except UnavailableError as error:
                if not away:
                    log.warning("no sweeping for now: %s", error)
                away = True
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
