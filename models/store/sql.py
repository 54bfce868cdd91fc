"""What the store's parts share: the tables, how a row becomes a value, and the one lock there is.

The lock: whatever changes the state of a job or of its batches first locks the job's row, and only then looks. So two
such transactions of one job follow each other, none acts on what is no longer so, and none can deadlock. (On SQLite
the lock is the whole file's, taken when the transaction begins.) A heartbeat moves nothing but its own batch's lease
and needs no lock.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Final, cast

from sqlalchemy import Connection, RowMapping, Select, Table, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Engine

from unembed.errors import NotFoundError
from unembed.models.database import transaction
from unembed.models.settings import Settings
from unembed.models.store.values import Attempt, JobHead
from unembed.models.tables import BatchRow, CarriedRow, ClientRow, GenerationRow, JobRow, WorkerRow
from unembed.schemas import Batch, BatchCounts, BatchState, DecodeOptions, Job, JobState, RowCounts, Timings

CLIENTS: Final = cast(Table, ClientRow.__table__)
JOBS: Final = cast(Table, JobRow.__table__)
BATCHES: Final = cast(Table, BatchRow.__table__)
GENERATIONS: Final = cast(Table, GenerationRow.__table__)
CARRIED_ROWS: Final = cast(Table, CarriedRow.__table__)
WORKERS: Final = cast(Table, WorkerRow.__table__)

_COUNTED: Final = ("ok", "fallback", "error", "unwritten")
TIMINGS: Final = tuple(Timings.model_fields)
MAX_ERROR_CHARACTERS: Final = 4000


class StorePart:
    """An engine, the settings, and how to begin a transaction: what each part of the store is built on."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings

    def _write(self) -> AbstractContextManager[Connection]:
        return transaction(self.engine)

    def _read(self) -> AbstractContextManager[Connection]:
        return transaction(self.engine, read_only=True)


def insert(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that knows ON CONFLICT; both databases spell it alike."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def one(connection: Connection, statement: Any, parameters: Mapping[str, Any] | None = None) -> RowMapping | None:
    return connection.execute(statement, parameters).mappings().one_or_none()


# What is done with every batch is built once, here and in the other parts: to build a statement takes SQLAlchemy longer
# than to execute it.
_JOB_LOCKED: Final = select(JOBS).where(JOBS.c.id == bindparam("job")).with_for_update()
_JOB_OF: Final = select(BATCHES.c.job_id).where(BATCHES.c.id == bindparam("batch")).scalar_subquery()
_JOB_OF_LOCKED: Final = select(JOBS).where(JOBS.c.id == _JOB_OF).with_for_update()


def lock_job(connection: Connection, job_id: str) -> RowMapping:
    job = one(connection, _JOB_LOCKED, {"job": job_id})
    if job is None:
        raise NotFoundError.of_job(job_id)
    return job


def lock_job_of(connection: Connection, batch_id: str) -> RowMapping | None:
    """The job of this batch, locked; None when there is no such batch."""
    return one(connection, _JOB_OF_LOCKED, {"batch": batch_id})


def storable(text: str | None) -> str | None:
    """The text as any database can keep it: PostgreSQL refuses NUL, and no encoding has half a surrogate pair."""
    if text is None:
        return None
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")


def storable_error(text: str) -> str:
    return cast(str, storable(text[:MAX_ERROR_CHARACTERS]))


def to_batch(row: RowMapping) -> Batch:
    return Batch(
        **{name: row[name] for name in Batch.model_fields if name not in ("counts", "timings")},
        counts=RowCounts(total=row["rows"], **{name: row[f"rows_{name}"] for name in _COUNTED}),
        timings=Timings(**{name: row[name] for name in TIMINGS}),
    )


def to_head(job: RowMapping) -> JobHead:
    plain = {name: job[name] for name in ("id", "name", "decoder", "embedding_dim", "seed", "results_uri")}
    plain["explains"], plain["carry"] = bool(job["explains"]), job["carry"]
    return JobHead(**plain, state=JobState(job["state"]), options=DecodeOptions.model_validate(job["options"]))


def to_attempt(batch: RowMapping, job_name: str | None, device: str | None) -> Attempt:
    """Of a batch that was claimed. `device`: that of its worker, for the batch has one when it is done."""
    plain = ("rows", "worker", "error", "rows_error", "claimed_at", "message", "traceparent")
    return Attempt(
        **{name: batch[name] for name in plain},
        batch_id=batch["id"],
        number=batch["attempt"],
        job_name=job_name,
        device=batch["device"] or device,
        state=BatchState(batch["state"]),
        ended_at=batch["queued_at"] if batch["state"] == BatchState.QUEUED else batch["finished_at"],
    )


def read_job(connection: Connection, job_id: str) -> Job:
    """A job with its counts. Raises NotFoundError."""
    found = read_jobs(connection, select(JOBS).where(JOBS.c.id == job_id))
    if not found:
        raise NotFoundError.of_job(job_id)
    return found[0]


def read_jobs(connection: Connection, statement: Select[Any]) -> list[Job]:
    """The jobs that the statement selects, in its order, with their counts: two statements, however many jobs."""
    jobs = connection.execute(statement).mappings().all()
    sums = {job["id"]: known for job in jobs if (known := _ended.get(job)) is not None}
    if unknown := [job["id"] for job in jobs if job["id"] not in sums]:
        sums.update(_sums(connection, unknown))
    for job in jobs:
        _ended.put(job, sums.get(job["id"], {}))
    return [_to_job(job, sums.get(job["id"], {})) for job in jobs]


class _SumsOfEnded:
    """The sums of jobs that have ended, by job and end: of 50 jobs with a thousand batches each they take a tenth of a
    second. They stay as they are until the job is tried again, and then it comes to another end."""

    KEPT: Final = 1000  # jobs

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, datetime], Mapping[str, RowMapping]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, job: RowMapping) -> Mapping[str, RowMapping] | None:
        if job["finished_at"] is None:
            return None
        with self._lock:
            return self._known.get((job["id"], job["finished_at"]))

    def put(self, job: RowMapping, sums: Mapping[str, RowMapping]) -> None:
        if job["finished_at"] is None:
            return
        with self._lock:
            self._known[job["id"], job["finished_at"]] = sums
            self._known.move_to_end((job["id"], job["finished_at"]))
            if len(self._known) > self.KEPT:
                self._known.popitem(last=False)


