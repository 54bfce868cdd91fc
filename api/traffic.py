"""What this process of the API has answered: requests by route, method and status, and how long each took."""

from __future__ import annotations

import re
import time
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OTHER: Final = "other"  # for what is no route of ours, so that nobody can make series of their own
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SLASHES: Final = re.compile(r"{[^}]*:path}")
_FOUND: Final = "unembed.route"  # in the scope: a place that its copies share


class Traffic:
    """The counts of one application."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each, which nobody asks for
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "unembed_http_requests",
            "Requests that this process has answered",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "unembed_http_request_duration_seconds",
            "From a request's arrival until its answer begins",
            ["method", "route"],
            buckets=_SECONDS,
            registry=self._registry,
        )

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        method = method if method in _METHODS else OTHER
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def render(self) -> bytes:
        return generate_latest(self._registry)


class CountRequests:
    """ASGI middleware, the first to see a request: counts its answer.

    Until the answer begins, not until it ends: an answer that goes on is a stream of events or a download, and takes as
    long as its reader likes.
    """

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self.app = app
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        found: dict[str, str] = {}
        began_to_answer: list[tuple[int, float]] = []

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                began_to_answer.append((message["status"], time.perf_counter() - began))
            await send(message)

        try:
            await self.app({**scope, _FOUND: found}, receive, send_counted)
        finally:
            # Without an answer: an error that nobody foresaw, which the server answers further out.
            status, seconds = began_to_answer[0] if began_to_answer else (500, time.perf_counter() - began)
            self._traffic.count(scope["method"], found.get("route", OTHER), status, seconds)


class NoteRoute:
    """ASGI middleware, the last to see a request: notes which route took it, for `CountRequests`.

    The two are apart because others between them hand on copies of the scope, in which alone the route is named.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        finally:
            if _FOUND in scope and (route := route_of(scope)):
                scope[_FOUND]["route"] = route


def route_of(scope: Scope) -> str | None:
    """The template of the route that took a request, such as /v1/jobs/{job_id}; None when none did."""
    template = getattr(scope.get("route"), "path", None)
    if template is None:  # one that FastAPI did not make
        return scope["path"] if "endpoint" in scope and not scope.get("path_params") else None
    # The route knows its path without the prefix of its router. Where a parameter holds slashes, it stays so.
    if _SLASHES.search(template):
        return str(template)
    segments, of_template = scope["path"].split("/"), template.split("/")
    prefix = segments[: len(segments) - len(of_template) + 1]
    rest = segments[len(prefix) :]
    is_aligned = all(own == there or own.startswith("{") for own, there in zip(of_template[1:], rest, strict=False))
    return "/".join([*prefix, *of_template[1:]]) if is_aligned else str(template)
