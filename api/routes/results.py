"""The rows of a job, a page at a time."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from unembed.api import results
from unembed.api.auth import Client
from unembed.api.conditional import UNCHANGED, IfNoneMatch, has, tag_of, unchanged
from unembed.api.deps import Needs
from unembed.api.problems import documented
from unembed.api.queries import Cursor, JobId
from unembed.schemas import ARROW_STREAM, JSON_LINES, Order

router = APIRouter(tags=["results"])


@router.get(
    "/jobs/{job_id}/results",
    response_class=Response,
    responses={200: results.DESCRIBED, **UNCHANGED, **documented(400, 404)},
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
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Read a page of rows, while the job runs or later: as JSON lines, or as an Arrow stream if you accept one."""
    version = deps.store.results.version(job_id)  # before the rows, which may be newer: then they are fetched again
    tag = tag_of(version, cursor, limit, order, results.prefers_arrow(accept))
    headers = {"ETag": tag, "Vary": "Accept"}
    if not version.state.is_ended:
        headers["Retry-After"] = results.LOOK_AGAIN
    if has(if_none_match, tag):
        return unchanged(headers)
    page = deps.store.results.page(job_id, cursor=cursor, limit=limit, order=order)
    return results.respond(page, accept, headers)
