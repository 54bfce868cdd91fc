"""`/v1/files` and `/v1/batches`, for clients of OpenAI's Batch API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Request, Response

from unembed.api import results, uploads
from unembed.api.callers import Caller, Reader, Submitter
from unembed.api.deps import Deps, Needs
from unembed.api.downloads import KeptFile
from unembed.api.openai import door
from unembed.api.openai.forms import read_form
from unembed.api.openai.objects import (
    BATCH,
    ERRORS,
    OUTPUT,
    OpenAIBatch,
    OpenAIBatchCreate,
    OpenAIBatchPage,
    OpenAIFile,
    OpenAIFileDeleted,
    OpenAIFilePage,
)
from unembed.api.problems import BODY, documented
from unembed.api.queries import require_visible
from unembed.errors import ConflictError, InputError
from unembed.models.store import JobFile
from unembed.schemas import JSON_LINES, Job

router = APIRouter(tags=["openai"])

FileId = Annotated[str, Path(max_length=64, pattern="^[0-9A-Za-z_-]+$")]
BatchId = Annotated[str, Path(max_length=64, pattern="^[0-9A-Za-z_-]+$")]
After = Annotated[
    str | None, Query(max_length=64, pattern="^[0-9A-Za-z_-]*$", description="The last id of the page before")
]
Limit = Annotated[int, Query(ge=1, le=10_000)]
_LINES: Final = {JSON_LINES: {"schema": {"type": "string", "format": "binary"}}}
_CONTENT: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The lines", "content": _LINES},
    206: {
        "description": "The bytes that `Range` asks for, of a batch's texts or errors",
        "content": {**_LINES, "multipart/byteranges": {"schema": {"type": "string", "format": "binary"}}},
    },
}
_FORM: Final = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file", "purpose"],
                "properties": {
                    "file": {"type": "string", "format": "binary", "description": "A JSON document a line"},
                    "purpose": {"type": "string", "enum": ["batch"]},
                },
            }
        }
    },
}


@router.post("/files", responses=documented(*BODY, 403, 408), openapi_extra={"requestBody": _FORM})
async def upload_file(request: Request, deps: Needs, caller: Submitter) -> OpenAIFile:
    """Upload a file of lines, each a vector to decode."""
    async with deps.uploads:
        body = await uploads.read_body(request)
        return await to_thread.run_sync(_upload, deps, caller, request.headers.get("content-type", ""), body)


def _upload(deps: Deps, caller: Caller, content_type: str, body: bytes) -> OpenAIFile:
    form = read_form(content_type, body)
    file, purpose = form.get("file"), form.get("purpose")
    if file is None:
        raise InputError("the form has no field `file`")
    if purpose is None or purpose.content != b"batch":
        raise InputError("the form's field `purpose` is something else; expected batch")
    return OpenAIFile.of(deps.store.files.add(caller.client, file.filename or "file.jsonl", file.content))


@router.get("/files")
def list_files(
    deps: Needs,
    caller: Reader,
    purpose: Literal["batch"] | None = None,
    limit: Limit = 100,
    after: After = None,
    order: Literal["desc"] = "desc",
) -> OpenAIFilePage:
    """List the files that were uploaded, the newest first."""
    found = [OpenAIFile.of(each) for each in deps.store.files.page(limit + 1, after, caller.sees)]
    page = found[:limit]
    return OpenAIFilePage(data=page, has_more=len(found) > limit, first_id=_first(page), last_id=_last(page))


@router.get("/files/{file_id}", responses=documented(404, 409))
def read_file(file_id: FileId, deps: Needs, caller: Reader) -> OpenAIFile:
    """Show a file: one that was uploaded, or that of a batch's texts or errors."""
    job_id = _job_of(file_id)
    if job_id is None:
        return OpenAIFile.of(deps.store.files.get(file_id, caller.sees))
    job, made_of = _ended(deps, caller, job_id)
    return OpenAIFile(
        id=file_id,
        bytes=_kept(deps, job, made_of, file_id).nbytes,
        created_at=int((job.finished_at or job.created_at).timestamp()),
        filename=f"{file_id}.jsonl",
        purpose="batch_output",
    )


