"""A job: some of its texts, how far it is, how good they are, what went wrong, and where the time went."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Request
from starlette.responses import Response

from unembed.api import events
from unembed.api.deps import Deps, Needs
from unembed.api.looks import look
from unembed.api.pages.advice import advice_on, meaning_of
from unembed.api.pages.course import shares, timeline
from unembed.api.pages.quality import quality_picture
from unembed.api.pages.shell import render
from unembed.api.pages.visitors import ShownJob, Visitor
from unembed.errors import NotFoundError, StorageUnavailableError
from unembed.generations import rows_of
from unembed.schemas import DecodeOptions, Generation, Job, KeyRole, RowStatus
from unembed.webhooks import WebhookState
from unembed.words import why_it_waits

router = APIRouter()

_SAMPLE: Final = 5
_LOOKED_AT: Final = 50  # rows that the sample is taken from: some are errors, or not decoded yet
_STRETCHES: Final = 200  # batches in the picture of who worked when
_TROUBLED: Final = 20


@router.get("/jobs/{job_id}")
def show_job(request: Request, job_id: ShownJob, deps: Needs, visitor: Visitor) -> Response:
    job, _ = look(deps, job_id)
    figures = deps.store.figures
    sample, unreadable = _sample(deps, job)
    return render(
        request,
        "job.html",
        job=job,
        may_change=visitor.role is not KeyRole.READER,
        left=deps.store.waits.seconds_left([job.id]).get(job.id),
        took=_seconds_of(job),
        sample=sample,
        unreadable=unreadable,
        quality=quality_picture(figures.quality(job.id), job.decoder, job.options),
        errors=figures.errors(job.id) if job.rows.error else [],
        troubled=figures.troubled(job.id, _TROUBLED),
        most_troubled=_TROUBLED,
        shares=shares(job),
        timeline=timeline(figures.claimed(job.id, _STRETCHES), datetime.now(UTC)),
        options=_chosen(job.options),
        carry=list(deps.store.jobs.head(job.id).carry),
        webhook=_webhook(deps, job.id),
        waits=why_it_waits(job),
        meaning_of=meaning_of,
        advice_on=advice_on,
    )


@router.get("/jobs/{job_id}/events")
def follow_job(
    job_id: ShownJob,
    deps: Needs,
    visitor: Visitor,
    last_event_id: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """As GET /v1/jobs/{job_id}/events, for who is signed in."""
    job, tag = look(deps, job_id)
    return events.respond(deps, visitor, job, tag, last_event_id)


def _sample(deps: Deps, job: Job) -> tuple[list[Generation], str | None]:
    """A few rows with a text, the same at every look; and why there are none, where they cannot be read."""
    try:
        if job.results_uri is None:
            page = deps.store.samples.drawn(job.id, 0, limit=_LOOKED_AT)
            page = page if page.rows.num_rows >= _SAMPLE else deps.store.results.page(job.id, limit=_LOOKED_AT)
        else:
            page = deps.store.results.page(job.id, limit=_LOOKED_AT)
    except StorageUnavailableError as error:
        return [], error.message
    rows = rows_of(deps.store.carried.beside(job.id, page.rows))
    return [row for row in rows if row.status is not RowStatus.ERROR][:_SAMPLE], None


def _seconds_of(job: Job) -> float | None:
    """From the first claim to the end, or to now."""
    if job.started_at is None:
        return None
    return max(0.0, ((job.finished_at or datetime.now(UTC)) - job.started_at).total_seconds())


def _chosen(options: DecodeOptions) -> dict[str, Any]:
    """Those that are not the defaults."""
    return {name: value for name, value in options.model_dump().items() if value != getattr(DecodeOptions(), name)}


def _webhook(deps: Deps, job_id: str) -> WebhookState | None:
    try:
        return deps.store.webhooks.of(job_id)
    except NotFoundError:
        return None
