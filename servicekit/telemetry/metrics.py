"""Metrics of one process (Prometheus). One registry, handed around, nothing global.

Labels are closed sets: a subject *pattern*, never a subject; a verb, a code, a consumer's name. A value that
holds an id is refused: a label that grows with the number of journeys ends the monitoring.
"""

import re
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Final, Generic, Literal, TypeVar

from opentelemetry import trace
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from servicekit import crash_points

HANDLE_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Bucket edges for handling a message. 0.3 s and 1 s are the targets, so each is an edge."""

STORE_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 1.0)
"""Bucket edges for one operation of the store."""

OUTSIDE_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 2.5, 5.0, 10.0)
"""Bucket edges for one call of an outside party. 2, 2.5 and 5 s are the deadlines our adapters give."""

ISSUE_SECONDS: Final = (0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
"""Bucket edges from a payment to its policies. 2 s is the target."""

HUMAN_SECONDS: Final = (5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0)
"""Bucket edges for what a person does: reading, signing, paying."""

Direction = Literal["in", "out"]
Outcome = Literal["accepted", "refused", "unavailable", "failed"]
Party = Literal["wechat", "face", "sms", "authority"]
"""Parties outside whom we call."""

OUTCOMES: Final[tuple[Outcome, ...]] = ("accepted", "refused", "unavailable", "failed")

Watched = Callable[..., AbstractContextManager[None]]
"""Around one call of an outside party; given the exceptions that are an answer, not a failure, and for a party that is
called for more than one thing ``call``, for what."""


def unwatched(*_: type[BaseException], call: str = "") -> AbstractContextManager[None]:  # noqa: ARG001
    """For an adapter that nobody watches."""
    return nullcontext()


_AN_ID: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}|[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-|[0-9]{9}", re.ASCII)


_M = TypeVar("_M", Counter, Gauge, Histogram)


class Family(Generic[_M]):
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
        self._messages = Family(
            Counter(
                "toubao_messages_total",
                "Messages taken from or given to the bus.",
                ("direction", "pattern", "outcome"),
                registry=on,
            )
        )
        self._handle = Family(
            Histogram(
                "toubao_handle_seconds",
                "Time to handle one message, by subject pattern.",
                ("pattern",),
                buckets=HANDLE_SECONDS,
                registry=on,
            )
        )
        self._commands = Family(
            Counter("toubao_commands_total", "Commands answered.", ("verb", "outcome"), registry=on)
        )
        self._refusals = Family(
            Counter("toubao_refusals_total", "Commands refused, by reason.", ("verb", "code"), registry=on)
        )
        self._dead = Family(
            Counter(
                "toubao_dead_letters_total",
                "Messages given up and put aside.",
                ("stream", "consumer"),
                registry=on,
            )
        )
        self._consumer_pending = Family(
            Gauge(
                "toubao_consumer_pending",
                "Messages not yet delivered to a consumer.",
                ("consumer",),
                registry=on,
            )
        )
        self._consumer_ack_pending = Family(
            Gauge(
                "toubao_consumer_ack_pending",
                "Messages delivered, not yet acknowledged.",
                ("consumer",),
                registry=on,
            )
        )
        self._consumer_redelivered = Family(
            Gauge(
                "toubao_consumer_redelivered",
                "Messages delivered more than once.",
                ("consumer",),
                registry=on,
            )
        )
        self._consumer_oldest = Family(
            Gauge(
                "toubao_consumer_oldest_age_seconds",
                "Age of the oldest message a consumer has not finished.",
                ("consumer",),
                registry=on,
            )
        )
        self._store = Family(
            Histogram(
                "toubao_store_seconds",
                "Time of one store operation.",
                ("operation",),
                buckets=STORE_SECONDS,
                registry=on,
            )
        )
        self._remade = Family(
            Counter(
                "toubao_consumers_remade_total",
                "Consumers that were gone with their stream and were made anew.",
                ("consumer",),
                registry=on,
            )
        )
        self._outside = Family(
            Counter("toubao_outside_calls_total", "Calls of outside parties.", ("party", "outcome"), registry=on)
        )
        self._outside_seconds = Family(
            Histogram(
                "toubao_outside_seconds",
                "Time of one call of an outside party.",
                ("party",),
                buckets=OUTSIDE_SECONDS,
                registry=on,
            )
        )
        self._sweeps = Family(
            Counter("toubao_sweeps_total", "Looks for what was left behind.", ("outcome",), registry=on)
        )
        self._disk_free = Family(
            Gauge("toubao_disk_free_bytes", "Room left where the process writes.", ("place",), registry=on)
        )
        self._disk_size = Family(
            Gauge("toubao_disk_size_bytes", "Room altogether where the process writes.", ("place",), registry=on)
        )
        self._violations = Family(
            Gauge("toubao_invariant_violations", "Journeys in which a rule is broken.", ("rule",), registry=on)
        )
        self.bus_connected = Gauge("toubao_bus_connected", "1 while connected to the bus.", registry=on)
        self.due_entries = Gauge("toubao_due_entries", "Journeys with work that is due, up to 200.", registry=on)
        self.due_oldest_seconds = Gauge(
            "toubao_due_oldest_seconds", "For how long the oldest work that is due has been.", registry=on
        )
        self.in_flight = Gauge("toubao_in_flight", "Messages being handled now.", registry=on)
        self.outbox_entries = Gauge(
            "toubao_outbox_entries", "Facts saved, not yet published, of up to 200 journeys.", registry=on
        )
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

    def bind_request(self, verb: str, codes: Iterable[str] = ()) -> None:
        """From the start at zero: what is first seen at one has no rate."""
        for outcome in OUTCOMES:
            self._commands(verb, outcome)
        for code in codes:
            self._refusals(verb, code)

    def command(self, verb: str, outcome: Outcome) -> None:
        """Count one answered command. Refused is the asker's fault, unavailable passes, failed is ours."""
        self._commands(verb, outcome).inc()

    def refusal(self, verb: str, code: str) -> None:
        """Count one refusal by its stable code."""
        self._refusals(verb, code).inc()

    def bind_consumer(self, stream: str, consumer: str) -> None:
        """From the start at zero, see ``bind_request``."""
        self._dead(stream, consumer)
        self._remade(consumer)
        self.consumer(consumer, pending=0, ack_pending=0, redelivered=0, oldest_age_seconds=0)

    def consumer_remade(self, consumer: str) -> None:
        """Count one consumer that was gone."""
        self._remade(consumer).inc()

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

    def due(self, *, entries: int, oldest_seconds: float) -> None:
        """Set how much work is due and not yet done."""
        self.due_entries.set(entries)
        self.due_oldest_seconds.set(oldest_seconds)

    def sweep(self, outcome: Literal["ok", "failed"]) -> None:
        """Count one look for what was left behind. While it fails, what it measures is of before."""
        self._sweeps(outcome).inc()

    def bind_sweep(self) -> None:
        """From the start at zero, see ``bind_request``."""
        self._sweeps("ok")
        self._sweeps("failed")

    def outside(self, party: Party) -> Watched:
        """What to put around each call of an outside party."""
        seconds = self._outside_seconds(party)
        ok, failed = self._outside(party, "ok"), self._outside(party, "failed")

        @contextmanager
        def watched(*answered: type[BaseException], call: str = "") -> Generator[None]:
            started = time.perf_counter()
            counted = failed
            try:
                yield
                counted = ok
            except answered:
                counted = ok
                raise
            finally:
                crash_points.passed("after_outside_call", f"{party} {call}")
                counted.inc()
                seconds.observe(time.perf_counter() - started)

        return watched

    def disk(self, places: Mapping[str, Path]) -> None:
        """Watch the disks that hold these folders; they are looked at when somebody reads the metrics."""
        for place, folder in places.items():
            self._disk_free(place).set_function(partial(_disk, folder, "free"))
            self._disk_size(place).set_function(partial(_disk, folder, "total"))

    def violations(self, counts: Mapping[str, int]) -> None:
        """Set in how many journeys each rule is broken."""
        for rule, count in counts.items():
            self._violations(rule).set(count)


def _disk(folder: Path, what: Literal["free", "total"]) -> float:
    """Of the disk that ``folder``, or the nearest above it that exists, lies on; NaN where none can be read."""
    for place in (folder, *folder.absolute().parents):
        try:
            return float(getattr(shutil.disk_usage(place), what))
        except FileNotFoundError:
            continue
        except OSError:
            break
    return float("nan")