_ended: Final = _SumsOfEnded()


def sums_of(connection: Connection, job_id: str) -> Mapping[str, RowMapping]:
    """The sums over a job's batches, by the batches' state."""
    return _sums(connection, [job_id]).get(job_id, {})


def _sums(connection: Connection, job_ids: Sequence[str]) -> dict[str, dict[str, RowMapping]]:
    columns = ("rows", *(f"rows_{name}" for name in _COUNTED), *TIMINGS)
    statement = (
        select(
            BATCHES.c.job_id,
            BATCHES.c.state,
            func.count().label("batches"),
            *(func.sum(BATCHES.c[name]).label(name) for name in columns),
        )
        .where(BATCHES.c.job_id.in_(job_ids))
        .group_by(BATCHES.c.job_id, BATCHES.c.state)
    )
    sums: dict[str, dict[str, RowMapping]] = {}
    for row in connection.execute(statement).mappings():
        sums.setdefault(row["job_id"], {})[row["state"]] = row
    return sums


def row_counts(sums: Mapping[str, RowMapping]) -> RowCounts:
    def total(name: str) -> int:
        return sum(int(row[name]) for row in sums.values())

    return RowCounts(total=total("rows"), **{name: total(f"rows_{name}") for name in _COUNTED})


def batch_counts(sums: Mapping[str, RowMapping]) -> BatchCounts:
    return BatchCounts(**{state: row["batches"] for state, row in sums.items()})


def _to_job(job: RowMapping, sums: Mapping[str, RowMapping]) -> Job:
    done = sums.get(BatchState.DONE)
    plain = ("id", "name", "decoder", "embedding_dim", "seed", "results_uri", "priority", "labels", "error")
    times = ("created_at", "sealed_at", "started_at", "finished_at")
    return Job(
        **{name: job[name] for name in (*plain, "idempotency_key", *times)},
        state=JobState(job["state"]),
        options=DecodeOptions.model_validate(job["options"]),
        rows=row_counts(sums),
        batches=batch_counts(sums),
        timings=Timings() if done is None else Timings(**{name: done[name] for name in TIMINGS}),
    )
