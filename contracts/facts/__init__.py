"""Every fact of a journey, one module a service."""

from contracts.facts import (
    aftercare,
    disclosure,
    evidence,
    identity,
    issuance,
    notify,
    partner,
    payment,
    proposal,
    signing,
)
from contracts.facts.base import Attested, Fact, HeardFact, Refusal, fact_types, read_fact

__all__ = [
    "Attested",
    "Fact",
    "HeardFact",
    "Refusal",
    "aftercare",
    "disclosure",
    "evidence",
    "fact_types",
    "identity",
    "issuance",
    "notify",
    "partner",
    "payment",
    "proposal",
    "read_fact",
    "signing",
]
