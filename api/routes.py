"""The resource routes, /v1: jobs, their batches, their results; and the decoders that there are."""

from __future__ import annotations

from typing import Annotated, Any, Final

from anyio import to_thread
from fastapi import APIRouter, Header, Path, Query, Request, Response

from unembed.api import results, retention, uploads
from unembed.api.auth import Client
from unembed.api.deps import Needs
from unembed.api.problems import documented
from unembed.errors import DimensionError
from unembed.models.decoder import catalog
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

JobId = Annotated[str, Path(description="As POST /v1/jobs gave it", max_length=64, pattern="^[0-9A-Za-z_-]+$")]
Cursor = Annotated[str | None, Query(description="Where the last page ended", max_length=200)]

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
        str | None, Header(min_length=1, max_length=200, description="The same key and body give the same job again")
    ] = None,
) -> Job:
    """A new job, receiving: add its batches, then seal it."""
    entry = catalog.find(spec.decoder)
    if entry.embedding_dim != spec.embedding_dim:
        raise DimensionError.between(spec.embedding_dim, entry.embedding_dim, f"the decoder {spec.decoder!r}")
    job, created = deps.store.jobs.create(spec, client=client, idempotency_key=idempotency_key)
    response.status_code = 201 if created else 200
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job


@router.get("/jobs", tags=["jobs"], responses=documented(400))
def list_jobs(
    deps: Needs,
    _client: Client,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Cursor = None,
    state: JobState | None = None,
) -> JobPage:
    """Jobs, the newest first; `next_cursor` is null on the last page."""
    return deps.store.jobs.page(limit=limit, cursor=cursor, state=state)


@router.get("/jobs/{job_id}", tags=["jobs"], responses=documented(404))
def read_job(job_id: JobId, deps: Needs, _client: Client) -> Job:
    """A job, its counts and its timings, as they are now."""
    return deps.store.jobs.get(job_id)


@router.post("/jobs/{job_id}/seal", tags=["jobs"], responses=documented(400, 404, 409, 413))
def seal_job(job_id: JobId, seal: JobSeal, deps: Needs, _client: Client) -> Job:
    """Say that all batches were sent. 409 unless just these arrived and their rows have no gap; may be repeated."""
    return deps.store.jobs.seal(job_id, seal.batches, seal.rows)


@router.post("/jobs/{job_id}/cancel", tags=["jobs"], responses=documented(404, 409))
def cancel_job(job_id: JobId, deps: Needs, _client: Client) -> Job:
    """Start no further batch, and stop those that run; what is done stays. 409 when the job has ended otherwise."""
    return deps.store.jobs.cancel(job_id)


@router.post("/jobs/{job_id}/retry", tags=["jobs"], responses=documented(404, 409))
def retry_job(job_id: JobId, deps: Needs, _client: Client) -> Job:
    """Queue again each dead batch whose vectors are still there; the job runs once more. 409 when there is none.

    Batches that lost their vectors stay dead: PUT them again.
    """
    return retention.retry(deps, job_id)


@router.delete(
    "/jobs/{job_id}", status_code=204, response_class=Response, tags=["jobs"], responses=documented(404, 409)
)
def remove_job(job_id: JobId, deps: Needs, _client: Client) -> None:
    """Take an ended job away, with its batches, its rows and the vectors that are left. 409 while it has not ended."""
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
    ordinal: Annotated[int, Path(ge=0, lt=2**31, description="The batch's place in the job, from 0")],
    first_index: Annotated[int, Query(ge=0, lt=2**62, description="The index in the corpus of its first row")],
    request: Request,
    response: Response,
    deps: Needs,
    _client: Client,
    dtype: Annotated[uploads.RawDtype | None, Query(description="Of raw bytes; needed for them only")] = None,
) -> Batch:
    """Add a batch: an Arrow IPC stream of one record batch (`embedding`: fixed_size_list of floats, `id`: string,
    optional), or raw little-endian bytes, row after row.

    Workers may begin with it at once. Sending the same batch again is harmless; other rows at the same ordinal: 409.
    """
    kind = uploads.media_type(request.headers.get("content-type"))
    job = await to_thread.run_sync(deps.store.jobs.head, job_id)
    async with deps.uploads:  # before the body is read: it is the bodies that take the memory
        body = await uploads.read_body(request)
        upload = uploads.Upload(job, ordinal, first_index, kind, dtype, body)
        batch, created = await to_thread.run_sync(uploads.accept, deps, upload)
    response.status_code = 201 if created else 200
    return batch


@router.get("/jobs/{job_id}/batches", tags=["batches"], responses=documented(400, 404))
def list_batches(
    job_id: JobId,
    deps: Needs,
    _client: Client,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    cursor: Cursor = None,
) -> BatchPage:
    """The job's batches in the order of their ordinals; `next_cursor` is null on the last page."""
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
        Query(description="`finished` misses nothing when read while the job runs; `index` is the corpus's order"),
    ] = "finished",
    accept: Annotated[str, Header(max_length=1000, description=f"`{ARROW_STREAM}`, or JSON lines")] = JSON_LINES,
) -> Response:
    """A page of the job's rows, while it runs and after: as JSON lines, or as columns for those who accept Arrow."""
    page = deps.store.results.page(job_id, cursor=cursor, limit=limit, order=order)
    return results.respond(page, accept)


@router.get("/decoders", tags=["decoders"])
def list_decoders(_client: Client) -> list[DecoderInfo]:
    """The decoders that a job may name."""
    found = (catalog.find(name) for name in catalog.names())
    return [
        DecoderInfo(
            name=entry.name,
            embedding_dim=entry.embedding_dim,
            architecture=entry.architecture,
            encoder=entry.encoder,
        )
        for entry in found
    ]