@router.get("/files/{file_id}/content", response_class=Response, responses={**_CONTENT, **documented(404, 409, 416)})
def read_file_content(file_id: FileId, deps: Needs, caller: Reader) -> Response:
    """Read a file: the lines that were uploaded, or the texts or errors of a batch, a line each."""
    job_id = _job_of(file_id)
    if job_id is None:
        return Response(deps.store.files.content(file_id, caller.sees), media_type=JSON_LINES)
    job, made_of = _ended(deps, caller, job_id)
    return results.ResultsFile(_kept(deps, job, made_of, file_id), "jsonl", f"{file_id}.jsonl")


@router.delete("/files/{file_id}", responses=documented(403, 404))
def delete_file(file_id: FileId, deps: Needs, caller: Submitter) -> OpenAIFileDeleted:
    """Delete a file that was uploaded. The batches that were made of it stay."""
    deps.store.files.remove(file_id, caller.sees)
    return OpenAIFileDeleted(id=file_id)


@router.post("/batches", responses=documented(*BODY, 403, 404, 409))
def create_openai_batch(given: OpenAIBatchCreate, deps: Needs, caller: Submitter) -> OpenAIBatch:
    """Decode the lines of a file: a job, whose batches are queued at once."""
    return OpenAIBatch.of(*door.submit(deps, caller, given))


@router.get("/batches")
def list_openai_batches(deps: Needs, caller: Reader, limit: Limit = 20, after: After = None) -> OpenAIBatchPage:
    """List the jobs that were made of files, the newest first."""
    after = None if after is None else after.removeprefix(BATCH)
    found = [OpenAIBatch.of(*each) for each in deps.store.files.jobs(limit + 1, after, caller.sees)]
    page = found[:limit]
    return OpenAIBatchPage(data=page, has_more=len(found) > limit, first_id=_first(page), last_id=_last(page))


@router.get("/batches/{batch_id}", responses=documented(404))
def read_openai_batch(batch_id: BatchId, deps: Needs, caller: Reader) -> OpenAIBatch:
    """Show such a job as a batch."""
    return OpenAIBatch.of(*_found(deps, caller, batch_id.removeprefix(BATCH)))


@router.post("/batches/{batch_id}/cancel", responses=documented(403, 404, 409))
def cancel_openai_batch(batch_id: BatchId, deps: Needs, caller: Submitter) -> OpenAIBatch:
    """Cancel it: what is done stays. Answers 409 if it has already ended."""
    job, made_of = _found(deps, caller, batch_id.removeprefix(BATCH))
    return OpenAIBatch.of(deps.store.jobs.cancel(job.id), made_of)


def _first(page: Sequence[OpenAIFile | OpenAIBatch]) -> str | None:
    return page[0].id if page else None


def _last(page: Sequence[OpenAIFile | OpenAIBatch]) -> str | None:
    return page[-1].id if page else None


def _job_of(file_id: str) -> str | None:
    """The job whose output or errors this file is."""
    return next((file_id.removeprefix(start) for start in (OUTPUT, ERRORS) if file_id.startswith(start)), None)


def _found(deps: Deps, caller: Caller, job_id: str) -> tuple[Job, JobFile]:
    """Raises NotFoundError, for the job of another key too."""
    require_visible(deps, caller, job_id)
    return deps.store.jobs.get(job_id), deps.store.files.of_job(job_id)


def _ended(deps: Deps, caller: Caller, job_id: str) -> tuple[Job, JobFile]:
    """Raises what `_found` raises, and ConflictError while the batch has not ended."""
    job, made_of = _found(deps, caller, job_id)
    if not job.state.is_ended:
        raise ConflictError(f"batch {BATCH}{job_id} is {job.state}: its files are there when it has ended")
    return job, made_of


def _kept(deps: Deps, job: Job, made_of: JobFile, file_id: str) -> KeptFile:
    return door.output_file(deps, job) if file_id.startswith(OUTPUT) else door.error_file(deps, job, made_of)
