from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from neardup.pipeline.errors import ConfigError
from neardup.workers.run import tracing

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def test_a_traceparent_is_taken_from_headers_and_handed_on_as_it_is() -> None:
    assert tracing.traceparent_of([("bank", b"seen"), ("traceparent", PARENT.encode())]) == PARENT
    assert tracing.headers_of(PARENT) == [("traceparent", PARENT.encode())]
    assert tracing.trace_id(PARENT) == TRACE


@pytest.mark.parametrize(
    "value",
    [None, b"", b"\xff", b"00-0", PARENT.upper().encode(), PARENT.encode() + b"\n", b"ff" + PARENT[2:].encode(),
     f"00-{'0' * 32}-00f067aa0ba902b7-01".encode(), f"00-{TRACE}-{'0' * 16}-01".encode()],
)  # fmt: skip
def test_what_is_none_is_not_handed_on(value: bytes | None) -> None:
    assert tracing.traceparent_of([("traceparent", value)]) == ""
    assert tracing.traceparent_of(None) == tracing.trace_id("") == ""
    assert tracing.headers_of("") == []


def test_nothing_of_opentelemetry_is_imported_unless_a_collector_is_named() -> None:
    code = (
        "import sys; from neardup.workers.run import tracing, runner; tracing.start('embed')\n"
        "with tracing.span('x', ['00-0']): pass\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    told = subprocess.run([sys.executable, "-c", code], env={}, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_a_collector_without_opentelemetry_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigError, match="scripts/environment otel"):
        tracing.start("embed")


@pytest.fixture
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """Takes spans in; their bytes hold names and ids as they are."""
    bodies: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", bodies
        server.shutdown()


def test_a_batch_is_a_span_with_links_to_its_items(
    collector: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    address, bodies = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    tracing.start("match")
    try:
        with tracing.span("match", [PARENT, "", PARENT], records=3):
            pass
    finally:
        tracing.stop()
    [spans] = ExportTraceServiceRequest.FromString(bodies[0]).resource_spans
    [span] = spans.scope_spans[0].spans
    assert span.name == "match"
    assert [(link.trace_id.hex(), link.span_id.hex()) for link in span.links] == [(TRACE, "00f067aa0ba902b7")]
    assert ("service.name", "neardup-match") in [(a.key, a.value.string_value) for a in spans.resource.attributes]
