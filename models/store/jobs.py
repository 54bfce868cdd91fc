"""Jobs: created, filled with batches, sealed, cancelled, looked at, removed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa
from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
    tuple_,
    update,
)

from unembed import tracing
from unembed.errors import ConflictError, IdempotencyError, InputError, NotFoundError
from unembed.models.clock import now
from unembed.models.parts import part_uri
from unembed.models.store import ids
from unembed.models.store.arrivals import expect_equal, expect_free, expect_whole
from unembed.models.store.carried import write_carried
from unembed.models.store.job_end import settle
from unembed.models.store.sql import (
    BATCHES,
    JOBS,
    StorePart,
    insert,
    lock_job,
    one,
    read_job,
    read_jobs,
    storable,
    to_batch,
    to_head,
)
from unembed.models.store.totals import Key, Outcome, count, count_taken_out
from unembed.models.store.turns import introduce, join
from unembed.models.store.values import ALL_JOBS, JobFilter, JobHead
from unembed.models.store.webhooks import ask_for
from unembed.references import ReferencedBatches
from unembed.schemas import (
    Batch,
    BatchPage,
    BatchState,
    DecodeOptions,
    Job,
    JobCreate,
    JobPage,
    JobState,
    RowStatus,
    batch_id_of,
)

_REMOVED_AT_ONCE = 16  # batches
_CHANGES: Final = ("priority", "labels", "webhook")  # what may change while a job waits: nothing that decides its texts

_JOB: Final = select(JOBS).where(JOBS.c.id == bindparam("job"))
_CLIENT: Final = select(JOBS.c.client).where(JOBS.c.id == bindparam("job"))
_BATCH: Final = select(BATCHES).where(BATCHES.c.id == bindparam("batch"))
_NEW: Final = {
    "state": BatchState.QUEUED,
    "accepted_at": now(),
    "queued_at": now(),
    **{
        name: bindparam(name)
        for name in (
            *("id", "job_id", "max_attempts", "ordinal", "first_index", "rows", "bytes", "sha256", "reference"),
            "traceparent",
        )
    },
}
_INSERT: Final = BATCHES.insert().values(**_NEW).returning(BATCHES)
_INSERT_ANNOUNCED: Final = BATCHES.insert().values(**_NEW, published_at=now()).returning(BATCHES)


class Jobs(StorePart):
    """The jobs and their batches."""

    def create(
        self, spec: JobCreate, *, client: str = "", idempotency_key: str | None = None, explains: bool = False
    ) -> tuple[Job, bool]:
        """A new job, receiving, and whether it was created now. `explains`: of a batch of a single row, the worker also
        tells what else it might have become, and of which pieces it is.

        The same client with the same key and an equal spec gets the job it already has; with another spec,
        IdempotencyError. Its priority, labels and webhook may be others, which it has from then on.
        """
        with self._write() as connection:
            introduce(connection, client)
            statement = (
                insert(connection, JOBS)
                .values(
                    id=ids.new_job_id(),
                    state=JobState.RECEIVING,
                    client=client,
                    idempotency_key=idempotency_key,
                    created_at=now(),
                    turn=0.0,
                    explains=explains,
                    **_columns(spec),
                )
                .on_conflict_do_nothing(index_elements=["client", "idempotency_key"])
            )
            created = connection.scalar(statement.returning(JOBS.c.id))
            if created is not None:
                if spec.webhook is not None:
                    ask_for(connection, created, spec.webhook)
                return read_job(connection, created), True
            old = one(
                connection, select(JOBS).where(JOBS.c.client == client, JOBS.c.idempotency_key == idempotency_key)
            )
            if old is None:  # removed in between
                raise ConflictError(
                    f"the job of the idempotency key {idempotency_key!r} has just been removed; try again"
                )
            _expect_same(idempotency_key, old, spec)
            changes = {"priority": spec.priority, "labels": spec.labels}
            connection.execute(update(JOBS).where(JOBS.c.id == old["id"]).values(changes))
            if spec.webhook is not None:
                ask_for(connection, old["id"], spec.webhook)
            return read_job(connection, old["id"]), False

    def add_batch(
        self,
        job_id: str,
        ordinal: int,
        first_index: int,
        rows: int,
        nbytes: int,
        sha256: str,
        *,
        announced: bool = False,
        carried: pa.RecordBatch | None = None,
    ) -> tuple[Batch, bool]:
        """A new batch, queued, and whether it was added now; the same batch sent again is found, not added.

        `announced`: its message follows at once; where it cannot be sent after all, say so with `queue.mark_unsent`.
        `carried`: what its rows carry, in the columns that the job was opened with.
        Raises ConflictError when the job no longer receives, or the ordinal or the rows were sent with other content.
        """
        if ordinal < 0 or first_index < 0 or rows < 1:
            raise InputError(
                f"batch {ordinal}, {rows} rows from {first_index}: expected 0 or more, and one row at least"
            )
        new: dict[str, Any] = {"ordinal": ordinal, "first_index": first_index, "rows": rows, "bytes": nbytes}
        new |= {"sha256": sha256, "reference": None}
        with self._write() as connection:
            batch, added = self._add(connection, lock_job(connection, job_id), new, announced)
            if added and carried is not None:
                write_carried(connection, job_id, batch.id, first_index, carried)
            return batch, added

    def add_references(
        self, job_id: str, given: ReferencedBatches, *, announced: bool = False
    ) -> list[tuple[Batch, bool]]:
        """As `add_batch`, for batches whose vectors are in a file: all of them, or none."""
        with self._write() as connection:
            job = lock_job(connection, job_id)
            added = []
            for each in given.batches:
                reference = given.reference_of(each)
                new = each.model_dump(include={"ordinal", "first_index", "rows"})
                new |= {"bytes": 0, "sha256": reference.sha256, "reference": reference.model_dump()}
                added.append(self._add(connection, job, new, announced))
            return added

    def _add(self, connection: Connection, job: RowMapping, new: dict[str, Any], announced: bool) -> tuple[Batch, bool]:
        batch_id = batch_id_of(job["id"], new["ordinal"])
        if received := one(connection, _BATCH, {"batch": batch_id}):
            expect_equal(received, new["first_index"], new["rows"], new["sha256"])
            return to_batch(received), False
        if job["state"] != JobState.RECEIVING:
            raise ConflictError(f"job {job['id']} is {job['state']} and takes no more batches")
        expect_free(connection, job["id"], new["first_index"], new["rows"])
        join(connection, job)
        values = {"id": batch_id, "job_id": job["id"], "max_attempts": self.settings.max_attempts, **new}
        values["traceparent"] = tracing.traceparent()  # of the request that this is part of
        added = one(connection, _INSERT_ANNOUNCED if announced else _INSERT, values)
        assert added is not None, "an INSERT returns its row"
        return to_batch(added), True

    def seal(self, job_id: str, batches: int, rows: int) -> Job:
        """No batch comes any more; sealing again with the same numbers changes nothing.

        Raises ConflictError when these are not the numbers that arrived, or the rows have a gap.
        """
        with self._write() as connection:
            job = lock_job(connection, job_id)
            if job["sealed_at"] is None and job["state"] != JobState.RECEIVING:
                raise ConflictError(f"job {job_id} is {job['state']} and cannot be sealed")
            expect_whole(connection, job_id, batches, rows)
            if job["sealed_at"] is None:
                state = JobState.QUEUED if job["started_at"] is None else JobState.RUNNING
                statement = update(JOBS).where(JOBS.c.id == job_id, JOBS.c.state == JobState.RECEIVING)
                sealed = one(connection, statement.values(state=state, sealed_at=now()).returning(JOBS))
                assert sealed is not None, "the job is locked"
                settle(connection, sealed)
            return read_job(connection, job_id)

    def cancel(self, job_id: str) -> Job:
        """No batch of the job starts any more; it is cancelled once none runs. Again: nothing more happens.

        Raises ConflictError when the job has ended otherwise.
        """
        with self._write() as connection:
            job = lock_job(connection, job_id)
            if job["state"] not in (JobState.CANCELLING, JobState.CANCELLED):
                if JobState(job["state"]).is_ended:
                    raise ConflictError(f"job {job_id} has {job['state']} already and cannot be cancelled")
                cancel_locked(connection, job_id)
            return read_job(connection, job_id)

    def remove(self, job_id: str) -> list[str]:
        """Take an ended job away, its batches and rows with it; the ids of those batches, whose payloads may be left.

        Raises NotFoundError, and ConflictError while the job has not ended.
        """
        removed: list[str] = []
        while True:
            # A few batches at a time: on SQLite everybody else waits for as long as the transaction lasts. Each goes
            # together with its rows, so whoever reads in between finds fewer batches, and those whole.
            with self._write() as connection:
                job = lock_job(connection, job_id)
                if not JobState(job["state"]).is_ended:
                    raise ConflictError(f"job {job_id} is {job['state']}: cancel it, or wait for its end, to remove it")
                some = select(BATCHES.c.id).where(BATCHES.c.job_id == job_id).limit(_REMOVED_AT_ONCE)
                found = connection.scalars(some).all()
                if not found:
                    connection.execute(delete(JOBS).where(JOBS.c.id == job_id))
                    return removed
                rows = (BATCHES.c[f"rows_{status}"] for status in RowStatus)
                gone = connection.execute(delete(BATCHES).where(BATCHES.c.id.in_(found)).returning(*rows))
                count_taken_out(connection, job["decoder"], Outcome.REMOVED, gone.mappings())
            removed += found

    def parts(self, job_id: str) -> list[str]:
        """The files that attempts at this job's batches may have left; of a job without files, none."""
        attempted = (
            select(JOBS.c.results_uri, BATCHES.c.id, BATCHES.c.attempt)
            .join_from(JOBS, BATCHES, BATCHES.c.job_id == JOBS.c.id)
            .where(JOBS.c.id == job_id, JOBS.c.results_uri.is_not(None), BATCHES.c.attempt > 0)
        )
        with self._read() as connection:
            found = connection.execute(attempted).all()
        return [part_uri(folder, batch_id, n) for folder, batch_id, last in found for n in range(1, last + 1)]

    def head(self, job_id: str) -> JobHead:
        """A job without its counts. Raises NotFoundError."""
        with self._read() as connection:
            job = one(connection, _JOB, {"job": job_id})
        if job is None:
            raise NotFoundError.of_job(job_id)
        return to_head(job)

    def client_of(self, job_id: str) -> str:
        """Whose job it is. Raises NotFoundError."""
        with self._read() as connection:
            found = one(connection, _CLIENT, {"job": job_id})
        if found is None:
            raise NotFoundError.of_job(job_id)
        return str(found["client"])

    def get(self, job_id: str) -> Job:
        with self._read() as connection:
            return read_job(connection, job_id)

    def page(self, limit: int = 50, cursor: str | None = None, wanted: JobFilter = ALL_JOBS) -> JobPage:
        """A page of jobs, newest first."""
        statement = select(JOBS).order_by(JOBS.c.created_at.desc(), JOBS.c.id.desc()).limit(limit + 1)
        statement = statement.where(*_conditions(wanted))
        if cursor is not None:
            created_at, job_id = ids.read_jobs_cursor(cursor)
            statement = statement.where(tuple_(JOBS.c.created_at, JOBS.c.id) < (created_at, job_id))
        with self._read() as connection:
            found = read_jobs(connection, statement)
        page, more = found[:limit], len(found) > limit
        return JobPage(jobs=page, next_cursor=ids.jobs_cursor(page[-1].created_at, page[-1].id) if more else None)

    def batch_page(self, job_id: str, limit: int, cursor: str | None = None) -> BatchPage:
        """A page of a job's batches by ordinal. Raises NotFoundError, and InputError for a cursor that is none."""
        after = -1 if cursor is None else ids.read_batches_cursor(cursor)
        following = select(BATCHES).where(BATCHES.c.ordinal > after).limit(limit + 1)
        found = self._batches(job_id, following)
        page, more = found[:limit], len(found) > limit
        return BatchPage(batches=page, next_cursor=ids.batches_cursor(page[-1].ordinal) if more else None)

    def batch(self, job_id: str, ordinal: int) -> Batch:
        """Raises NotFoundError."""
        found = self._batches(job_id, select(BATCHES).where(BATCHES.c.ordinal == ordinal))
        if not found:
            raise NotFoundError(f"job {job_id} has no batch {ordinal}")
        return found[0]

    def batches(self, job_id: str) -> list[Batch]:
        """All batches of a job by ordinal. Raises NotFoundError."""
        return self._batches(job_id, select(BATCHES))

    def dead_batches(self, job_id: str) -> list[Batch]:
        return self._batches(job_id, select(BATCHES).where(BATCHES.c.state == BatchState.DEAD))

    def _batches(self, job_id: str, which: Select[Any]) -> list[Batch]:
        statement = which.where(BATCHES.c.job_id == job_id).order_by(BATCHES.c.ordinal)
        with self._read() as connection:
            if connection.scalar(select(JOBS.c.id).where(JOBS.c.id == job_id)) is None:
                raise NotFoundError.of_job(job_id)
            return [to_batch(row) for row in connection.execute(statement).mappings()]


