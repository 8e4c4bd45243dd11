"""Metrics of one process (Prometheus). One registry, handed around, nothing global.

Labels are closed sets: a subject *pattern*, never a subject; a verb, a code, a consumer's name. A value that
holds an id is refused: a label that grows with the number of journeys ends the monitoring.
"""

import re
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, Generic, Literal, TypeVar

from opentelemetry import trace
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

HANDLE_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Bucket edges for handling a message. 0.3 s and 1 s are the targets, so each is an edge."""

STORE_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 1.0)
"""Bucket edges for one operation of the store."""

HUMAN_SECONDS: Final = (5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0)
"""Bucket edges for what a person does: reading, signing, paying."""

Direction = Literal["in", "out"]

_AN_ID: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}|[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-|[0-9]{9}", re.ASCII)


_M = TypeVar("_M", Counter, Gauge, Histogram)


class _Family(Generic[_M]):
    """A metric with labels: its children, each bound once."""

    def __init__(self, metric: _M) -> None:
        self._metric = metric
        self._children: dict[tuple[str, ...], _M] = {}

    def __call__(self, *labels: str) -> _M:
        child = self._children.get(labels)
        if child is None:
            for value in labels:
                if _AN_ID.search(value):
                    raise ValueError("a label holds an id")
            child = self._children[labels] = self._metric.labels(*labels)
        return child


class Metrics:
    """Every metric a service of ours exports, on ``registry``.

    Children are bound once for each set of labels, then cost one dictionary look-up. Services add their own
    metrics to ``registry``.
    """

    def __init__(self, service: str, version: str, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        on = self.registry
        self._build = Info("toubao_build", "Which service and version this process is.", registry=on)
        self._build.info({"service": service, "version": version})
        self._messages = _Family(
            Counter(
                "toubao_messages_total",
                "Messages taken from or given to the bus.",
                ("direction", "pattern", "outcome"),
                registry=on,
            )
        )
        self._handle = _Family(
            Histogram(
                "toubao_handle_seconds",
                "Time to handle one message, by subject pattern.",
                ("pattern",),
                buckets=HANDLE_SECONDS,
                registry=on,
            )
        )
        self._commands = _Family(
            Counter("toubao_commands_total", "Commands answered.", ("verb", "outcome"), registry=on)
        )
        self._refusals = _Family(
            Counter("toubao_refusals_total", "Commands refused, by reason.", ("verb", "code"), registry=on)
        )
        self._dead = _Family(
            Counter(
                "toubao_dead_letters_total",
                "Messages given up and put aside.",
                ("stream", "consumer"),
                registry=on,
            )
        )
        self._consumer_pending = _Family(
            Gauge(
                "toubao_consumer_pending",
                "Messages not yet delivered to a consumer.",
                ("consumer",),
                registry=on,
            )
        )
        self._consumer_ack_pending = _Family(
            Gauge(
                "toubao_consumer_ack_pending",
                "Messages delivered, not yet acknowledged.",
                ("consumer",),
                registry=on,
            )
        )
        self._consumer_redelivered = _Family(
            Gauge(
                "toubao_consumer_redelivered",
                "Messages delivered more than once.",
                ("consumer",),
                registry=on,
            )
        )
        self._consumer_oldest = _Family(
            Gauge(
                "toubao_consumer_oldest_age_seconds",
                "Age of the oldest message a consumer has not finished.",
                ("consumer",),
                registry=on,
            )
        )
        self._store = _Family(
            Histogram(
                "toubao_store_seconds",
                "Time of one store operation.",
                ("operation",),
                buckets=STORE_SECONDS,
                registry=on,
            )
        )
        self.in_flight = Gauge("toubao_in_flight", "Messages being handled now.", registry=on)
        self.outbox_entries = Gauge("toubao_outbox_entries", "Facts saved, not yet published.", registry=on)
        self.outbox_oldest_seconds = Gauge(
            "toubao_outbox_oldest_seconds", "Age of the oldest fact not yet published.", registry=on
        )
        # Not "toubao_dead_letters": in OpenMetrics that is the family name of the counter above.
        self.dead_letters_waiting = Gauge(
            "toubao_dead_letters_waiting", "Dead letters that nobody has settled.", registry=on
        )
        self.pool_queue = Gauge("toubao_pool_queue", "Jobs waiting for the process pool.", registry=on)
        self.loop_lag_seconds = Gauge(
            "toubao_loop_lag_seconds", "How late the event loop woke, worst of the last seconds.", registry=on
        )

    def message(self, direction: Direction, pattern: str, outcome: str) -> None:
        """Count one message. ``outcome``: a closed set of the bus, e.g. ok, duplicate, retry, dead."""
        self._messages(direction, pattern, outcome).inc()

    def command(self, verb: str, outcome: str) -> None:
        """Count one answered command. ``outcome``: accepted, refused, repeated, unavailable or failed."""
        self._commands(verb, outcome).inc()

    def refusal(self, verb: str, code: str) -> None:
        """Count one refusal by its stable code."""
        self._refusals(verb, code).inc()

    def dead_letter(self, stream: str, consumer: str) -> None:
        """Count one message put aside."""
        self._dead(stream, consumer).inc()

    @contextmanager
    def handling(self, pattern: str) -> Generator[None]:
        """Time the handling of one message and count it as in flight; the trace id goes along as exemplar."""
        child = self._handle(pattern)
        self.in_flight.inc()
        started = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - started
            self.in_flight.dec()
            context = trace.get_current_span().get_span_context()
            exemplar = {"trace_id": trace.format_trace_id(context.trace_id)} if context.is_valid else None
            child.observe(elapsed, exemplar=exemplar)

    @contextmanager
    def store(self, operation: str) -> Generator[None]:
        """Time one operation of the store: load, save, find, mark_published, ..."""
        child = self._store(operation)
        started = time.perf_counter()
        try:
            yield
        finally:
            child.observe(time.perf_counter() - started)

    def consumer(
        self, consumer: str, *, pending: int, ack_pending: int, redelivered: int, oldest_age_seconds: float
    ) -> None:
        """Set what the server says of one durable consumer."""
        self._consumer_pending(consumer).set(pending)
        self._consumer_ack_pending(consumer).set(ack_pending)
        self._consumer_redelivered(consumer).set(redelivered)
        self._consumer_oldest(consumer).set(oldest_age_seconds)

    def outbox(self, *, entries: int, oldest_seconds: float) -> None:
        """Set how much is saved and not yet published."""
        self.outbox_entries.set(entries)
        self.outbox_oldest_seconds.set(oldest_seconds)
