"""Traces that nobody asked for cost nothing; those that cannot be sent are said. Whole ones: tests/flow."""

from __future__ import annotations

import subprocess
import sys

import pytest

USES_ALL = """
import sys
from unembed import tracing
tracing.set_up("unembed-api")
with tracing.span("decode", rows=3, decoder=None) as span:
    span.note(device="cpu")
    span.fail("why")
tracing.record("claim", 0.0, batch="j-0")
tracing.hide_query("q=***")
tracing.flush()
print(tracing.is_on(), tracing.traceparent(), tracing.ids(), "opentelemetry" in sys.modules)
"""


def ran(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=True)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_an_endpoint_nothing_is_imported_and_spans_are_nothing(variables: dict[str, str]) -> None:
    # Given a process that no variable asks for traces / When it uses all of them / Then OpenTelemetry was not imported
    done = ran(USES_ALL, **variables)
    assert done.stdout.split() == ["False", "None", "{}", "False"]
    assert done.stderr == ""


def test_without_the_extra_a_line_says_so_and_the_process_goes_on() -> None:
    # Given a process that is asked for traces, where the exporter is not installed
    missing = 'import sys; sys.modules["opentelemetry.exporter.otlp.proto.http.trace_exporter"] = None\n'
    # When it begins / Then one line names the variable and the extra, and all goes on
    done = ran(missing + USES_ALL, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    assert "pip install 'unembed[otel]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout.split()[:2] == ["False", "None"]


def test_another_protocol_than_that_of_http_is_named() -> None:
    # Given an endpoint that is to be spoken to over gRPC / When the process begins / Then it says that it cannot
    done = ran(USES_ALL, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1", OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    assert done.stderr == "there are no traces: OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'; expected 'http/protobuf'\n"
    assert done.stdout.split()[0] == "False"


def test_a_span_names_its_parent_and_is_named_in_turn() -> None:
    # Given a process that records
    program = """
from unembed import tracing
tracing.set_up("unembed-api")
with tracing.span("attempt", parent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"):
    print(tracing.traceparent(), tracing.ids()["trace_id"])
"""
    # When a span goes on from another process's / Then it is of the same trace, and says so to the next one
    done = ran(program, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    traceparent, trace = done.stdout.split()
    assert trace == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert traceparent.startswith(f"00-{trace}-")
    assert traceparent.endswith("-01")
    assert "00f067aa0ba902b7" not in traceparent
