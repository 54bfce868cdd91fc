"""What a request may say: its path's own parameters, and no others."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Depends, Path, Query, Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query as QueryParam
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from unembed.api.callers import Caller, Reader
from unembed.api.deps import Deps, Needs
from unembed.errors import NotFoundError

Ordinal = Annotated[int, Path(ge=0, lt=2**31, description="The number of the batch within the job, from 0")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before", max_length=200)]

JOB_ID: Final[dict[str, Any]] = {
    "description": "From POST /v1/jobs",
    "max_length": 64,
    "pattern": "^[0-9A-Za-z_-]+$",
}

_SHOWN: Final = 40  # characters of a name that is unknown


def require_visible(deps: Deps, caller: Caller, job_id: str) -> None:
    """NotFoundError for a job that the caller does not see, as if there were none."""
    if caller.sees is not None and deps.store.jobs.client_of(job_id) not in caller.sees:
        raise NotFoundError.of_job(job_id)


def _own_job(
    job_id: Annotated[str, Path(**JOB_ID)],
    caller: Reader,
    deps: Needs,
) -> str:
    require_visible(deps, caller, job_id)
    return job_id


JobId = Annotated[str, Depends(_own_job)]


async def refuse_unknown(request: Request, _caller: Reader) -> None:
    """422 for a query parameter that this path does not have: what is misspelt would be ignored in silence."""
    route = request.scope["route"]
    assert isinstance(route, APIRoute), "it is a dependency of such routes"
    known = sorted(
        field.alias for field in get_flat_params(route.dependant) if isinstance(field.field_info, QueryParam)
    )
    unknown = sorted(set(request.query_params) - set(known))
    if unknown:
        expected = f"expected {', '.join(known)}" if known else "expected none"
        raise HTTPException(422, f"the query parameter {unknown[0][:_SHOWN]!r} is unknown here; {expected}")
