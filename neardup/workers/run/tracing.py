"""Where an item has been: its `traceparent` (W3C Trace Context), handed on from record to record, and spans of batches.

The header goes through unchanged, so one trace id is in the log lines of all workers and in the headers of all records.
Spans are only made where OTEL_EXPORTER_OTLP_ENDPOINT names a collector: one for each batch, linked to the contexts of
its items. Without, nothing of OpenTelemetry is imported.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from neardup.pipeline.errors import ConfigError, install_command

HEADER = "traceparent"
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_MOST_LINKS = 128
_tracer: Any = None
_provider: Any = None


def valid(text: str) -> str:
    """Return a traceparent, "" if it is none."""
    return text if _TRACEPARENT.fullmatch(text) else ""


def traceparent_of(headers: Sequence[tuple[str, bytes | None]] | None) -> str:
    """Return the traceparent among the headers of a record, "" if there is none."""
    for name, value in headers or ():
        if name == HEADER:
            return valid((value or b"").decode("ascii", "replace"))
    return ""


def headers_of(traceparent: str) -> list[tuple[str, bytes]]:
    """Return the headers that hand a traceparent on; none for ""."""
    return [(HEADER, traceparent.encode())] if traceparent else []


def trace_id(traceparent: str) -> str:
    """Return the trace id, 32 hexadecimal digits; "" for ""."""
    return traceparent[3:35]


def start(worker: str) -> None:
    """Make spans from now on, if the environment asks for them by OpenTelemetry's own variables.

    Raises:
        ConfigError: it does, and OpenTelemetry is not installed.
    """
    global _tracer, _provider
    endpoint = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if not endpoint or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT is set and {error.name} is missing: {install_command('otel')}"
        ) from error
    _provider = TracerProvider(resource=Resource.create({"service.name": f"neardup-{worker}"}))
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = _provider.get_tracer("neardup")


def stop() -> None:
    """Send the spans that wait, and make no more."""
    global _tracer, _provider
    if _provider is not None:
        _provider.shutdown()
    _tracer = _provider = None


@contextmanager
def span(name: str, traceparents: Iterable[str], **attributes: int | str) -> Iterator[None]:
    """Have what is done meanwhile stand as one span, linked to the items that it is done for, the first 128 of them."""
    if _tracer is None:
        yield
        return
    with _tracer.start_as_current_span(name, links=_links(traceparents), attributes=attributes):
        yield


def _links(traceparents: Iterable[str]) -> list[Any]:
    from opentelemetry.trace import Link, SpanContext, TraceFlags

    found = [match for one in dict.fromkeys(traceparents) if (match := _TRACEPARENT.fullmatch(one))]
    return [
        Link(SpanContext(int(one[1], 16), int(one[2], 16), is_remote=True, trace_flags=TraceFlags(int(one[3], 16))))
        for one in found[:_MOST_LINKS]
    ]
