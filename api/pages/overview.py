"""The first page: what runs, what waits, and who works."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from unembed.api.deps import Needs
from unembed.api.pages.shell import render
from unembed.api.pages.visitors import Visitor
from unembed.models.store import JobFilter

router = APIRouter()


@router.get("/")
def show_overview(request: Request, deps: Needs, visitor: Visitor) -> Response:
    page = deps.store.jobs.page(limit=20, wanted=JobFilter(clients=visitor.sees))
    return render(request, "overview.html", jobs=page.jobs)
