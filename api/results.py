"""Pages of rows as a response: JSON lines, or an Arrow IPC stream for who asks for one."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
from fastapi import Response

from unembed.api.conditional import ETAG
from unembed.generations import SCHEMA, json_lines
from unembed.models.store import ResultsPage
from unembed.schemas import ARROW_STREAM, JSON_LINES, NEXT_CURSOR

DESCRIBED: Final[dict[str, Any]] = {
    "description": "One JSON document a line; or, with `Accept: application/vnd.apache.arrow.stream`, an Arrow IPC "
    "stream with the same fields as columns. Any other `Accept` gets JSON lines.",
    "content": {
        JSON_LINES: {"itemSchema": {"$ref": "#/components/schemas/Generation"}},
        ARROW_STREAM: {"schema": {"type": "string", "format": "binary"}},
    },
    "headers": {
        NEXT_CURSOR: {
            "description": "The `cursor` of the next page; absent when there is nothing more now, and, if "
            "the job has ended, ever",
            "schema": {"type": "string"},
        },
        **ETAG,
    },
}
LOOK_AGAIN: Final = "1"  # seconds; batches end every second or so


def respond(page: ResultsPage, accept: str, headers: dict[str, str]) -> Response:
    """The page in the media type that the Accept header prefers."""
    headers |= {NEXT_CURSOR: page.next_cursor} if page.next_cursor is not None else {}
    if prefers_arrow(accept):
        return Response(_arrow_stream(page.rows), headers=headers, media_type=ARROW_STREAM)
    return Response(json_lines(page.rows), headers=headers, media_type=JSON_LINES)


def prefers_arrow(accept: str) -> bool:
    """Whether an Accept header names Arrow, and does not prefer JSON lines. A wildcard alone means JSON lines."""
    weights = dict(_weighted(each) for each in accept.lower().split(","))
    arrow = weights.get(ARROW_STREAM, 0.0)
    return arrow > 0.0 and arrow >= weights.get(JSON_LINES, 0.0)


def _weighted(media_range: str) -> tuple[str, float]:
    """Its name and its weight, 1 unless a `q` says otherwise; 0 for a `q` that is no number."""
    name, *parameters = (each.strip() for each in media_range.split(";"))
    weight = next((each.removeprefix("q=") for each in parameters if each.startswith("q=")), "1")
    try:
        return name, float(weight)
    except ValueError:
        return name, 0.0


def _arrow_stream(rows: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        writer.write_batch(rows)
    return bytes(sink.getvalue())