def _conditions(wanted: JobFilter) -> Iterator[ColumnElement[bool]]:
    for column, value in ((JOBS.c.state, wanted.state), (JOBS.c.decoder, wanted.decoder)):
        if value is not None:
            yield column == value
    if wanted.name is not None:
        yield JOBS.c.name.icontains(wanted.name, autoescape=True)
    if wanted.search is not None:
        of_id = JOBS.c.id.startswith(wanted.search.lower(), autoescape=True)
        yield or_(JOBS.c.name.icontains(wanted.search, autoescape=True), of_id)
    if wanted.clients is not None:
        yield JOBS.c.client.in_(sorted(wanted.clients))
    for name, value in wanted.labels:
        label = JOBS.c.labels[name].as_string()
        yield label.is_not(None) if value is None else label == value


def cancel_locked(connection: Connection, job_id: str, why: str | None = None) -> None:
    """Cancel a job that has not ended and that the caller has locked."""
    waiting = and_(BATCHES.c.job_id == job_id, BATCHES.c.state == BatchState.QUEUED)
    by_worker = select(BATCHES.c.worker, func.count()).where(waiting).group_by(BATCHES.c.worker)
    stopped = {worker or "": int(number) for worker, number in connection.execute(by_worker)}
    connection.execute(update(BATCHES).where(waiting).values(state=BatchState.CANCELLED, finished_at=now()))
    statement = update(JOBS).where(JOBS.c.id == job_id).values(state=JobState.CANCELLING, error=why)
    cancelling = one(connection, statement.returning(JOBS))
    assert cancelling is not None, "the job is locked"
    for worker in sorted(stopped):
        key = Key(cancelling["decoder"], worker, Outcome.CANCELLED, "")
        count(connection, key, batches=stopped[worker])
    settle(connection, cancelling)


def _columns(spec: JobCreate) -> dict[str, object]:
    return {**spec.model_dump(mode="json", exclude={"webhook"}), "name": storable(spec.name), "batches_done": 0}


def _expect_same(key: str | None, old: RowMapping, spec: JobCreate) -> None:
    fixed = [name for name in JobCreate.model_fields if name not in _CHANGES]
    kept = {**{name: old[name] for name in fixed}, "options": DecodeOptions(**old["options"])}
    given = {**dict(spec), "name": storable(spec.name)}
    if kept["fingerprint"] is None:  # of a job whose client gave no key: its batches tell, by their checksums
        kept["fingerprint"] = given["fingerprint"]
    differing = [name for name in fixed if kept[name] != given[name]]
    if differing:
        raise IdempotencyError(
            f"the idempotency key {key!r} belongs to job {old['id']}, which has another {', '.join(differing)}: "
            f"its corpus has the fingerprint {old['fingerprint']!r}, this one {spec.fingerprint!r}"
        )
