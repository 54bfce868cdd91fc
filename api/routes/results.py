"""The rows of a job: a page at a time, those without a text, or all as one file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from unembed.api import results
from unembed.api.callers import Reader
from unembed.api.conditional import UNCHANGED, IfNoneMatch, has, tag_of, unchanged
from unembed.api.deps import Deps, Needs
from unembed.api.problems import documented
from unembed.api.queries import Cursor, JobId
from unembed.models.store import ResultsPage
from unembed.schemas import CARRIED, JSON_LINES, Order, ResultsFormat

router = APIRouter(tags=["results"])

Limit = Annotated[int, Query(ge=1, le=10_000)]
Format = Annotated[ResultsFormat | None, Query(description="Before what `Accept` says")]
WholeFormat = Annotated[ResultsFormat, Query(description="Of the file")]
Accept = Annotated[
    str, Header(max_length=1000, description="The media type of JSON lines, an Arrow stream, parquet or CSV")
]


@router.get(
    "/jobs/{job_id}/results",
    response_class=Response,
    responses={200: results.DESCRIBED, **UNCHANGED, **documented(400, 404)},
)
def read_results(
    job_id: JobId,
    deps: Needs,
    _caller: Reader,
    cursor: Cursor = None,
    limit: Limit = 1000,
    order: Annotated[
        Order,
        Query(description="`finished`: as batches finish, complete even while the job runs; `index`: by index"),
    ] = "finished",
    format: Format = None,
    accept: Accept = JSON_LINES,
    prefer: results.Prefer = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Read a page of rows, while the job runs or later: as JSON lines, Arrow, parquet or CSV.

    With `Prefer: carried`, the columns that the job carries are behind those of the results.
    """
    return _answer(
        deps,
        job_id,
        lambda: deps.store.results.page(job_id, cursor=cursor, limit=limit, order=order),
        asked=(cursor, limit, order),
        format=format or results.preferred(accept),
        carried=results.wants_carried(prefer),
        if_none_match=if_none_match,
    )


@router.get(
    "/jobs/{job_id}/errors",
    response_class=Response,
    responses={200: results.DESCRIBED, **UNCHANGED, **documented(400, 404)},
)
def read_errors(
    job_id: JobId,
    deps: Needs,
    _caller: Reader,
    cursor: Cursor = None,
    limit: Limit = 1000,
    format: Format = None,
    accept: Accept = JSON_LINES,
    prefer: results.Prefer = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Read a page of the rows without a text, by index: all of them once the job has ended.

    While it runs, rows may yet come before the cursor. A page may have fewer rows than its limit, or none, and yet not
    be the last: `Unembed-Next-Cursor` says whether it is.
    """
    return _answer(
        deps,
        job_id,
        lambda: deps.store.results.errors(job_id, cursor=cursor, limit=limit),
        asked=("errors", cursor, limit),
        format=format or results.preferred(accept),
        carried=results.wants_carried(prefer),
        if_none_match=if_none_match,
    )


def _answer(
    deps: Deps,
    job_id: str,
    read: Callable[[], ResultsPage],
    *,
    asked: object,
    format: ResultsFormat,
    carried: bool,
    if_none_match: str | None,
) -> Response:
    version = deps.store.results.version(job_id)  # before the rows, which may be newer: then they are fetched again
    tag = tag_of(version, asked, format, *([CARRIED] if carried else []))
    headers = {"ETag": tag, "Vary": "Accept, Prefer"} | ({"Preference-Applied": CARRIED} if carried else {})
    if not version.state.is_ended:
        headers["Retry-After"] = results.LOOK_AGAIN
    if has(if_none_match, tag):
        return unchanged(headers)
    page = read()
    rows = deps.store.carried.beside(job_id, page.rows) if carried else page.rows
    return results.respond(rows, page.next_cursor, format, headers)


@router.get(
    "/jobs/{job_id}/download",
    response_class=Response,
    responses={**results.DESCRIBED_FILE, **documented(404, 409, 413, 416)},
)
def download_results(job_id: JobId, deps: Needs, _caller: Reader, format: WholeFormat = "parquet") -> Response:
    """Download all rows of an ended job as one file, in the corpus's order.

    `Range` and `If-Range` take a download up where it broke off. Answers 409 while the job has not ended, and 413 for
    more rows than go into one file: read those in pages.
    """
    return results.whole_file(deps, job_id, format)
