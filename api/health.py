"""For whoever watches: /healthz (the process answers), /readyz (so do its parts), /metrics."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from unembed.api import metrics, problems
from unembed.api.callers import Reader
from unembed.api.deps import Deps, Needs
from unembed.errors import QueueUnavailableError, StoreUnavailableError, UnavailableError
from unembed.models import database
from unembed.models.payloads import Memory

router = APIRouter(tags=["operation"], responses=problems.documented(401, 500))


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    status: Literal["ready"] = "ready"
    checks: dict[str, str]  # each part that was asked, and "ok"


@router.get("/healthz")
async def healthz() -> Health:
    """Answers while the process runs. It checks nothing else, so a database that is down does not restart the API."""
    return Health()


@router.get("/readyz", response_model=Readiness, responses=problems.documented(503))
def readyz(request: Request, deps: Needs) -> Response | Readiness:
    """Checks the database, its migrations and Redis. Answers 503 if one fails; `checks` names it."""
    checks = {name: _outcome(check, deps) for name, check in _CHECKS.items()}
    failed = {name: outcome for name, outcome in checks.items() if outcome != "ok"}
    if not failed:
        return Readiness(checks=checks)
    detail = "; ".join(f"{name}: {outcome}" for name, outcome in failed.items())
    headers = {"Retry-After": str(problems.RETRY_SECONDS)}
    return problems.problem(request.url.path, 503, detail, UnavailableError.code, headers=headers, checks=checks)


def _outcome(check: Callable[[Deps], None], deps: Deps) -> str:
    try:
        check(deps)
    except UnavailableError as error:
        return error.message
    return "ok"


def _database(deps: Deps) -> None:
    deps.store.ping()


def _migrations(deps: Deps) -> None:
    database.require_usable(deps.engine)


def _queue(deps: Deps) -> None:
    deps.queue.ping()


def _payloads(deps: Deps) -> None:
    deps.payloads.ping()


_CHECKS: dict[str, Callable[[Deps], None]] = {
    "database": _database,
    "migrations": _migrations,
    "queue": _queue,
    "payloads": _payloads,
}


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"description": "Prometheus text format", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **problems.documented(503),
    },
)
def read_metrics(deps: Needs, _caller: Reader) -> Response:
    """The queue, the workers, what was ever done, and what this process has answered. While a part is down, it says so
    (`unembed_ready`), and has what it can."""
    ready = {name: _outcome(check, deps) == "ok" for name, check in _CHECKS.items()}
    found = None
    with suppress(StoreUnavailableError):
        found = metrics.InStore.of(deps.store)
    around = metrics.Around(ready, _memory(deps), deps.settings.max_redis_use)
    return Response(metrics.render(around, found) + deps.traffic.render(), media_type=metrics.CONTENT_TYPE)


def _memory(deps: Deps) -> dict[str, Memory]:
    found = {}
    for name, part in (("queue", deps.queue), ("payloads", deps.payloads)):
        with suppress(QueueUnavailableError):
            found[name] = part.memory()
    return found
