"""The batches of a job: sent, referred to, listed."""

from __future__ import annotations

from typing import Annotated, Any, Final

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response

from unembed.api import uploads
from unembed.api.callers import Reader, Submitter
from unembed.api.deps import Needs
from unembed.api.problems import BODY, documented
from unembed.api.queries import Cursor, JobId, Ordinal
from unembed.references import ReferencedBatches, ReferencesAccepted
from unembed.schemas import ARROW_STREAM, RAW_BYTES, Batch, BatchPage

router = APIRouter(tags=["batches"])

_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}


def _at(what: str) -> dict[str, Any]:
    return {"headers": {"Location": {"description": f"The path of {what}", "schema": {"type": "string"}}}}


@router.put(
    "/jobs/{job_id}/batches/{ordinal}",
    status_code=201,
    responses={
        201: _at("the batch"),
        200: {"model": Batch, "description": "The same rows were accepted at this ordinal before"} | _at("the batch"),
        **documented(*BODY, 403, 404, 408, 409),
    },
    openapi_extra={"requestBody": {"required": True, "content": {ARROW_STREAM: _BINARY, RAW_BYTES: _BINARY}}},
)
async def put_batch(
    job_id: JobId,
    ordinal: Ordinal,
    first_index: Annotated[int, Query(ge=0, lt=2**62, description="The index of its first row in the corpus")],
    request: Request,
    response: Response,
    deps: Needs,
    caller: Submitter,
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
        upload = uploads.Upload(job, ordinal, first_index, kind, dtype, body, caller.limits)
        batch, created = await to_thread.run_sync(uploads.accept, deps, upload)
    response.status_code = 201 if created else 200
    response.headers["Location"] = f"/v1/jobs/{job_id}/batches/{ordinal}"
    return batch


@router.get("/jobs/{job_id}/batches/{ordinal}", responses=documented(404))
def read_batch(job_id: JobId, ordinal: Ordinal, deps: Needs, _caller: Reader) -> Batch:
    """Show a batch: its state, its attempts, its worker, its counts and timings."""
    return deps.store.jobs.batch(job_id, ordinal)


@router.post(
    "/jobs/{job_id}/batches",
    status_code=201,
    responses={
        201: _at("the job's batches"),
        200: {"model": ReferencesAccepted, "description": "All of these batches were accepted before"},
        **documented(*BODY, 403, 404, 409),
    },
)
def post_batches(
    job_id: JobId, given: ReferencedBatches, deps: Needs, caller: Submitter, response: Response
) -> ReferencesAccepted:
    """Add batches by reference: workers read them from the file themselves, if it is under `UNEMBED_CORPUS_ROOTS`.

    All of them are accepted, or none. Sending the same batches again is safe. Other rows at the same ordinal are
    refused (409).
    """
    accepted = uploads.accept_references(deps, deps.store.jobs.head(job_id), given, caller.limits)
    response.status_code = 201 if accepted.added else 200
    if accepted.added:
        response.headers["Location"] = f"/v1/jobs/{job_id}/batches"
    return accepted


@router.get("/jobs/{job_id}/batches", responses=documented(400, 404))
def list_batches(
    job_id: JobId,
    deps: Needs,
    _caller: Reader,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    cursor: Cursor = None,
) -> BatchPage:
    """List the batches of a job, by ordinal. `next_cursor` is null on the last page."""
    return deps.store.jobs.batch_page(job_id, limit, cursor)
