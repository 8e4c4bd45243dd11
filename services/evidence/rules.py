"""What evidence knows of a journey, what it signs, and what it refuses to. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contracts import subjects
from contracts.facts.base import Fact
from contracts.facts.evidence import HeadAnchored, PackExported
from contracts.problems import Refuse
from contracts.values import Attestation, canonical_json
from servicekit.journeys import JourneyState

OWN = "evidence"


class EvidenceState(JourneyState):
    """``count`` entries lead to ``head``; ``chained`` of evidence's own facts are among them."""

    count: int = 0
    head: str | None = None
    chained: int = 0
    anchor: Attestation | None = None
    """The last head signed and timestamped."""
    exports: int = 0

    @property
    def anchored(self) -> bool:
        """Whether the last anchor covers every fact but evidence's own word about anchoring and exporting."""
        return self.anchor is not None and others(self.anchor.heads) == others(self.heard)


def evolve(state: EvidenceState, fact: Fact) -> EvidenceState:
    """Folds what a fact says; the chain itself is folded from the facts' bytes, see ``chains``."""
    match fact:
        case HeadAnchored(signature=str(signature)):
            anchor = Attestation(
                head=fact.head,
                count=fact.count,
                heads=fact.heads,
                at=fact.at,
                signature=signature,
                token=fact.token,
            )
            return state.model_copy(update={"anchor": anchor})
        case PackExported():
            return state.model_copy(update={"exports": state.exports + 1})
        case _:
            return state


def others(heads: Mapping[str, int]) -> dict[str, int]:
    """The heads of the other services of a journey."""
    return {service: at for service, at in heads.items() if service in subjects.JOURNEY_SERVICES and service != OWN}


def check_held(state: EvidenceState, asked: Mapping[str, int]) -> None:
    """Raises ``Refuse("evidence_incomplete")`` with the gap: per service what is held and what was asked."""
    gap = {
        service: {"held": state.heard.get(service, 0), "asked": at}
        for service, at in sorted(asked.items())
        if service in subjects.JOURNEY_SERVICES and state.heard.get(service, 0) < at
    }
    if gap:
        raise Refuse("evidence_incomplete", retry_after=1, gap=gap)
    if not state.count:
        raise Refuse("journey_unknown")


def anchored(given: Attestation) -> HeadAnchored:
    """The fact that puts an attestation on record."""
    return HeadAnchored(
        at=given.at,
        head=given.head,
        count=given.count,
        heads=given.heads,
        token=given.token,
        signature=given.signature,
    )


def statement(journey_id: str, attestation: Mapping[str, Any]) -> bytes:
    """The bytes an attestation's signature covers. ``attestation`` as it stands in a fact's JSON."""
    said = {name: attestation[name] for name in ("head", "count", "heads", "at")}
    return canonical_json({"journey_id": journey_id, **said})
