"""The gateway's fan-out to aftercare, played: stateless, so that every fact of it carries number 1."""

from __future__ import annotations

from dataclasses import replace

from contracts import subjects
from contracts.facts.aftercare import ReferralDue, SurveyDue
from servicekit.runner import new_ulid
from tests.desk import Desk, stored


async def fan_out(at: Desk, due: SurveyDue | ReferralDue, *, sequence: int = 1) -> None:
    fact = replace(stored(due.journey_id, due, sequence), source="/services/gateway")
    await at.bus.publish(subjects.aftercare_fact(due.service, due.name, new_ulid()), fact)
