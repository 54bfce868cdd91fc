"""Why nothing of a job runs, or how long one would take: what comes before it, who works, and what went wrong last.

How long it takes is reckoned from what the workers that live have done in the last minutes. Clients share them, and so
do the jobs of each client (turns.py): of another job, what runs comes before the end of this one, and as many rows as
its share allows while this one is decoded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final, NamedTuple

from sqlalchemy import Connection, bindparam, case, func, select

from unembed.codes import FailureCode
from unembed.estimates import Estimate, EstimateRequest
from unembed.models.clock import now, seconds_between
from unembed.models.store.sql import BATCHES, JOBS, WORKERS, StorePart, one
from unembed.models.store.turns import WEIGHTS
from unembed.models.store.workers import SILENCE
from unembed.schemas import AttemptFailed, BatchState, DecodeOptions, Job, Priority, Waiting

OF_LATE: Final = 300.0  # seconds of work that a pace is reckoned from
REMEMBERED: Final = 3600.0  # seconds of work that the pace of a certain decoder with certain options is reckoned from

_OPEN: Final = (BatchState.QUEUED, BatchState.RUNNING)
_LIVING: Final = select(WORKERS.c.name).where(WORKERS.c.last_seen > now("ago"), WORKERS.c.ended_with.is_(None))
_LAST_WORKER: Final = (
    select(WORKERS.c.name, WORKERS.c.ended_with, seconds_between(WORKERS.c.last_seen, now()).label("silent"))
    .order_by(WORKERS.c.last_seen.desc())
    .limit(1)
)
_RUNS: Final = case((BATCHES.c.state == BatchState.RUNNING, BATCHES.c.rows), else_=0)
_LEFT: Final = (
    select(JOBS.c.id, JOBS.c.client, JOBS.c.priority, func.sum(BATCHES.c.rows), func.sum(_RUNS))
    .join_from(BATCHES, JOBS, BATCHES.c.job_id == JOBS.c.id)
    .where(BATCHES.c.state.in_(_OPEN))
    .group_by(JOBS.c.id, JOBS.c.client, JOBS.c.priority)
)
_DONE_BY: Final = (
    select(
        BATCHES.c.worker,
        func.sum(BATCHES.c.rows),
        func.sum(seconds_between(BATCHES.c.claimed_at, BATCHES.c.finished_at)),
    )
    .where(
        BATCHES.c.worker.in_(bindparam("workers", expanding=True)),
        BATCHES.c.claimed_at >= now(-OF_LATE),
        BATCHES.c.state == BatchState.DONE,
    )
    .group_by(BATCHES.c.worker)
)
_DONE_LIKE: Final = (
    select(
        BATCHES.c.worker,
        JOBS.c.id,
        func.sum(BATCHES.c.rows).label("rows"),
        func.sum(seconds_between(BATCHES.c.claimed_at, BATCHES.c.finished_at)).label("seconds"),
    )
    .join_from(BATCHES, JOBS, BATCHES.c.job_id == JOBS.c.id)
    .where(
        BATCHES.c.worker.in_(bindparam("workers", expanding=True)),
        BATCHES.c.claimed_at >= now(-REMEMBERED),
        BATCHES.c.state == BatchState.DONE,
        JOBS.c.decoder == bindparam("decoder"),
    )
    .group_by(BATCHES.c.worker, JOBS.c.id)
)
_OPTIONS: Final = select(JOBS.c.id, JOBS.c.options).where(JOBS.c.id.in_(bindparam("jobs", expanding=True)))
_FAILED: Final = (
    select(BATCHES, seconds_between(now(), BATCHES.c.not_before).label("next_in"))
    .where(
        BATCHES.c.job_id == bindparam("job"),
        BATCHES.c.state == BatchState.QUEUED,
        # What is queued has its vectors, or would be dead: if it lacked them, they were sent again.
        BATCHES.c.error_code.not_in((FailureCode.PAYLOAD_MISSING, FailureCode.PAYLOAD_DAMAGED)),
    )
    .order_by(BATCHES.c.queued_at.desc())
    .limit(1)
)


class WhyWaiting(StorePart):
    """What a job waits for."""

    def of(self, job: Job) -> Waiting | None:
        """None for a job that has ended, or of which a batch runs."""
        if job.state.is_ended or job.batches.running or not job.batches.queued:
            return None
        with self._read() as connection:
            own, others = _shares(job.id, [_Left(*row) for row in connection.execute(_LEFT)])
            ahead = _ahead(own, others)
            workers = self._living(connection)
            pace = _pace(connection, workers)
            return Waiting(
                jobs_ahead=len(others),
                rows_ahead=round(ahead),
                seconds=(own + ahead) / pace if pace else None,
                workers=len(workers),
                last_worker=None if workers else _last_worker(connection),
                failed=_failed(connection, job.id),
            )

    def estimate(self, spec: EstimateRequest, client: str) -> Estimate:
        """How long this job would take if this client sent it now. Nothing is recorded."""
        with self._read() as connection:
            new = _Left("", client, spec.priority, spec.rows, 0)
            _, others = _shares(new.job_id, [new, *(_Left(*row) for row in connection.execute(_LEFT))])
            ahead = _ahead(spec.rows, others)
            workers = self._living(connection)
            own = _pace_of(_done_like(connection, workers, spec), len(workers))
            pace = _pace(connection, workers) or own  # of the others
            return Estimate(
                rows=spec.rows,
                batches=-(-spec.rows // spec.batch_size),
                bytes=spec.rows * spec.embedding_dim * 4,
                workers=len(workers),
                rows_per_second=own,
                jobs_ahead=len(others),
                rows_ahead=round(ahead),
                seconds=spec.rows / own + ahead / pace if own and pace else None,
            )

    def seconds_left(self, job_ids: Iterable[str]) -> dict[str, float | None]:
        """Until each of these jobs ends, by their turns and the pace of the last minutes; None: nothing was decoded of
        late. A job that has nothing left is not named."""
        with self._read() as connection:
            left = [_Left(*row) for row in connection.execute(_LEFT)]
            pace = _pace(connection, self._living(connection)) if left else None
        found: dict[str, float | None] = {}
        for job_id in {each.job_id for each in left}.intersection(job_ids):
            own, others = _shares(job_id, left)
            found[job_id] = (own + _ahead(own, others)) / pace if pace else None
        return found

    def living(self) -> frozenset[str]:
        """The names of the workers that were seen of late and have not ended."""
        with self._read() as connection:
            return frozenset(self._living(connection))

    def pace(self) -> float | None:
        """Rows a second that the workers that live decode together; None when they have done nothing of late."""
        with self._read() as connection:
            return _pace(connection, self._living(connection))

    def _living(self, connection: Connection) -> list[str]:
        silence = SILENCE * max(self.settings.sweep_interval, self.settings.heartbeat)
        return list(connection.scalars(_LIVING, {"ago": -silence}))


class _Left(NamedTuple):
    job_id: str
    client: str
    priority: str
    rows: int
    running: int  # of the rows


def _shares(job_id: str, left: list[_Left]) -> tuple[int, list[tuple[_Left, float]]]:
    """The rows that this job has left, and the others, each with how many of its rows are decoded for one of this."""
    of_client: defaultdict[str, float] = defaultdict(float)
    for each in left:
        of_client[each.client] += WEIGHTS[Priority(each.priority)]
    shares = {each.job_id: WEIGHTS[Priority(each.priority)] / of_client[each.client] for each in left}
    own = next((int(each.rows) for each in left if each.job_id == job_id), 0)
    return own, [(each, shares[each.job_id] / shares[job_id]) for each in left if own and each.job_id != job_id]


def _ahead(own: int, others: list[tuple[_Left, float]]) -> float:
    """How many rows of the others are decoded before so many of one's own are."""
    return sum(max(each.running, min(each.rows, own * share)) for each, share in others)


