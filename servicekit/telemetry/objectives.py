"""What we promise (service level objectives). Exported as gauges, so that rules join them and never repeat a number.

A threshold is an edge of the histogram that is judged by it (a test compares).
"""

from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Gauge


@dataclass(frozen=True)
class Objective:
    """``ratio`` of events that are good over 30 days; with ``seconds``, those are good that took no longer."""

    name: str
    ratio: float
    seconds: float | None = None


AVAILABILITY: Final = Objective("availability", 0.999)
"""Requests to the gateway answered other than by a fault of ours (5xx)."""
LATENCY: Final = Objective("latency", 0.97, 1.0)
"""A customer's requests. One in sixty draws the application forms and may take longer."""
ISSUE: Final = Objective("issue", 0.99, 2.0)
"""Paid journeys with all their policies."""
EVIDENCE: Final = Objective("evidence", 1.0)
"""Issued policies whose evidence is complete (I19): there is no budget for one that is not."""


def export(registry: CollectorRegistry, *objectives: Objective) -> None:
    """Say what is promised, in the process that measures it."""
    ratio = Gauge("toubao_slo_objective_ratio", "Share of events promised to be good.", ("slo",), registry=registry)
    seconds = Gauge("toubao_slo_threshold_seconds", "Slower is not good.", ("slo",), registry=registry)
    for objective in objectives:
        ratio.labels(objective.name).set(objective.ratio)
        if objective.seconds is not None:
            seconds.labels(objective.name).set(objective.seconds)
