"""The resources under /v1: jobs, their batches, their results; and the decoders that there are."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from unembed.api.problems import documented
from unembed.api.queries import refuse_unknown
from unembed.api.routes import batches, decoders, jobs, openai, results

router = APIRouter(prefix="/v1", responses=documented(401, 422, 429, 500, 503), dependencies=[Depends(refuse_unknown)])
for _each in (jobs, batches, results, decoders, openai):
    router.include_router(_each.router)
