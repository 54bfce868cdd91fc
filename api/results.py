"""Rows as a response: a page in the format that was asked for, or all of them as a file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Annotated, Any, Final

import pyarrow as pa
from fastapi import Header, Response
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, MalformedRangeHeader, RangeNotSatisfiable

from unembed.api import downloads
from unembed.api.conditional import ETAG
from unembed.api.deps import Deps
from unembed.api.downloads import KeptFile
from unembed.errors import ConflictError, TooLargeError
from unembed.generations import carried_names, json_lines
from unembed.results import write_results
from unembed.results.arrow import write_arrow_stream
from unembed.results.json_lines import write_json_lines
from unembed.results.parquet import write_parquet
from unembed.results.separated import write_csv
from unembed.schemas import ARROW_FILE, ARROW_STREAM, CARRIED, CSV, JSON_LINES, NEXT_CURSOR, PARQUET, ResultsFormat

_MEDIA_TYPES: Final[dict[ResultsFormat, str]] = {
    "arrow": ARROW_STREAM,
    "parquet": PARQUET,
    "csv": CSV,
    "jsonl": JSON_LINES,
}
_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_LINES: Final = {"itemSchema": {"$ref": "#/components/schemas/Generation"}}
_TEXT: Final = {"schema": {"type": "string"}}

DESCRIBED: Final[dict[str, Any]] = {
    "description": "One JSON document a line; or, by `format` or `Accept`, an Arrow IPC stream, a parquet file or CSV "
    "with the same fields as columns. Any other `Accept` gets JSON lines.",
    "content": {JSON_LINES: _LINES, ARROW_STREAM: _BINARY, PARQUET: _BINARY, CSV: _TEXT},
    "headers": {
        NEXT_CURSOR: {
            "description": "The `cursor` of the next page; absent when there is nothing more now, and, if "
            "the job has ended, ever",
            "schema": {"type": "string"},
        },
        **ETAG,
    },
}
_FILE: Final = {JSON_LINES: _LINES, ARROW_FILE: _BINARY, PARQUET: _BINARY, CSV: _TEXT}
DESCRIBED_FILE: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The file",
        "content": _FILE,
        "headers": {"ETag": {"description": "For `If-Range`: a hash of the file", "schema": {"type": "string"}}},
    },
    206: {
        "description": "The bytes that `Range` asks for",
        "content": {**_FILE, "multipart/byteranges": _BINARY},
        "headers": {"Content-Range": {"description": "Which they are", "schema": {"type": "string"}}},
    },
}
Prefer = Annotated[
    str | None,
    Header(max_length=200, description="`carried`: the columns that the job carries, too, behind those of the results"),
]
LOOK_AGAIN: Final = "1"  # seconds; batches end every second or so


def respond(rows: pa.RecordBatch, next_cursor: str | None, format: ResultsFormat, headers: dict[str, str]) -> Response:
    """The page in this format."""
    headers |= {NEXT_CURSOR: next_cursor} if next_cursor is not None else {}
    return Response(_written(rows, format), headers=headers, media_type=_MEDIA_TYPES[format])


def _written(rows: pa.RecordBatch, format: ResultsFormat) -> bytes:
    if format == "jsonl" and not carried_names(rows.schema):
        return json_lines(rows)
    file = io.BytesIO()
    batches: Iterator[pa.RecordBatch] = iter([rows])
    _WRITERS[format](file, rows.schema, batches)
    return file.getvalue()


_WRITERS: Final = {
    "arrow": write_arrow_stream,
    "parquet": write_parquet,
    "csv": write_csv,
    "jsonl": write_json_lines,
}


def wants_carried(prefer: str | None) -> bool:
    """Only who asks gets more columns than there have always been: older clients refuse them."""
    return any(each.partition(";")[0].strip().lower() == CARRIED for each in (prefer or "").split(","))


def preferred(accept: str) -> ResultsFormat:
    """The format that an Accept header weighs most; a wildcard alone means JSON lines."""
    weights = dict(_weighted(each) for each in accept.lower().split(","))
    best = max(_MEDIA_TYPES, key=lambda format: weights.get(_MEDIA_TYPES[format], 0.0))  # the first among equals
    return best if weights.get(_MEDIA_TYPES[best], 0.0) > 0.0 else "jsonl"


def _weighted(media_range: str) -> tuple[str, float]:
    """Its name and its weight, 1 unless a `q` says otherwise; 0 for a `q` that is no number."""
    name, *parameters = (each.strip() for each in media_range.split(";"))
    weight = next((each.removeprefix("q=") for each in parameters if each.startswith("q=")), "1")
    try:
        return name, float(weight)
    except ValueError:
        return name, 0.0


class ResultsFile(FileResponse):
    """All rows; `Range` and `If-Range` take a download up where it broke off."""

    def __init__(self, kept: KeptFile, format: ResultsFormat, name: str) -> None:
        media_type = ARROW_FILE if format == "arrow" else _MEDIA_TYPES[format]
        super().__init__(kept.path, headers={"ETag": kept.tag}, media_type=media_type, filename=name)

    @classmethod
    def _parse_range_header(cls, http_range: str, file_size: int) -> list[tuple[int, int]]:
        try:
            return super()._parse_range_header(http_range, file_size)
        except MalformedRangeHeader:
            return []  # as if there were none, says RFC 9110
        except RangeNotSatisfiable as error:
            raise HTTPException(
                416,
                f"the file has {file_size} bytes, and the Range {http_range[:40]!r} is beyond them",
                {"Content-Range": f"bytes */{error.max_size}"},
            ) from None


def whole_file(deps: Deps, job_id: str, format: ResultsFormat) -> ResultsFile:
    """All rows of an ended job. Raises NotFoundError, ConflictError before its end, and TooLargeError."""
    version = deps.store.results.version(job_id)
    if not version.state.is_ended:
        raise ConflictError(f"job {job_id} is {version.state}: its file is there when it has ended, its rows in pages")
    job = deps.store.jobs.get(job_id)
    if job.rows.total > downloads.MOST_ROWS:
        raise TooLargeError(
            f"job {job_id} has {job.rows.total} rows, and a file at most {downloads.MOST_ROWS}: read them in pages"
        )
    kept = deps.downloads.get(
        (job_id, version, format), format, lambda path: write_results(path, downloads.rows_of(deps.store, job_id))
    )
    return ResultsFile(kept, format, f"{job_id}.{format}")
