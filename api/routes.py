"""The resource routes, /v1: jobs, their batches, their results; and the decoders that there are."""

from __future__ import annotations

from typing import Annotated, Any, Final

from anyio import to_thread
from fastapi import APIRouter, Header, Path, Query, Request, Response

from unembed.api import results, retention, uploads
from unembed.api.auth import Client
from unembed.api.deps import Deps, Needs
from unembed.api.problems import documented
from unembed.estimates import Estimate, EstimateRequest
from unembed.models.decoder import catalog
from unembed.references import ReferencedBatches, ReferencesAccepted
from unembed.schemas import (
    ARROW_STREAM,
    JSON_LINES,
    RAW_BYTES,
    Batch,
    BatchPage,
    DecoderInfo,
    Job,
    JobCreate,
    JobPage,
    JobSeal,
    JobState,
    Order,
)

JobId = Annotated[str, Path(description="From POST /v1/jobs", max_length=64, pattern="^[0-9A-Za-z_-]+$")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before", max_length=200)]

router = APIRouter(prefix="/v1", responses=documented(401, 422, 500, 503))

_CREATED: Final[dict[str, Any]] = {
    "headers": {"Location": {"description": "The job's path", "schema": {"type": "string"}}}
}


@router.post(
    "/jobs",
    status_code=201,
    tags=["jobs"],
    responses={
        201: _CREATED,
        200: {"model": Job, "description": "This idempotency key was used before, for this very job"} | _CREATED,
        **documented(400, 413),
    },
)
def create_job(
    spec: JobCreate,
    deps: Needs,
    client: Client,
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
    job, created = deps.store.jobs.create(spec, client=client, idempotency_key=idempotency_key)
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


@router.post("/jobs:estimate", tags=["jobs"], responses=documented(400, 413))
def estimate_job(spec: EstimateRequest, deps: Needs, client: Client) -> Estimate:
    """Say how long a job would take, by what the workers have done of late. Nothing is created."""
    _require_possible(spec, deps)
    return deps.store.waits.estimate(spec, client)


@router.get("/jobs", tags=["jobs"], responses=documented(400))
def list_jobs(
    deps: Needs,
    _client: Client,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Cursor = None,
    state: JobState | None = None,
) -> JobPage:
    """List jobs, the newest first. `next_cursor` is null on the last page."""
    return deps.store.jobs.page(limit=limit, cursor=cursor, state=state)


@router.get("/jobs/{job_id}", tags=["jobs"], responses=documented(404))
def read_job(job_id: JobId, deps: Needs, _client: Client) -> Job:
    """Show a job: its state, its counts of rows and batches, its timings, and what it waits for."""
    job = deps.store.jobs.get(job_id)
    return job.model_copy(update={"waiting": deps.store.waits.of(job)})


@router.post("/jobs/{job_id}/seal", tags=["jobs"], responses=documented(400, 404, 409, 413))
def seal_job(job_id: JobId, seal: JobSeal, deps: Needs, _client: Client) -> Job:
    """Say that all batches were sent. Answers 409 if a batch is missing or the rows have a gap. Safe to repeat."""
    return deps.store.jobs.seal(job_id, seal.batches, seal.rows)


@router.post("/jobs/{job_id}/cancel", tags=["jobs"], responses=documented(404, 409))
def cancel_job(job_id: JobId, deps: Needs, _client: Client) -> Job:
    """Cancel a job: no batch starts any more, running ones stop, finished rows stay. 409 if it has already ended."""
    return deps.store.jobs.cancel(job_id)


@router.post("/jobs/{job_id}/retry", tags=["jobs"], responses=documented(404, 409))
def retry_job(job_id: JobId, deps: Needs, _client: Client) -> Job:
    """Try the dead batches of a job again: those that failed at every attempt. Answers 409 if there is none.

    A batch whose vectors are no longer in Redis stays dead until it is sent again with PUT.
    """
    return retention.retry(deps, job_id)


@router.delete(
    "/jobs/{job_id}", status_code=204, response_class=Response, tags=["jobs"], responses=documented(404, 409)
)
def remove_job(job_id: JobId, deps: Needs, _client: Client) -> None:
    """Remove a job that has ended, with its batches, rows and vectors. Answers 409 while it has not ended."""
    retention.remove(deps, job_id)


_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}


@router.put(
    "/jobs/{job_id}/batches/{ordinal}",
    status_code=201,
    tags=["batches"],
    responses={
        200: {"model": Batch, "description": "The same rows were accepted at this ordinal before"},
        **documented(400, 404, 408, 409, 413, 415, 429),
    },
    openapi_extra={"requestBody": {"required": True, "content": {ARROW_STREAM: _BINARY, RAW_BYTES: _BINARY}}},
)
async def put_batch(
    job_id: JobId,
    ordinal: Annotated[int, Path(ge=0, lt=2**31, description="The number of the batch within the job, from 0")],
    first_index: Annotated[int, Query(ge=0, lt=2**62, description="The index of its first row in the corpus")],
    request: Request,
    response: Response,
    deps: Needs,
    _client: Client,
    dtype: Annotated[uploads.RawDtype | None, Query(description="The type of the numbers; for raw bytes only")] = None,
) -> Batch:
    """Send a batch, as an Arrow IPC stream of one record batch or as raw little-endian numbers, row after row.

    The Arrow columns are `embedding` (a fixed-size list of floats) and, if you like, `id` (strings). Workers may
    start on the batch at once. Sending the same batch again is safe. Other rows at the same ordinal are refused (409).
    """
    kind = uploads.media_type(request.headers.get("content-type"))
    job = await to_thread.run_sync(deps.store.jobs.head, job_id)
    async with deps.uploads:  # before the body is read: it is the bodies that take the memory
        body = await uploads.read_body(request)
        upload = uploads.Upload(job, ordinal, first_index, kind, dtype, body)
        batch, created = await to_thread.run_sync(uploads.accept, deps, upload)
    response.status_code = 201 if created else 200
    return batch


@router.post(
    "/jobs/{job_id}/batches",
    status_code=201,
    tags=["batches"],
    responses={
        200: {"model": ReferencesAccepted, "description": "All of these batches were accepted before"},
        **documented(400, 404, 409, 413, 429),
    },
)
def post_batches(
    job_id: JobId, given: ReferencedBatches, deps: Needs, _client: Client, response: Response
) -> ReferencesAccepted:
    """Add batches by reference: workers read them from the file themselves, if it is under `UNEMBED_CORPUS_ROOTS`.

    All of them are accepted, or none. Sending the same batches again is safe. Other rows at the same ordinal are
    refused (409).
    """
    accepted = uploads.accept_references(deps, deps.store.jobs.head(job_id), given)
    response.status_code = 201 if accepted.added else 200
    return accepted


@router.get("/jobs/{job_id}/batches", tags=["batches"], responses=documented(400, 404))
def list_batches(
    job_id: JobId,
    deps: Needs,
    _client: Client,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    cursor: Cursor = None,
) -> BatchPage:
    """List the batches of a job, by ordinal. `next_cursor` is null on the last page."""
    return deps.store.jobs.batch_page(job_id, limit, cursor)


@router.get(
    "/jobs/{job_id}/results",
    tags=["results"],
    response_class=Response,
    responses={
        200: results.DESCRIBED,
        **documented(400, 404),
    },
)
def read_results(
    job_id: JobId,
    deps: Needs,
    _client: Client,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    order: Annotated[
        Order,
        Query(description="`finished`: as batches finish, complete even while the job runs; `index`: by index"),
    ] = "finished",
    accept: Annotated[str, Header(max_length=1000, description=f"`{ARROW_STREAM}`, or JSON lines")] = JSON_LINES,
) -> Response:
    """Read a page of rows, while the job runs or later: as JSON lines, or as an Arrow stream if you accept one."""
    page = deps.store.results.page(job_id, cursor=cursor, limit=limit, order=order)
    return results.respond(page, accept)


@router.get("/decoders", tags=["decoders"])
def list_decoders(_client: Client) -> list[DecoderInfo]:
    """List the decoders that a job can use."""
    return [_described(catalog.find(name)) for name in catalog.names()]


@router.get("/decoders/{name}", tags=["decoders"])
def read_decoder(_client: Client, name: Annotated[str, Path(max_length=200)]) -> DecoderInfo:
    """Describe a decoder, with a hash of its checkpoint."""
    entry = catalog.find(name)
    return _described(entry).model_copy(update={"checkpoint": entry.checkpoint})


def _described(entry: catalog.Entry) -> DecoderInfo:
    return DecoderInfo(
        name=entry.name,
        embedding_dim=entry.embedding_dim,
        architecture=entry.architecture,
        encoder=entry.encoder,
    )
