"""The first page: what runs, what has ended, how fast it goes, what waits, and who works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from unembed.api.callers import Caller
from unembed.api.deps import Deps, Needs
from unembed.api.pages.addresses import server_of
from unembed.api.pages.charts import Bar, bars
from unembed.api.pages.shell import count_of, number, render
from unembed.api.pages.visitors import Visitor
from unembed.models.store import HeldBatch, Worker
from unembed.schemas import Job
from unembed.words import why_it_waits

router = APIRouter()

_OPEN_SHOWN: Final = 10
_ENDED_SHOWN: Final = 5
_GONE_SHOWN: Final = 5
_GONE_FOR: Final = timedelta(days=1)  # after which a worker is no longer told of
_EVERY: Final = 5  # minutes, in the table beside the picture


@dataclass(frozen=True)
class Throughput:
    """The rows of the last hour, by minute."""

    total: int
    most: int  # in a minute
    bars: list[Bar]
    table: list[tuple[str, int]]  # by five minutes, as "06:10 to 06:15"

    @classmethod
    def of(cls, minutes: Sequence[int], now: datetime) -> Throughput:
        begins = [now - timedelta(minutes=len(minutes) - place) for place in range(len(minutes) + 1)]
        says = [f"{at:%H:%M}, {count_of(rows, 'row')}" for at, rows in zip(begins, minutes, strict=False)]
        table = [
            (f"{begins[at]:%H:%M} to {begins[at + _EVERY]:%H:%M}", sum(minutes[at : at + _EVERY]))
            for at in range(0, len(minutes), _EVERY)
        ]
        return cls(sum(minutes), max(minutes), bars(minutes, says, top=max(minutes)), table)


@dataclass(frozen=True)
class ShownWorker:
    worker: Worker
    state: str  # decoding, idle, gone or ended
    holds: HeldBatch | None
    is_own: bool  # whether the visitor sees the job that it has a batch of

    @property
    def runs_on(self) -> str:
        """cpu, bfloat16, avx2."""
        parts = (self.worker.device, self.worker.precision, self.worker.engine)
        return ", ".join(part for part in parts if part) or "not known yet"


@router.get("/")
def show_overview(request: Request, deps: Needs, visitor: Visitor) -> Response:
    overview = deps.store.overview
    running = overview.open_jobs(_OPEN_SHOWN + 1, visitor.sees)
    ended = overview.ended_jobs(_ENDED_SHOWN, visitor.sees)
    shown = [job.id for job in (*running, *ended)]
    return render(
        request,
        "overview.html",
        running=running[:_OPEN_SHOWN],
        more_run=len(running) > _OPEN_SHOWN,
        ended=ended,
        left=deps.store.waits.seconds_left(job.id for job in running),
        samples=overview.samples(shown),
        waits={job.id: _why(deps, job) for job in running[:_OPEN_SHOWN]},
        took=_took,
        throughput=Throughput.of(overview.rows_by_minute(), datetime.now(UTC)),
        queue=deps.store.queue.stats(),
        flower=deps.settings.flower_url,
        server=server_of(request),
        **_workers(deps, visitor),
    )


def _workers(deps: Deps, visitor: Caller) -> dict[str, Any]:
    living = deps.store.waits.living()
    held = {batch.worker: batch for batch in deps.store.overview.held()}
    here, gone = [], []
    for worker in deps.store.workers.all():
        batch = held.get(worker.name) if worker.name in living else None
        is_own = batch is not None and (visitor.sees is None or batch.client in visitor.sees)
        if worker.name in living:
            here.append(ShownWorker(worker, "decoding" if batch else "idle", batch, is_own))
        elif datetime.now(UTC) - worker.last_seen < _GONE_FOR:
            gone.append(ShownWorker(worker, "ended" if worker.ended_with else "gone", None, False))
    gone.sort(key=lambda each: each.worker.last_seen, reverse=True)
    return {"workers": [*here, *gone[:_GONE_SHOWN]], "living": len(here), "last_gone": gone[0].worker if gone else None}


def _why(deps: Deps, job: Job) -> str:
    """What it waits for; nothing for a job of which a batch runs."""
    return why_it_waits(job.model_copy(update={"waiting": deps.store.waits.of(job)}))


def _took(job: Job) -> str:
    """How fast an ended job was decoded; nothing for one that never began."""
    if job.started_at is None or job.finished_at is None:
        return ""
    seconds = (job.finished_at - job.started_at).total_seconds()
    return f"{number(job.rows.written / seconds)} rows a second" if seconds > 0 and job.rows.written else ""
