"""What may be done with a job on its page: cancel, retry, remove, download. What cannot be undone is asked twice."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from unembed.api import results, retention
from unembed.api.deps import Needs
from unembed.api.pages.shell import render
from unembed.api.pages.visitors import Operator, ShownJob
from unembed.schemas import ResultsFormat

router = APIRouter()


@router.get("/jobs/{job_id}/cancel")
def ask_to_cancel(request: Request, job_id: ShownJob, deps: Needs, _operator: Operator) -> Response:
    return render(request, "job_confirm.html", job=deps.store.jobs.get(job_id), what="cancel")


@router.post("/jobs/{job_id}/cancel")
def cancel(job_id: ShownJob, deps: Needs, _operator: Operator) -> Response:
    """ConflictError when it has ended otherwise."""
    deps.store.jobs.cancel(job_id)
    return _to(f"/jobs/{job_id}")


@router.post("/jobs/{job_id}/retry")
def retry(job_id: ShownJob, deps: Needs, _operator: Operator) -> Response:
    """ConflictError when nothing of it can be tried again."""
    retention.retry(deps, job_id)
    return _to(f"/jobs/{job_id}")


@router.get("/jobs/{job_id}/remove")
def ask_to_remove(request: Request, job_id: ShownJob, deps: Needs, _operator: Operator) -> Response:
    return render(request, "job_confirm.html", job=deps.store.jobs.get(job_id), what="remove")


@router.post("/jobs/{job_id}/remove")
def remove(job_id: ShownJob, deps: Needs, _operator: Operator) -> Response:
    """ConflictError while it has not ended."""
    retention.remove(deps, job_id)
    return _to("/jobs")


@router.get("/jobs/{job_id}/download")
def download(job_id: ShownJob, deps: Needs, format: Annotated[ResultsFormat, Query()] = "parquet") -> Response:
    """All rows as one file, as GET /v1/jobs/{job_id}/download gives it."""
    return results.whole_file(deps, job_id, format)


def _to(path: str) -> Response:
    return RedirectResponse(path, HTTPStatus.SEE_OTHER)