def _done_like(connection: Connection, workers: list[str], spec: EstimateRequest) -> list[tuple[float, float]]:
    """What each of these workers has done of late with this decoder and these options: rows, and seconds."""
    done = connection.execute(_DONE_LIKE, {"workers": workers, "decoder": spec.decoder}).all()
    asked = connection.execute(_OPTIONS, {"jobs": sorted({row.id for row in done})})
    alike = {job_id for job_id, options in asked if DecodeOptions.model_validate(options) == spec.options}
    by_worker: dict[str, tuple[float, float]] = {}
    for row in done:
        if row.id in alike:
            rows, seconds = by_worker.get(row.worker, (0.0, 0.0))
            by_worker[row.worker] = rows + float(row.rows), seconds + float(row.seconds)
    return list(by_worker.values())


def _pace(connection: Connection, workers: list[str]) -> float | None:
    done = connection.execute(_DONE_BY, {"workers": workers}).all()
    return _pace_of([(float(rows), float(seconds or 0.0)) for _, rows, seconds in done], len(workers))


def _pace_of(done: list[tuple[float, float]], workers: int) -> float | None:
    paces = [rows / seconds for rows, seconds in done if seconds > 0]
    # One that has not done anything yet counts as one like the others.
    return sum(paces) / len(paces) * workers if paces else None


def _last_worker(connection: Connection) -> str | None:
    last = one(connection, _LAST_WORKER)
    if last is None:
        return None
    if last["ended_with"]:
        return f"{last['name']} ended with: {last['ended_with']}"
    return f"{last['name']} was last seen {float(last['silent']):,.0f} s ago"


def _failed(connection: Connection, job_id: str) -> AttemptFailed | None:
    found = one(connection, _FAILED, {"job": job_id})
    if found is None:
        return None
    return AttemptFailed(
        batch=found["id"],
        **{name: found[name] for name in ("attempt", "max_attempts", "worker", "error_code", "error")},
        next_in=max(0.0, float(found["next_in"] or 0.0)),
    )
