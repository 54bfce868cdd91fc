"""The workers: who is there, what each has done, and which of them no longer takes anything."""

from __future__ import annotations

from typing import Final

from sqlalchemy import and_, bindparam, case, delete, func, or_, select, update

from unembed.models.clock import now
from unembed.models.store.sql import BATCHES, WORKERS, StorePart, insert, storable_error
from unembed.models.store.values import Worker
from unembed.schemas import BatchState

SILENCE: Final = 6  # heartbeats or sweeps that a worker may miss before it counts as gone
REMEMBERED: Final = 7 * 86_400.0  # seconds after its last word for which a worker is shown by its name


class Workers(StorePart):
    """The workers that have checked in."""

    def check_in(
        self,
        name: str,
        host: str,
        pid: int,
        device: str | None,
        precision: str | None,
        engine: str | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        """A worker is there. With another pid it has started anew. `memory_bytes`: of its GPU."""
        with self._write() as connection:
            what = {"device": device, "precision": precision, "engine": engine, "memory_bytes": memory_bytes}
            facts = {"host": host, "pid": pid, "last_seen": now(), **what}
            statement = insert(connection, WORKERS).values(
                name=name, started_at=now(), batches_done=0, rows_done=0, **facts
            )
            # The process that started tells a device only once it has one.
            keep = {column: func.coalesce(statement.excluded[column], WORKERS.c[column]) for column in what}
            anew = case((WORKERS.c.pid != statement.excluded.pid, now()), else_=WORKERS.c.started_at)
            since = case((WORKERS.c.pid != statement.excluded.pid, None), else_=WORKERS.c.ended_with)
            changes = facts | keep | {"started_at": anew, "ended_with": since}
            connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=changes))

    def ended(self, name: str, host: str, pid: int, why: str) -> None:
        """A worker cannot work, and ends. It is said to those who wait, until it starts anew."""
        with self._write() as connection:
            facts = {"host": host, "pid": pid, "last_seen": now(), "ended_with": storable_error(why)}
            statement = insert(connection, WORKERS).values(
                name=name, started_at=now(), batches_done=0, rows_done=0, **facts
            )
            connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=facts))

    def forget(self) -> None:
        """None of them lives, and none will come back under its name to be counted on with."""
        with self._write() as connection:
            connection.execute(delete(WORKERS))

    def all(self) -> list[Worker]:
        with self._read() as connection:
            found = connection.execute(select(WORKERS).order_by(WORKERS.c.name)).mappings()
            return [Worker(**row) for row in found]

    def seen_within(self, seconds: float) -> list[Worker]:
        """Those that showed themselves in the last `seconds`, by the database's clock."""
        with self._read() as connection:
            of_late = select(WORKERS).where(WORKERS.c.last_seen > now(-seconds)).order_by(WORKERS.c.name)
            return [Worker(**row) for row in connection.execute(of_late).mappings()]

    def by_state(self) -> dict[str, int]:
        """How many there are of those that were seen in the last week: alive, silent, or ended because they could not
        work."""
        silence = SILENCE * max(self.settings.sweep_interval, self.settings.heartbeat)
        is_alive = WORKERS.c.last_seen > now(-silence)
        state = case((WORKERS.c.ended_with.is_not(None), "ended"), (is_alive, "alive"), else_="silent").label("state")
        counted = select(state, func.count()).where(WORKERS.c.last_seen > now(-REMEMBERED)).group_by(state)
        with self._read() as connection:
            found = {name: int(number) for name, number in connection.execute(counted)}
        return {name: found.get(name, 0) for name in ("alive", "silent", "ended")}

    def recently_seen(self, host: str, seconds: float) -> list[str]:
        """The workers of a host that showed themselves in the last `seconds`, by the database's clock."""
        with self._read() as connection:
            of_late = select(WORKERS.c.name).where(WORKERS.c.host == host, WORKERS.c.last_seen > now(-seconds))
            return list(connection.scalars(of_late))

    def has_claimed(self, name: str) -> bool:
        """Whether a worker has taken a batch since it started, or finished one whose job is gone."""
        since = select(WORKERS.c.started_at).where(WORKERS.c.name == name).scalar_subquery()
        took = select(BATCHES.c.id).where(BATCHES.c.worker == name, BATCHES.c.claimed_at >= since)
        finished = select(WORKERS.c.name).where(WORKERS.c.name == name, WORKERS.c.last_done >= WORKERS.c.started_at)
        with self._read() as connection:
            return bool(connection.scalar(select(or_(took.exists(), finished.exists()))))

    def is_deaf(self, name: str, seconds: float) -> bool:
        """Whether batches could have been taken for so long, and the worker has neither taken one nor runs one."""
        ago = now(-seconds)
        due = or_(BATCHES.c.not_before.is_(None), BATCHES.c.not_before < ago)
        waits = select(BATCHES.c.id).where(BATCHES.c.state == BatchState.QUEUED, BATCHES.c.queued_at < ago, due)
        took = select(BATCHES.c.id).where(BATCHES.c.worker == name, BATCHES.c.claimed_at >= ago)
        runs = select(BATCHES.c.id).where(BATCHES.c.worker == name, BATCHES.c.state == BatchState.RUNNING)
        new = select(WORKERS.c.name).where(WORKERS.c.name == name, WORKERS.c.started_at >= ago)
        with self._read() as connection:
            return bool(connection.scalar(select(and_(waits.exists(), ~took.exists(), ~runs.exists(), ~new.exists()))))


# A worker has finished a batch of so many rows; said in the transaction that ends the batch (attempts.py).
COUNT_FOR_WORKER: Final = (
    update(WORKERS)
    .where(WORKERS.c.name == bindparam("by"))
    .values(
        batches_done=WORKERS.c.batches_done + 1,
        rows_done=WORKERS.c.rows_done + bindparam("done"),
        last_seen=now(),
        last_done=now(),
        peak_memory_bytes=bindparam("peak", type_=WORKERS.c.peak_memory_bytes.type),
    )
)
