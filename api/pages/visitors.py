"""Who looks at a page: the holder of the key that signing in has put into a cookie, or anybody while there are none."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Request

from unembed.api.callers import Caller, admitted, require_submitter
from unembed.api.deps import Needs
from unembed.api.pages.shell import COOKIE
from unembed.api.queries import JOB_ID, require_visible


def _visitor(request: Request, deps: Needs) -> Caller:
    """AuthError where a key is needed: problem_page leads to the sign-in. BusyError as for programs."""
    return admitted(deps, request.cookies.get(COOKIE))


Visitor = Annotated[Caller, Depends(_visitor)]


def _operator(visitor: Visitor) -> Caller:
    return require_submitter(visitor)


Operator = Annotated[Caller, Depends(_operator)]
"""A visitor who may change things. ForbiddenError for one who may only read."""


def _shown_job(job_id: Annotated[str, Path(**JOB_ID)], visitor: Visitor, deps: Needs) -> str:
    require_visible(deps, visitor, job_id)
    return job_id


ShownJob = Annotated[str, Depends(_shown_job)]
"""The id of a job that the visitor may see. NotFoundError for any other."""
