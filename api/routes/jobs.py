"""Jobs: opened, estimated, sealed, looked at, cancelled, tried again, removed."""

from __future__ import annotations

from typing import Annotated, Any, Final

from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import Field

from unembed.api import events, retention
from unembed.api.callers import Reader, Submitter
from unembed.api.conditional import ETAG, UNCHANGED, IfNoneMatch, has, unchanged
from unembed.api.deps import Deps, Needs
from unembed.api.long_poll import Prefer, look_again_after, waited
from unembed.api.looks import look
from unembed.api.problems import BODY, documented
from unembed.api.queries import Cursor, JobId
from unembed.estimates import Estimate, EstimateRequest
from unembed.models.decoder import catalog
from unembed.models.store import JobFilter
from unembed.schemas import LABEL_FILTER, MAX_LABELS, Job, JobCreate, JobPage, JobSeal, JobState, WebhookState
from unembed.webhooks import require_allowed

router = APIRouter(tags=["jobs"])

LabelFilter = Annotated[str, Field(max_length=300, pattern=LABEL_FILTER)]

_CREATED: Final[dict[str, Any]] = {
    "headers": {"Location": {"description": "The job's path", "schema": {"type": "string"}}}
}


@router.post(
    "/jobs",
    status_code=201,
    responses={
        201: _CREATED,
        200: {"model": Job, "description": "This idempotency key was used before, for this very job"} | _CREATED,
        **documented(*BODY, 403),
    },
)
def create_job(
    spec: JobCreate,
    deps: Needs,
    caller: Submitter,
    response: Response,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=200,
            description="The same key and body return the same job",
        ),
    ] = None,
) -> Job:
    """Create a job. Then send its batches, and seal it when all are sent."""
    _require_possible(spec, deps)
    if spec.webhook is not None:
        require_allowed(spec.webhook.url, deps.settings.webhook_hosts)
    job, created = deps.store.jobs.create(spec, client=caller.client, idempotency_key=idempotency_key)
    response.status_code = 201 if created else 200
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job


def _require_possible(spec: JobCreate, deps: Deps) -> None:
    """Raises what says why no worker could do this job."""
    entry = catalog.find(spec.decoder)
    entry.require_dim(spec.embedding_dim)
    entry.check_needs(spec.options)
    if spec.results_uri is not None:
        deps.parts.require(spec.results_uri)


@router.post("/jobs:estimate", responses=documented(*BODY))
def estimate_job(spec: EstimateRequest, deps: Needs, caller: Reader) -> Estimate:
    """Say how long a job would take, by what the workers have done of late. Nothing is created."""
    _require_possible(spec, deps)
    return deps.store.waits.estimate(spec, caller.client)


@router.get("/jobs", responses=documented(400))
def list_jobs(
    deps: Needs,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Cursor = None,
    state: JobState | None = None,
    decoder: Annotated[str | None, Query(max_length=200, description="Jobs of this decoder")] = None,
    name: Annotated[
        str | None, Query(min_length=1, max_length=200, description="Jobs with this in their name, in any case")
    ] = None,
    label: Annotated[
        list[LabelFilter],
        Query(max_length=MAX_LABELS, description="Jobs with this label: `name=value`, or `name` with any value"),
    ] = [],  # noqa: B006 - FastAPI copies it
) -> JobPage:
    """List jobs, the newest first, that are all that is asked for. `next_cursor` is null on the last page."""
    wanted = JobFilter(state=state, decoder=decoder, name=name, labels=tuple(map(_parted, label)), clients=caller.sees)
    return deps.store.jobs.page(limit=limit, cursor=cursor, wanted=wanted)


def _parted(label: str) -> tuple[str, str | None]:
    name, equals, value = label.partition("=")
    return name, value if equals else None


@router.get(
    "/jobs/{job_id}",
    response_model=Job,
    responses={200: {"headers": ETAG}, **UNCHANGED, **documented(404)},
)
async def read_job(
    job_id: JobId,
    deps: Needs,
    caller: Reader,
    request: Request,
    if_none_match: IfNoneMatch = None,
    prefer: Prefer = None,
) -> Response:
    """Show a job: its state, its counts of rows and batches, its timings, and what it waits for.

    With `Prefer: wait=N` the answer comes once the job has ended, or has changed from what `If-None-Match` names; after
    N seconds (60 at most) in any case.
    """

    def is_news() -> bool:
        if if_none_match is None:
            return deps.store.jobs.head(job_id).state.is_ended
        job, tag = look(deps, job_id)
        return job.state.is_ended or not has(if_none_match, tag)

    headers = await waited(request, deps, caller, prefer, is_news)
    job, tag = await to_thread.run_sync(look, deps, job_id)
    headers["ETag"] = tag
    if not job.state.is_ended:
        headers["Retry-After"] = look_again_after(job)
    if has(if_none_match, tag):
        return unchanged(headers)
    return Response(job.model_dump_json(), headers=headers, media_type="application/json")


@router.get("/jobs/{job_id}/events", response_class=Response, responses={**events.DESCRIBED, **documented(404)})
def read_events(
    job_id: JobId,
    deps: Needs,
    caller: Reader,
    last_event_id: Annotated[
        str | None, Header(max_length=200, description="The `id` of the last event that was seen: go on after it")
    ] = None,
) -> Response:
    """Follow a job as Server-Sent Events: the job as it is, and again whenever it has changed, until it has ended."""
    job, tag = look(deps, job_id)
    return events.respond(deps, caller, job, tag, last_event_id)


@router.get("/jobs/{job_id}/webhook", responses=documented(404))
def read_webhook(job_id: JobId, deps: Needs, _caller: Reader) -> WebhookState:
    """Show what became of a job's webhook: whether its end was told, and why not."""
    return deps.store.webhooks.of(job_id)


@router.post("/jobs/{job_id}/seal", responses=documented(*BODY, 403, 404, 409))
def seal_job(job_id: JobId, seal: JobSeal, deps: Needs, _caller: Submitter) -> Job:
    """Say that all batches were sent. Answers 409 if a batch is missing or the rows have a gap. Safe to repeat."""
    return deps.store.jobs.seal(job_id, seal.batches, seal.rows)


@router.post("/jobs/{job_id}/cancel", responses=documented(403, 404, 409))
def cancel_job(job_id: JobId, deps: Needs, _caller: Submitter) -> Job:
    """Cancel a job: no batch starts any more, running ones stop, finished rows stay. 409 if it has already ended."""
    return deps.store.jobs.cancel(job_id)


@router.post("/jobs/{job_id}/retry", responses=documented(403, 404, 409))
def retry_job(job_id: JobId, deps: Needs, _caller: Submitter) -> Job:
    """Try the dead batches of a job again: those that failed at every attempt. Answers 409 if there is none.

    A batch whose vectors are no longer in Redis stays dead until it is sent again with PUT.
    """
    return retention.retry(deps, job_id)


@router.delete("/jobs/{job_id}", status_code=204, response_class=Response, responses=documented(403, 404, 409))
def remove_job(job_id: JobId, deps: Needs, _caller: Submitter) -> None:
    """Remove a job that has ended, with its batches, rows and vectors. Answers 409 while it has not ended."""
    retention.remove(deps, job_id)
