"""What journeys come to, counted once each as their rows move: the funnel, how long people take, what passes at once.

By product line and channel, both closed sets: lines are those of the release, a channel that is not among the settings'
is ``other``. Times are those of the facts, so a register that lags measures the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram

from contracts.commands.evidence import Step
from contracts.facts import disclosure, identity, signing
from contracts.facts.base import Fact
from contracts.problems import KINDS
from servicekit.telemetry.metrics import HUMAN_SECONDS, Family

if TYPE_CHECKING:
    from services.evidence.register import Row

Ending = Literal["issued", "withdrawn", "expired", "refunded"]

OTHER: Final = "other"
REACHED: Final[tuple[Step, ...]] = get_args(Step)[:-1]
"""In order; ``ended`` is no step one reaches."""
HUMAN: Final = REACHED[:7]
"""What a person does; issuance is ours."""
TRIES: Final = ("1", "2", "3", "more")
LEGIBILITIES: Final = ("pass", "manual", "not_judged")
INK_REASONS: Final = (*(code for code in KINDS if code.startswith(("ink_", "handwriting_"))), "reviews_exhausted")
REVIEW_ENDS: Final = ("legible", "not_legible", "overtaken")


class Measures:
    def __init__(self, registry: CollectorRegistry, channels: Sequence[str] = ()) -> None:
        self._channels = frozenset(channels)
        self._reached = Family(
            Counter(
                "toubao_journeys_reached_total",
                "Journeys that reached a step, each once.",
                ("step", "line", "channel"),
                registry=registry,
            )
        )
        self._ended = Family(
            Counter(
                "toubao_journeys_ended_total",
                "Journeys that came to an end, by which.",
                ("ending", "line", "channel"),
                registry=registry,
            )
        )
        self._step = Family(
            Histogram(
                "toubao_step_seconds",
                "From reaching a step to reaching the next.",
                ("step",),
                buckets=HUMAN_SECONDS,
                registry=registry,
            )
        )
        self._reading = Histogram(
            "toubao_document_reading_seconds",
            "From opening a document to confirming it.",
            buckets=HUMAN_SECONDS,
            registry=registry,
        )
        self._signatures = Family(
            Counter(
                "toubao_signatures_total",
                "Signatures taken, by the try it was, and whether the check or people found them legible.",
                ("tries", "legibility"),
                registry=registry,
            )
        )
        self._refused = Family(
            Counter(
                "toubao_handwriting_refused_total", "Writings not taken, by reason.", ("reason",), registry=registry
            )
        )
        self._reviews = Family(
            Counter("toubao_reviews_total", "Signatures people were asked to look at.", ("end",), registry=registry)
        )
        self._faces = Family(
            Counter(
                "toubao_face_checks_total",
                "Face checks, by whether it was the journey's first.",
                ("first", "passed"),
                registry=registry,
            )
        )
        for step in HUMAN:
            self._step(step)
        for tries in TRIES:
            for legibility in LEGIBILITIES:
                self._signatures(tries, legibility)
        for reason in (*INK_REASONS, OTHER):
            self._refused(reason)
        for end in REVIEW_ENDS:
            self._reviews(end)
        for first in ("yes", "no"):
            for passed in ("yes", "no"):
                self._faces(first, passed)

    def moved(self, before: Row, after: Row, facts: Sequence[Fact], line: str) -> None:
        """A journey's row is on record as ``after``, by ``facts``."""
        channel = after.channel_id if after.channel_id in self._channels else OTHER
        self._bind(line, channel)
        for step in REACHED[before.place + 1 : after.place + 1]:
            self._reached(step, line, channel).inc()
        if before.alive and (ending := _ending(after)) is not None:
            self._ended(ending, line, channel).inc()
        known: list[Step] = [step for step in REACHED if step in after.since]
        for step, following in pairwise(known):
            if step in HUMAN and following not in before.since:
                took = after.since[following] - after.since[step]
                self._step(step).observe(max(0.0, took.total_seconds()))
        ink, faces = before.ink_rejected, before.faces
        for fact in facts:
            match fact:
                case disclosure.DocumentConfirmed():
                    self._reading.observe(max(0.0, (fact.at - fact.opened_at).total_seconds()))
                case signing.InkRejected():
                    ink += 1
                    self._refused(fact.reason if fact.reason in INK_REASONS else OTHER).inc()
                case signing.ReviewClosed():
                    ink += 1
                    found = fact.reason in INK_REASONS
                    self._reviews("not_legible" if found else "overtaken").inc()
                case signing.FormsSigned():
                    self._signatures(TRIES[min(ink, len(TRIES) - 1)], fact.legibility).inc()
                    if fact.legibility == "manual":
                        self._reviews("legible").inc()
                case identity.FaceChecked():
                    self._faces("no" if faces else "yes", "yes" if fact.passed else "no").inc()
                    faces += 1
                case _:
                    pass

    def _bind(self, line: str, channel: str) -> None:
        """All steps at zero from the first journey of a line and channel on."""
        for step in REACHED:
            self._reached(step, line, channel)
        for ending in get_args(Ending):
            self._ended(ending, line, channel)


def _ending(row: Row) -> Ending | None:
    if row.alive:
        return None
    if row.issued:
        return "issued"
    return row.ended or "refunded"
