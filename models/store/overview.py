"""What is going on, for who looks: what was done in the last hour, what runs, and what a job's texts are like."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, func, select

from unembed.models.clock import now, seconds_between, whole_minutes_since
from unembed.models.store.sql import BATCHES, GENERATIONS, JOBS, WORKERS, StorePart, read_jobs
from unembed.models.store.values import HeldBatch, Sample
from unembed.schemas import BatchState, Job

MINUTES: Final = 60
_LONGEST: Final = 3700.0  # seconds that a batch may take: worker/celery.py ends it after an hour
_MOST_HELD: Final = 200
_SAMPLED: Final = 50  # rows, from the first, of which one with a text is looked for

_AGO: Final = whole_minutes_since(BATCHES.c.finished_at).label("ago")
# By (worker, claimed_at), of which there is an index, as there is none of when a batch finished.
_DONE: Final = (
    select(_AGO, func.sum(BATCHES.c.rows).label("rows"))
    .where(
        BATCHES.c.worker.in_(select(WORKERS.c.name).where(WORKERS.c.last_done >= now(-MINUTES * 60))),
        BATCHES.c.claimed_at >= now(-MINUTES * 60 - _LONGEST),
        BATCHES.c.finished_at >= now(-MINUTES * 60),
        BATCHES.c.state == BatchState.DONE,
    )
    .group_by(_AGO)
)
_HELD: Final = (
    select(
        BATCHES.c.worker,
        JOBS.c.id.label("job_id"),
        JOBS.c.name.label("job_name"),
        JOBS.c.client,
        BATCHES.c.rows,
        BATCHES.c.rows_unwritten.label("decoded"),
        BATCHES.c.attempt,
        seconds_between(BATCHES.c.claimed_at, now()).label("seconds"),
    )
    .join_from(BATCHES, JOBS, BATCHES.c.job_id == JOBS.c.id)
    .where(BATCHES.c.state == BatchState.RUNNING)
    .order_by(BATCHES.c.worker)
    .limit(_MOST_HELD)
)
_RANKED: Final = (
    select(
        GENERATIONS.c.job_id,
        GENERATIONS.c["index"].label("index"),
        GENERATIONS.c.text,
        GENERATIONS.c.overall_quality,
        GENERATIONS.c.off_manifold,
        func.row_number().over(partition_by=GENERATIONS.c.job_id, order_by=GENERATIONS.c["index"]).label("place"),
    )
    .where(
        GENERATIONS.c.job_id.in_(bindparam("jobs", expanding=True)),
        GENERATIONS.c["index"] < _SAMPLED,
        GENERATIONS.c.text.is_not(None),
    )
    .subquery()
)
_SAMPLES: Final = select(_RANKED).where(_RANKED.c.place == 1)
_RUNS: Final = select(func.count(), func.sum(BATCHES.c.rows_unwritten), func.max(BATCHES.c.claimed_at)).where(
    BATCHES.c.state == BatchState.RUNNING
)
_DID: Final = select(func.count(), func.sum(WORKERS.c.rows_done), func.count(WORKERS.c.ended_with))
_CAME: Final = select(func.max(JOBS.c.created_at))
_ENDED: Final = select(func.max(JOBS.c.finished_at))


class Overview(StorePart):
    """What is going on. Each of these takes the same time however many jobs have ended."""

    def open_jobs(self, limit: int, clients: frozenset[str] | None = None) -> list[Job]:
        """The jobs that have not ended, newest first. `clients`: whose they are; None: anybody's."""
        return self._jobs(JOBS.c.finished_at.is_(None), (JOBS.c.created_at.desc(), JOBS.c.id.desc()), limit, clients)

    def ended_jobs(self, limit: int, clients: frozenset[str] | None = None) -> list[Job]:
        """Those that ended last, the last one first."""
        return self._jobs(JOBS.c.finished_at.is_not(None), (JOBS.c.finished_at.desc(),), limit, clients)

    def _jobs(
        self,
        which: ColumnElement[bool],
        order: Sequence[ColumnElement[Any]],
        limit: int,
        clients: frozenset[str] | None,
    ) -> list[Job]:
        statement = select(JOBS).where(which).order_by(*order).limit(limit)
        if clients is not None:
            statement = statement.where(JOBS.c.client.in_(sorted(clients)))
        with self._read() as connection:
            return read_jobs(connection, statement)

    def rows_by_minute(self) -> list[int]:
        """The rows of the batches that were done in each of the last MINUTES minutes, the latest last."""
        with self._read() as connection:
            found = {int(row.ago): int(row.rows) for row in connection.execute(_DONE)}
        return [found.get(ago, 0) for ago in reversed(range(MINUTES))]

    def held(self) -> list[HeldBatch]:
        """The batches that run, by their worker; 200 at most."""
        with self._read() as connection:
            return [HeldBatch(**row) for row in connection.execute(_HELD).mappings()]

    def samples(self, job_ids: Collection[str]) -> dict[str, Sample]:
        """Of each of these jobs the first row with a text, if one of its first rows has one, in the database."""
        if not job_ids:
            return {}
        with self._read() as connection:
            found = connection.execute(_SAMPLES, {"jobs": list(job_ids)}).mappings().all()
        names = ("index", "text", "overall_quality", "off_manifold")
        return {row["job_id"]: Sample(**{name: row[name] for name in names}) for row in found}

    def pulse(self) -> str:
        """Another whenever a job has come or ended, or a worker has come, begun, got on or ended."""
        with self._read() as connection:
            return repr([tuple(connection.execute(each).one()) for each in (_RUNS, _DID, _CAME, _ENDED)])
