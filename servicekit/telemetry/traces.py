"""One trace from the tap on the phone to the policy PDF (OpenTelemetry, W3C trace context).

A span never holds what an exception says (that may quote personal values), only its type; attributes pass the
same filter as the logs. There is no baggage.
"""

import json
import os
import re
from collections.abc import Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import Token
from pathlib import Path
from typing import Final, Literal

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    NoOpTracer,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
)

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
_W3C: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?", re.ASCII)
"""A ``traceparent`` of this version (00) or a later one (W3C Trace Context §3.2)."""
_IDS: Final = RandomIdGenerator()


class _Current:
    """The tracer of this process. Before :func:`configure_traces` spans are no-ops."""

    tracer: Tracer = NoOpTracer()


class _Unrecorded(NoOpTracer):
    """Nobody wants the spans: they are only names to continue by (``_Passing``)."""


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
    _Current.tracer = _Unrecorded() if exporter is None else provider.get_tracer("toubao")
    return provider


def inject() -> str | None:
    """The ``traceparent`` of the current span, to be sent or stored along; None outside any span."""
    at = trace.get_current_span().get_span_context()
    return f"00-{at.trace_id:032x}-{at.span_id:016x}-{at.trace_flags:02x}" if at.is_valid else None


def span(
    name: str,
    kind: Kind = "internal",
    traceparent: str | None = None,
    links: Iterable[str] = (),
    **attributes: Attribute,
) -> AbstractContextManager[Span]:
    """A span around a block, current within it.

    A valid ``traceparent`` (from a header, or stored with a fact) becomes the parent, however late; otherwise
    the current span does. ``links`` are the traceparents of a batch, which has many causes and no one parent.
    """
    if isinstance(_Current.tracer, _Unrecorded):
        return _Passing(traceparent)
    return _recorded(name, kind, traceparent, links, attributes)


@contextmanager
def _recorded(
    name: str, kind: Kind, traceparent: str | None, links: Iterable[str], attributes: dict[str, Attribute]
) -> Generator[Span]:
    parent = None if traceparent is None else _read(traceparent)
    with _Current.tracer.start_as_current_span(
        name,
        context=None if parent is None else trace.set_span_in_context(NonRecordingSpan(parent), Context()),
        kind=_KINDS[kind],
        attributes={key: _clean(value) for key, value in attributes.items() if value is not None},
        links=[Link(cause) for each in links if (cause := _read(each)) is not None],
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except Exception as error:
            current.set_attribute("error.type", type(error).__qualname__)
            current.set_status(Status(StatusCode.ERROR))
            raise


class _Passing:
    """A span nobody records: what counts is its id, by which others continue the trace."""

    __slots__ = ("_token", "_traceparent")

    _token: Token[Context]

    def __init__(self, traceparent: str | None) -> None:
        self._traceparent = traceparent

    def __enter__(self) -> Span:
        parent = None if self._traceparent is None else _read(self._traceparent)
        if parent is None:
            parent = trace.get_current_span().get_span_context()
        if parent.is_valid:
            trace_id, flags = parent.trace_id, parent.trace_flags
        else:
            trace_id, flags = _IDS.generate_trace_id(), TraceFlags(TraceFlags.SAMPLED)
        current = NonRecordingSpan(SpanContext(trace_id, _IDS.generate_span_id(), is_remote=False, trace_flags=flags))
        self._token = attach(trace.set_span_in_context(current))
        return current

    def __exit__(self, *_: object) -> None:
        detach(self._token)


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


def _read(traceparent: str) -> SpanContext | None:
    found = _W3C.fullmatch(traceparent)
    if found is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return context if context.is_valid else None


def _clean(value: str | float) -> str | float:
    if isinstance(value, bool | float):
        return value
    masked = mask(str(value))
    return value if masked == str(value) else masked
