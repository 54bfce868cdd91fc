"""All pages, in the order of their menu."""

from __future__ import annotations

from fastapi import APIRouter

from unembed.api.pages import (
    assets,
    decoders,
    job,
    job_actions,
    jobs,
    live,
    overview,
    playground,
    reference,
    rows,
    sign_in,
)

router = APIRouter(include_in_schema=False)
for _each in (overview, live, jobs, job, rows, job_actions, decoders, playground, reference, sign_in, assets):
    router.include_router(_each.router)
