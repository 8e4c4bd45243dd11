"""One trace from the tap on the phone to the policy PDF (OpenTelemetry, W3C trace context).

A span never holds what an exception says (that may quote personal values), only its type; attributes pass the
same filter as the logs. There is no baggage.
"""

import json
import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from servicekit.telemetry.logs import mask

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Attribute = str | float | None

_KINDS: dict[Kind, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}
_W3C = TraceContextTextMapPropagator()


class _Current:
    """The tracer of this process. Before :func:`configure_traces` spans are no-ops."""

    tracer: Tracer = trace.NoOpTracer()


def configure_traces(
    service: str, exporter: SpanExporter | None = None, *, file: str | Path | None = None
) -> TracerProvider:
    """Give this process valid trace ids, and somewhere to send spans if told so.

    Without ``exporter``, spans go to ``file``; without either they are only propagated. Call ``shutdown()`` on what
    is returned when the process stops.
    """
    provider = TracerProvider(
        # Built directly: detectors would add host and process details nobody asked for.
        resource=Resource({"service.name": service}),
        sampler=ParentBased(ALWAYS_ON),
        shutdown_on_exit=False,
    )
    if exporter is None and file:
        exporter = JsonLinesExporter(file)
    if exporter is not None:
        # At once, not in batches: a killed process must leave the spans it finished.
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    _Current.tracer = provider.get_tracer("toubao")
    return provider


def inject() -> str | None:
    """The ``traceparent`` of the current span, to be sent or stored along; None outside any span."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return carrier.get("traceparent")


@contextmanager
def span(
    name: str,
    kind: Kind = "internal",
    traceparent: str | None = None,
    links: Iterable[str] = (),
    **attributes: Attribute,
) -> Generator[Span]:
    """A span around a block, current within it.

    A valid ``traceparent`` (from a header, or stored with a fact) becomes the parent, however late; otherwise
    the current span does. ``links`` are the traceparents of a batch, which has many causes and no one parent.
    """
    parent = None
    if traceparent is not None:
        context = _extract(traceparent)
        if trace.get_current_span(context).get_span_context().is_valid:
            parent = context
    caused_by = [
        Link(found) for each in links if (found := trace.get_current_span(_extract(each)).get_span_context()).is_valid
    ]
    with _Current.tracer.start_as_current_span(
        name,
        context=parent,
        kind=_KINDS[kind],
        attributes={key: _clean(value) for key, value in attributes.items() if value is not None},
        links=caused_by,
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except Exception as error:
            current.set_attribute("error.type", type(error).__qualname__)
            current.set_status(Status(StatusCode.ERROR))
            raise


class JsonLinesExporter(SpanExporter):
    """Appends finished spans to a file that several processes may share, one JSON object a line."""

    def __init__(self, path: str | Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for finished in spans:
            # One write a line: with O_APPEND lines of several processes do not mix.
            os.write(self._descriptor, (json.dumps(_as_json(finished), ensure_ascii=False) + "\n").encode())
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _as_json(finished: ReadableSpan) -> dict[str, object]:
    context = finished.get_span_context()
    assert context is not None
    return {
        "trace_id": trace.format_trace_id(context.trace_id),
        "span_id": trace.format_span_id(context.span_id),
        "parent_id": trace.format_span_id(finished.parent.span_id) if finished.parent else None,
        "service": finished.resource.attributes.get("service.name"),
        "name": finished.name,
        "kind": finished.kind.name.lower(),
        "start_ns": finished.start_time,
        "end_ns": finished.end_time,
        "status": finished.status.status_code.name.lower(),
        "attributes": dict(finished.attributes or {}),
        "links": [
            {
                "trace_id": trace.format_trace_id(link.context.trace_id),
                "span_id": trace.format_span_id(link.context.span_id),
            }
            for link in finished.links
        ],
    }


def _extract(traceparent: str) -> Context:
    return _W3C.extract({"traceparent": traceparent}, context=Context())


def _clean(value: str | float) -> str | float:
    if isinstance(value, bool | float):
        return value
    masked = mask(str(value))
    return value if masked == str(value) else masked
