"""Each request of the API that a client makes, as a value."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from pydantic import TypeAdapter

from unembed.calls.arguments import checked, in_path, params
from unembed.calls.steps import Call
from unembed.estimates import Estimate, EstimateRequest
from unembed.generations import from_arrow_stream, from_json_lines
from unembed.references import ReferencesAccepted
from unembed.schemas import (
    ARROW_STREAM,
    CARRIED,
    JSON_LINES,
    NEXT_CURSOR,
    Batch,
    BatchPage,
    DecodeOptions,
    DecoderInfo,
    Job,
    JobCreate,
    JobPage,
    JobSeal,
    JobState,
    Order,
    Priority,
    ResultsFormat,
)

if TYPE_CHECKING:
    import httpx2
    import pyarrow as pa

PAGE_ROWS: Final = 8000
PAGE_BATCHES: Final = 1000

_ROWS: Final = f"{ARROW_STREAM}, {JSON_LINES};q=0.5"
_UNCHANGED: Final = 304
_MAKING_A_FILE: Final = 600.0  # seconds; of 20,000,000 rows
_WHOLE: Final = re.compile(r"bytes \d+-\d+/(\d+)")

T = TypeVar("T")


class RowsPage(NamedTuple):
    rows: pa.RecordBatch
    cursor: str | None  # of the next page


class Look(NamedTuple):
    """A job as it was looked at."""

    job: Job | None  # None: it is as it was
    tag: str | None  # for the next look, which then says whether it has changed


class FilePiece(NamedTuple):
    """Some bytes of a file."""

    content: bytes
    total: int  # bytes of the whole file
    tag: str | None  # of its contents
    is_part: bool  # False: the server gave all of it at once


def _as(kind: type[T]) -> Callable[[httpx2.Response], T]:
    """Reads JSON as a value of `kind`, a type that pydantic knows."""
    return lambda response: TypeAdapter(kind).validate_json(response.content)


def _nothing(_response: httpx2.Response) -> None:
    return None


def _job(job_id: str, more: str = "") -> str:
    return f"/v1/jobs/{in_path('the id of the job', job_id)}{more}"


def create(spec: JobCreate, key: str) -> Call[Job]:
    return Call("POST", "/v1/jobs", _as(Job), json=spec.model_dump(mode="json"), headers={"Idempotency-Key": key})


def put(job_id: str, ordinal: int, first_index: int, payload: bytes) -> Call[None]:
    return Call(
        "PUT",
        _job(job_id, f"/batches/{ordinal}"),
        _nothing,
        params={"first_index": first_index},
        headers={"Content-Type": ARROW_STREAM},
        content=payload,
    )


def refer(job_id: str, body: Any) -> Call[ReferencesAccepted]:
    return Call("POST", _job(job_id, "/batches"), _as(ReferencesAccepted), json=body)


def seal(job_id: str, batches: int, rows: int) -> Call[Job]:
    return Call("POST", _job(job_id, "/seal"), _as(Job), json=JobSeal(batches=batches, rows=rows).model_dump())


def estimate(
    rows: int,
    embedding_dim: int,
    decoder: str,
    options: DecodeOptions | None,
    batch_size: int,
    priority: Priority | str,
) -> Call[Estimate]:
    asked = checked(
        EstimateRequest,
        rows=rows,
        embedding_dim=embedding_dim,
        decoder=decoder,
        options=DecodeOptions() if options is None else options,
        batch_size=batch_size,
        priority=priority,
    )
    return Call("POST", "/v1/jobs:estimate", _as(Estimate), json=asked.model_dump(mode="json"))


def job(job_id: str) -> Call[Job]:
    return Call("GET", _job(job_id), _as(Job))


def look(job_id: str, wait: int, tag: str | None) -> Call[Look]:
    """The job when it has ended, or, with a tag, when it has changed; after `wait` seconds in any case. A server that
    cannot wait answers at once."""
    headers = ({"Prefer": f"wait={wait}"} if wait else {}) | ({"If-None-Match": tag} if tag else {})

    def read(response: httpx2.Response) -> Look:
        found = None if response.status_code == _UNCHANGED else TypeAdapter(Job).validate_json(response.content)
        return Look(found, response.headers.get("ETag"))

    return Call("GET", _job(job_id), read, headers=headers, patience=wait, fine=frozenset({_UNCHANGED}))


def jobs(
    limit: int,
    cursor: str | None,
    state: JobState | str | None,
    decoder: str | None,
    name: str | None,
    labels: Sequence[str],
) -> Call[JobPage]:
    asked = params(limit=limit, cursor=cursor, state=state, decoder=decoder, name=name, label=labels)
    return Call("GET", "/v1/jobs", _as(JobPage), params=asked)


def batches(job_id: str, cursor: str | None) -> Call[BatchPage]:
    return Call("GET", _job(job_id, "/batches"), _as(BatchPage), params=params(limit=PAGE_BATCHES, cursor=cursor))


def batch(job_id: str, ordinal: int) -> Call[Batch]:
    return Call("GET", _job(job_id, f"/batches/{ordinal}"), _as(Batch))


def decoders() -> Call[list[DecoderInfo]]:
    return Call("GET", "/v1/decoders", _as(list[DecoderInfo]))


def decoder(name: str) -> Call[DecoderInfo]:
    return Call("GET", f"/v1/decoders/{in_path('the name of the decoder', name)}", _as(DecoderInfo))


def cancel(job_id: str) -> Call[Job]:
    return Call("POST", _job(job_id, "/cancel"), _as(Job))


def retry(job_id: str) -> Call[Job]:
    return Call("POST", _job(job_id, "/retry"), _as(Job))


def remove(job_id: str) -> Call[None]:
    return Call("DELETE", _job(job_id), _nothing)


def results(job_id: str, order: Order, cursor: str | None, limit: int | None = None) -> Call[RowsPage]:
    """A page of rows. A server that knows no Arrow answers with JSON lines."""
    return _page(_job(job_id, "/results"), params(limit=limit or PAGE_ROWS, order=order, cursor=cursor))


def errors(job_id: str, cursor: str | None) -> Call[RowsPage]:
    """A page of the rows without a text, in the order of the corpus."""
    return _page(_job(job_id, "/errors"), params(limit=PAGE_ROWS, cursor=cursor))


def piece(job_id: str, format: ResultsFormat, begin: int, end: int) -> Call[FilePiece]:
    """The bytes from `begin` to before `end` of the file with all rows. The server makes the file first, once."""

    def read(response: httpx2.Response) -> FilePiece:
        whole = _WHOLE.fullmatch(response.headers.get("Content-Range", ""))
        total = int(whole[1]) if whole else len(response.content)
        return FilePiece(response.content, total, response.headers.get("ETag"), whole is not None)

    return Call(
        "GET",
        _job(job_id, "/download"),
        read,
        params={"format": format},
        headers={"Range": f"bytes={begin}-{end - 1}"},
        patience=_MAKING_A_FILE,
    )


def _page(path: str, asked: dict[str, Any]) -> Call[RowsPage]:
    def read(response: httpx2.Response) -> RowsPage:
        is_arrow = response.headers.get("Content-Type", "").startswith(ARROW_STREAM)
        rows = (from_arrow_stream if is_arrow else from_json_lines)(response.content)
        return RowsPage(rows, response.headers.get(NEXT_CURSOR))

    # A server of an older version passes over the preference.
    return Call("GET", path, read, params=asked, headers={"Accept": _ROWS, "Prefer": CARRIED})
