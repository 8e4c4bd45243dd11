"""What is missing of journeys' chains: a fact came whose predecessor is not there. Most come a moment later."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge

from services.evidence.rules import EvidenceState


class Gaps:
    """Known to this process since it started; what is missing still is met again with every redelivery."""

    def __init__(self, registry: CollectorRegistry, now: Callable[[], datetime]) -> None:
        self._now = now
        self._open: dict[tuple[str, str], tuple[int, datetime]] = {}
        self._count = Gauge(
            "toubao_chain_gaps", "Services of a journey with a fact missing before one heard.", registry=registry
        )
        self._oldest = Gauge("toubao_chain_gap_oldest_seconds", "For how long the oldest of them.", registry=registry)

    def met(self, journey_id: str, service: str, sequence: int) -> None:
        """A fact could not be chained because the one before it is missing."""
        _, since = self._open.get((journey_id, service), (0, self._now()))
        self._open[(journey_id, service)] = (sequence, since)
        self.measure()

    def journeys(self) -> set[str]:
        return {journey_id for journey_id, _ in self._open}

    def closed(self, journey_id: str, state: EvidenceState) -> None:
        """What ``state`` has heard is missing no more."""
        for key in [key for key in self._open if key[0] == journey_id]:
            if state.heard.get(key[1], 0) >= self._open[key][0]:
                del self._open[key]

    def measure(self) -> None:
        self._count.set(len(self._open))
        now = self._now()
        self._oldest.set(max(((now - since).total_seconds() for _, since in self._open.values()), default=0.0))
