"""The application: middleware, routes, errors. Served by `uvicorn --factory api.app:create_app`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.types import ASGIApp, Scope

from unembed.api import auth, health, problems, routes
from unembed.api.cross_site import CrossSite
from unembed.api.deps import Deps
from unembed.api.encodings import Unpacking
from unembed.api.head import Head
from unembed.api.limits import BodyLimit
from unembed.api.pages import router as pages
from unembed.api.request_ids import RequestIds
from unembed.api.traffic import CountRequests, NoteRoute
from unembed.errors import InputError
from unembed.models.settings import Settings, read_settings
from unembed.schemas import Generation, Problem


def create_app(settings: Settings | None = None) -> FastAPI:
    """The API for these settings, or for those of the environment.

    Raises InputError when it would be open to others than this machine without a key.
    """
    settings = settings or read_settings()
    deps = Deps.of(settings)
    try:
        auth.refuse_to_be_exposed(deps)
    except InputError:
        deps.close()
        raise
    # FastAPI's own pages load their scripts from elsewhere. Problems are ours, so no debug pages either.
    app = _App(
        title="Unembed",
        version=version("unembed"),
        description="Turns corpora of sentence embeddings back into text, in bulk.",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"metrics": False, "logs": False, "operation_spans": False, "exclude": _is_a_look},
        generate_unique_id_function=lambda route: route.name,  # short, and the same for as long as the verb is
    )
    app.state.deps = deps
    # The last one added is the first to see a request.
    app.add_middleware(NoteRoute)
    app.add_middleware(Unpacking, batch_bytes=settings.max_batch_bytes)
    app.add_middleware(BodyLimit, batch_bytes=settings.max_batch_bytes)
    app.add_middleware(Head)
    app.add_middleware(CrossSite)
    if not settings.api_keys:
        app.add_middleware(auth.LoopbackOnly, keyring=deps.keyring)
    app.add_middleware(CountRequests, traffic=deps.traffic)
    app.include_router(routes.router)
    app.include_router(health.router)
    app.include_router(pages.router)
    problems.install(app)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


class _App(FastAPI):
    def build_middleware_stack(self) -> ASGIApp:
        # Around all others: what no handler foresaw is answered outside of the middleware that can be added.
        return RequestIds(super().build_middleware_stack())


def _is_a_look(scope: Scope) -> bool:
    """Whether it is a machine that asks every few seconds: it would fill the traces."""
    return scope["path"] in ("/healthz", "/readyz", "/metrics")


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.deps.close()


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's description, with the schemas that it cannot see: those of problems and of the lines of a stream."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = document["components"]["schemas"]
        for model in (Problem, Generation):
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(schema.pop("$defs", {}))
            schemas[model.__name__] = schema
        app.openapi_schema = document
    return app.openapi_schema
