"""Facts of issuance told to others: to the channel, and to what comes after (DESIGN §3).

A stateless transform: ids derive from the source fact, and both streams keep one message per subject, so that
doing it again changes nothing. No personal value is among what is told.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Final

from contracts import subjects
from contracts.facts import aftercare, issuance, partner
from contracts.facts.base import Fact, read_fact
from servicekit.bus import Bus, Delivery, Unhandleable
from servicekit.store import StoredFact

DURABLE: Final = "gateway-issuance"
SOURCE: Final = "/gateway"
_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

Message = tuple[str, StoredFact]
"""A subject and what goes there."""


def derived_id(source_id: str, purpose: str) -> str:
    """A ULID that follows from the source's: its time, and 80 bits of the hash of both."""
    number = int.from_bytes(hashlib.sha256(f"{source_id}\0{purpose}".encode()).digest()[:10])
    tail = "".join(_CROCKFORD[number >> shift & 31] for shift in range(75, -1, -5))
    return source_id[:10] + tail


def messages(source: StoredFact) -> Sequence[Message]:
    """What one fact of issuance is to others; empty for one that concerns nobody.

    Raises ``Unhandleable`` for a fact that does not fit its contract.
    """
    try:
        fact = read_fact(source.type, source.data)
    except ValueError as error:
        raise Unhandleable(f"{source.type} does not fit its contract") from error
    journey_id = source.subject
    match fact:
        case issuance.PolicyIssued():
            told = partner.PolicyIssued(
                at=fact.at,
                journey_id=journey_id,
                channel_id=fact.channel_id,
                channel_reference=fact.channel_reference,
                proposal_no=fact.proposal_no,
                product=fact.product,
                policy_no=fact.policy_no,
                premium_fen=fact.premium_fen,
                taxes_fen=fact.taxes_fen,
                period_from=fact.period_from,
                period_to=fact.period_to,
            )
            return [_to_partner(source, told, fact.channel_id)]
        case issuance.JourneyIssued():
            return [
                _to_partner(
                    source,
                    partner.JourneyIssued(
                        at=fact.at, journey_id=journey_id, channel_id=fact.channel_id, policies=fact.policies
                    ),
                    fact.channel_id,
                ),
                _to_aftercare(
                    source,
                    aftercare.SurveyDue(
                        at=fact.at,
                        journey_id=journey_id,
                        customer_id=fact.customer_id,
                        channel_id=fact.channel_id,
                        products=fact.products,
                    ),
                ),
                _to_aftercare(
                    source,
                    aftercare.ReferralDue(
                        at=fact.at,
                        journey_id=journey_id,
                        customer_id=fact.customer_id,
                        channel_id=fact.channel_id,
                    ),
                ),
            ]
        case _:
            return []


def _to_partner(source: StoredFact, fact: Fact, channel_id: str) -> Message:
    stored = _stored(source, fact)
    return subjects.partner_fact(channel_id, fact.name, stored.id), stored


def _to_aftercare(source: StoredFact, fact: Fact) -> Message:
    stored = _stored(source, fact)
    return subjects.aftercare_fact(fact.service, fact.name, stored.id), stored


def _stored(source: StoredFact, fact: Fact) -> StoredFact:
    return StoredFact(
        id=derived_id(source.id, fact.type()),
        source=SOURCE,
        type=fact.type(),
        subject=source.subject,
        time=source.time,
        sequence=source.sequence,
        dataschema=f"urn:toubao:contracts:{fact.service}.{fact.name}.v{fact.version}",
        data=fact.model_dump_json(),
        traceparent=source.traceparent,
    )


class FanOut:
    """Listens to issuance and tells on, one fact at a time so that a channel hears in order."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        await self._bus.listen(subjects.JOURNEY, DURABLE, subjects.journey_facts_of("issuance"), self.take)

    async def take(self, delivery: Delivery) -> None:
        """Raises ``Unhandleable``, or ``BusUnavailable`` to have it come again."""
        told = messages(delivery.fact)
        async with self._turn:
            for subject, fact in told:
                # False: it is there already, from an earlier try.
                await self._bus.publish(subject, fact)
