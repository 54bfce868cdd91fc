"""Files and batches as OpenAI's clients know them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field

from unembed.models.store import JobFile, UploadedFile
from unembed.schemas import Job, JobState

OUTPUT, ERRORS, BATCH = "file-out-", "file-err-", "batch_"

# `partial` and `failed` are complete too: why rows have no text is in the error file.
_STATUS: Final = {
    JobState.RECEIVING: "validating",
    JobState.QUEUED: "in_progress",
    JobState.RUNNING: "in_progress",
    JobState.CANCELLING: "cancelling",
    JobState.SUCCEEDED: "completed",
    JobState.PARTIAL: "completed",
    JobState.FAILED: "completed",
    JobState.CANCELLED: "cancelled",
}
_Text = Annotated[str, Field(max_length=512, pattern=r"^[^\x00]*$")]


class OpenAIFile(BaseModel):
    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: Literal["batch", "batch_output"] = "batch"
    status: Literal["processed"] = "processed"

    @classmethod
    def of(cls, file: UploadedFile) -> OpenAIFile:
        return cls(id=file.id, bytes=file.nbytes, created_at=_seconds(file.created_at), filename=file.name)


class OpenAIFileDeleted(BaseModel):
    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class OpenAIFilePage(BaseModel):
    object: Literal["list"] = "list"
    data: list[OpenAIFile]
    first_id: str | None
    last_id: str | None
    has_more: bool


class OpenAIBatchCreate(BaseModel):
    """The body of POST /v1/batches; whatever else OpenAI's clients send is passed over."""

    input_file_id: Annotated[str, Field(max_length=64, pattern=r"^[0-9A-Za-z_-]+$")]
    endpoint: Literal["/v1/completions", "/v1/embeddings"]
    completion_window: Annotated[str, Field(max_length=20)] = "24h"
    metadata: Annotated[
        dict[Annotated[str, Field(max_length=64, pattern=r"^[^\x00]*$")], _Text] | None, Field(max_length=16)
    ] = None


class OpenAICounts(BaseModel):
    total: int
    completed: int
    failed: int


class OpenAIBatch(BaseModel):
    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    input_file_id: str
    completion_window: str = "24h"
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    completed_at: int | None
    cancelled_at: int | None
    request_counts: OpenAICounts
    metadata: dict[str, str] | None
    errors: Any = None
    model: str

    @classmethod
    def of(cls, job: Job, made_of: JobFile) -> OpenAIBatch:
        status, rows = _STATUS[job.state], job.rows
        ended = job.finished_at if job.state.is_ended else None
        return cls(
            id=f"{BATCH}{job.id}",
            endpoint=made_of.endpoint,
            input_file_id=made_of.file_id,
            status=status,
            output_file_id=f"{OUTPUT}{job.id}" if ended and rows.ok + rows.fallback else None,
            error_file_id=f"{ERRORS}{job.id}" if ended and rows.error else None,
            created_at=_seconds(job.created_at),
            in_progress_at=_seconds(job.started_at) if job.started_at else None,
            completed_at=_seconds(ended) if ended and status == "completed" else None,
            cancelled_at=_seconds(ended) if ended and status == "cancelled" else None,
            request_counts=OpenAICounts(total=rows.total, completed=rows.ok + rows.fallback, failed=rows.error),
            metadata=dict(made_of.given) or None,
            model=job.decoder,
        )


class OpenAIBatchPage(BaseModel):
    object: Literal["list"] = "list"
    data: list[OpenAIBatch]
    first_id: str | None
    last_id: str | None
    has_more: bool


def _seconds(when: datetime) -> int:
    return int(when.timestamp())
