"""What a batch of OpenAI's is made into, and what its files hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from unembed.api import downloads, uploads
from unembed.api.callers import Caller
from unembed.api.deps import Deps
from unembed.api.downloads import KeptFile
from unembed.api.every_page import PAGE_ROWS, every_page
from unembed.api.openai.lines import InputLines, read_lines
from unembed.api.openai.objects import OpenAIBatchCreate
from unembed.corpus import encode_payload
from unembed.errors import NotFoundError, OutputError
from unembed.generations import rows_of
from unembed.models.decoder import catalog
from unembed.models.store import JobFile
from unembed.schemas import ARROW_STREAM, DEFAULT_BATCH_SIZE, Generation, Job, JobCreate, RowStatus


def submit(deps: Deps, caller: Caller, given: OpenAIBatchCreate) -> tuple[Job, JobFile]:
    """The job of a file's lines, sealed. Raises NotFoundError, InputError for lines that are no requests, and what says
    why no worker could do it or there is no room; then there is no job of it that goes on."""
    lines = read_lines(deps.store.files.content(given.input_file_id, caller.sees))
    entry = catalog.find(lines.decoder)
    entry.require_dim(lines.embeddings.shape[1])
    name = deps.store.files.get(given.input_file_id, caller.sees).name
    spec = JobCreate(decoder=lines.decoder, embedding_dim=lines.embeddings.shape[1], name=name)
    entry.check_needs(spec.options)
    made_of = JobFile(given.input_file_id, given.endpoint, given.metadata or {})
    job, _ = deps.store.jobs.create(spec, client=caller.client)
    try:
        deps.store.files.note_job(job.id, made_of)
        batches = _send(deps, caller, job.id, lines)
        return deps.store.jobs.seal(job.id, batches, len(lines.ids)), made_of
    except BaseException:
        deps.store.jobs.cancel(job.id)
        raise


def _send(deps: Deps, caller: Caller, job_id: str, lines: InputLines) -> int:
    head = deps.store.jobs.head(job_id)
    size = min(DEFAULT_BATCH_SIZE, deps.settings.max_batch_rows)
    starts = range(0, len(lines.ids), size)
    for ordinal, start in enumerate(starts):
        some = slice(start, start + size)
        faults = {row - start: why for row, why in lines.faults.items() if start <= row < start + size}
        body = encode_payload(lines.embeddings[some], lines.ids[some], faults)
        uploads.accept(deps, uploads.Upload(head, ordinal, start, ARROW_STREAM, None, body, caller.limits))
    return len(starts)


def output_file(deps: Deps, job: Job) -> KeptFile:
    """The texts of an ended job: a line for each row that has one, in the input's order. Raises OutputError."""
    return _kept("output", deps, job, lambda: _output(deps, job))


def error_file(deps: Deps, job: Job, made_of: JobFile) -> KeptFile:
    """The errors of an ended job: a line for each row without a text. Raises OutputError."""
    return _kept("errors", deps, job, lambda: _errors(deps, job, made_of))


def _kept(kind: str, deps: Deps, job: Job, lines: Callable[[], Iterator[bytes]]) -> KeptFile:
    version = deps.store.results.version(job.id)  # tried again, a job has other lines
    return deps.downloads.get((kind, job.id, version), "jsonl", lambda path: _write(path, lines()))


def _write(path: Path, lines: Iterator[bytes]) -> None:
    try:
        with path.open("wb") as file:
            file.writelines(lines)
    except OSError as error:
        raise OutputError.of(f"the lines of a batch cannot be written: {error.strerror}", error.errno) from error


def _output(deps: Deps, job: Job) -> Iterator[bytes]:
    for row in _each(downloads.rows_of(deps.store, job.id)):
        if row.status is not RowStatus.ERROR:
            yield _line(job, row, row.id, _response(job, row), None)


def _errors(deps: Deps, job: Job, made_of: JobFile) -> Iterator[bytes]:
    try:
        ids = read_lines(deps.store.files.content(made_of.file_id, None)).ids
    except NotFoundError:
        ids = []  # it was deleted; the rows of dead batches have no ids of their own
    for row in _each(_error_rows(deps, job.id)):
        custom_id = row.id or (ids[row.index] if row.index < len(ids) else None)
        yield _line(job, row, custom_id, None, {"code": row.error_code, "message": row.error})


def _error_rows(deps: Deps, job_id: str) -> Iterator[pa.RecordBatch]:
    return every_page(lambda cursor: deps.store.results.errors(job_id, cursor=cursor, limit=PAGE_ROWS))


def _each(batches: Iterator[pa.RecordBatch]) -> Iterator[Generation]:
    return chain.from_iterable(map(rows_of, batches))


def _response(job: Job, row: Generation) -> dict[str, Any]:
    scores = row.model_dump(include={"overall_quality", "fluency", "coherence", "diversity", "off_manifold", "source"})
    return {
        "status_code": 200,
        "request_id": _id(job, row),
        "body": {
            "id": f"cmpl-{_id(job, row)}",
            "object": "text_completion",
            "created": int(job.created_at.timestamp()),
            "model": job.decoder,
            "choices": [{"index": 0, "text": row.text, "finish_reason": "stop", "logprobs": None}],
            "usage": {"prompt_tokens": 0, "completion_tokens": row.tokens or 0, "total_tokens": row.tokens or 0},
            "unembed": scores,
        },
    }


def _line(job: Job, row: Generation, custom_id: str | None, response: Any, error: Any) -> bytes:
    document = {"id": f"batch_req_{_id(job, row)}", "custom_id": custom_id, "response": response, "error": error}
    return json.dumps(document).encode() + b"\n"


def _id(job: Job, row: Generation) -> str:
    return hashlib.sha256(f"{job.id}-{row.index}".encode()).hexdigest()[:24]
