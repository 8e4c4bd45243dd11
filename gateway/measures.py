"""What is counted of requests: by the route's template, the method and the status's class, never by what was typed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from opentelemetry import trace
from prometheus_client import CollectorRegistry, Counter, Histogram

from contracts.problems import KINDS
from servicekit.telemetry import objectives
from servicekit.telemetry.metrics import HANDLE_SECONDS, Family

UNMATCHED: Final = "unmatched"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BOUND: Final = ("2xx", "4xx", "5xx")


class Requests:
    """Counters of one gateway. ``routes``: method and template of each route, at zero from the start: what is first
    seen at one has no rate.
    """

    def __init__(self, registry: CollectorRegistry, routes: Iterable[tuple[str, str]]) -> None:
        requests = Counter(
            "toubao_http_requests", "Requests answered.", ("method", "route", "status"), registry=registry
        )
        seconds = Histogram(
            "toubao_http_request_seconds",
            "Time until a request's answer begins.",
            ("method", "route"),
            buckets=HANDLE_SECONDS,
            registry=registry,
        )
        problems = Counter(
            "toubao_http_problems", "Problem documents answered, by their code.", ("code",), registry=registry
        )
        objectives.export(registry, objectives.AVAILABILITY, objectives.LATENCY)
        self._count = Family(requests)
        self._took = Family(seconds)
        self._refused = Family(problems)
        for route in routes:
            self._took(*route)
            for status in _BOUND:
                self._count(*route, status)
        for code in KINDS:
            self._refused(code)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one; the trace goes along as exemplar."""
        group = f"{status // 100}xx"
        self._count(method, route, group).inc()
        context = trace.get_current_span().get_span_context()
        exemplar = {"trace_id": trace.format_trace_id(context.trace_id)} if context.is_valid else None
        self._took(method, route).observe(seconds, exemplar=exemplar)

    def refused(self, code: str) -> None:
        """Count one problem document."""
        self._refused(code).inc()
