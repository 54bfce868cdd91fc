"""Spans of OpenTelemetry: where its SDK is loaded. Elsewhere nothing is imported, and a span costs next to nothing.

    set_up("unembed-api")      in a part of ours: loads the SDK if the environment names where traces go
    with span("decode", ...)   in any code; in a client's, if the application has loaded the SDK itself
    traceparent()              what joins another process's spans to this one: a W3C traceparent

Attributes that are ours begin with `unembed.`; they are ids, numbers and names, never texts or vectors.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Final, Literal

log = logging.getLogger(__name__)

Kind = Literal["INTERNAL", "CLIENT", "SERVER", "PRODUCER", "CONSUMER"]
ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL: Final = "http/protobuf"
_BILLION: Final = 1_000_000_000
_ERROR_CHARACTERS: Final = 200


class Span:
    """What may be said of a span; of one that nobody records, to nobody."""

    def __init__(self, recorded: Any = None) -> None:
        self._recorded = recorded

    def note(self, **attributes: object) -> None:
        if self._recorded is not None:
            self._recorded.set_attributes(_ours(attributes))

    def fail(self, why: str) -> None:
        if self._recorded is not None:
            from opentelemetry.trace import StatusCode

            self._recorded.set_status(StatusCode.ERROR, " ".join(why.split())[:_ERROR_CHARACTERS])


_SILENT: Final = Span()


def set_up(service: str, **resource: str) -> None:
    """Traces of this process go to OTEL_EXPORTER_OTLP_ENDPOINT, over HTTP; without it, nothing happens.

    `service` is its name unless OTEL_SERVICE_NAME is set; `resource` are further attributes of it. Where they cannot be
    sent, because the extra `otel` is missing, say, a line in the log says so, and there are none.
    """
    if not _is_wanted() or is_on():
        return
    for name in _PROTOCOLS:
        if (given := os.environ.get(name) or _PROTOCOL) != _PROTOCOL:
            log.warning("there are no traces: %s is %r; expected %r", name, given, _PROTOCOL)
            return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning(
            "there are no traces: %s is set, but they need an extra: pip install 'unembed[otel]'",
            " or ".join(ENDPOINTS),
        )
        return
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": service}
    of_process = {"service.version": version("unembed"), **named, **resource}
    provider = TracerProvider(resource=Resource.create(of_process), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def is_on() -> bool:
    """Whether somebody may record spans."""
    return "opentelemetry.sdk.trace" in sys.modules


@contextmanager
def span(
    name: str, *, kind: Kind = "INTERNAL", parent: str | None = None, began: float | None = None, **attributes: Any
) -> Iterator[Span]:
    """A span that lasts as long as the block, and fails with it. `parent`: a traceparent, in place of what runs now.
    `began`: when it did, in seconds since 1970, if that was before the block."""
    if not is_on():
        yield _SILENT
        return
    from opentelemetry.trace import SpanKind

    with _tracer().start_as_current_span(
        name,
        context=_context_of(parent),
        kind=SpanKind[kind],
        attributes=_ours(attributes),
        start_time=None if began is None else int(began * _BILLION),
        record_exception=False,  # its traceback is in the log
        set_status_on_exception=False,
    ) as recorded:
        made = Span(recorded)
        try:
            yield made
        except Exception as error:
            made.fail(f"{type(error).__name__}: {error}")
            raise


def record(
    name: str,
    began: float,
    ended: float | None = None,
    *,
    parent: str | None = None,
    error: str | None = None,
    **attributes: Any,
) -> None:
    """A span that is over: it began, and ended (None: now), at these times of the clock, seconds since 1970."""
    if not is_on():
        return
    recorded = _tracer().start_span(
        name, context=_context_of(parent), start_time=int(began * _BILLION), attributes=_ours(attributes)
    )
    if error is not None:
        Span(recorded).fail(error)
    recorded.end(int(max(began, time.time() if ended is None else ended) * _BILLION))


def traceparent() -> str | None:
    """Of the span that runs now; None where none does."""
    if not is_on():
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


def ids() -> dict[str, str]:
    """What a log record says of the span that runs now."""
    if not is_on():
        return {}
    from opentelemetry import trace

    found = trace.get_current_span().get_span_context()
    if not found.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(found.trace_id), "span_id": trace.format_span_id(found.span_id)}


def hide_query(shown: str) -> None:
    """Of the request's span that runs now: the query, with values that may be known."""
    if is_on():
        from opentelemetry import trace

        trace.get_current_span().set_attribute("url.query", shown)


def flush(within: float = 2.0) -> None:
    """The process is about to end: its last spans are sent, if that takes no longer than so many seconds."""
    if not is_on():
        return
    from opentelemetry import trace

    if callable(send := getattr(trace.get_tracer_provider(), "force_flush", None)):
        send(int(within * 1000))


def _is_wanted() -> bool:
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not off and os.environ.get("OTEL_TRACES_EXPORTER", "otlp") == "otlp" and any(map(os.environ.get, ENDPOINTS))


def _tracer() -> Any:
    from opentelemetry import trace

    return trace.get_tracer("unembed", version("unembed"))


def _context_of(parent: str | None) -> Any:
    """None: what runs now."""
    if parent is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": parent})


def _ours(attributes: Mapping[str, object]) -> dict[str, Any]:
    return {f"unembed.{name}": value for name, value in attributes.items() if value is not None}
