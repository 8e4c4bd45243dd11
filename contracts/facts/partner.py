"""Facts for partner channels: enriched, with the least personal data (stream PARTNER).

``service`` is the audience, so that the subject reads ``partner.<channel_id>.<fact>.<fact_id>``.
"""

from __future__ import annotations

from contracts.facts.base import Fact
from contracts.values import Fen, Instant, JourneyId, Slug, Token


class PolicyIssued(Fact):
    """One policy of the channel's own customer exists."""

    service = "partner"
    name = "policy_issued"

    journey_id: JourneyId
    channel_id: Token
    channel_reference: Token | None
    proposal_no: str
    product: Slug
    policy_no: str
    premium_fen: Fen
    taxes_fen: Fen
    period_from: Instant
    period_to: Instant


class JourneyIssued(Fact):
    """All policies of one proposal exist."""

    service = "partner"
    name = "journey_issued"

    journey_id: JourneyId
    channel_id: Token
    policies: tuple[str, ...]
