"""The report says every fact in words a judge reads."""

from __future__ import annotations

from contracts.facts.base import Refusal, fact_types
from contracts.subjects import JOURNEY_SERVICES
from services.evidence.report import PLAIN

SAID_WITH_ITS_VALUES = {
    "journey_opened",
    "document_opened",
    "document_confirmed",
    "consent_given",
    "consent_declined",
    "recording_acknowledged",
    "ink_rejected",
    "real_name_checked",
    "bank_card_checked",
    "face_checked",
    "identity_verified",
    "point_acknowledged",
    "forms_signed",
    "policy_issued",
    "payment_confirmed",
    "head_anchored",
    "pack_exported",
}


def test_every_fact_of_a_journey_has_its_sentence() -> None:
    names = {
        kind.name
        for kind in fact_types().values()
        if kind.__module__.startswith("contracts.")
        and kind.service in JOURNEY_SERVICES
        and not issubclass(kind, Refusal)
    }
    assert names <= SAID_WITH_ITS_VALUES | set(PLAIN)
    assert not SAID_WITH_ITS_VALUES & set(PLAIN)
