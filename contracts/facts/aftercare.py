"""Facts after issuance, not part of the evidence (stream AFTERCARE): ``aftercare.<service>.<fact>.<id>``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.facts.base import Fact
from contracts.values import Committed, JourneyId, Slug, Token, Ulid


class SurveyDue(Fact):
    """The gateway's word to nps that a journey was issued (I29)."""

    service = "nps"
    name = "survey_due"

    journey_id: JourneyId
    customer_id: Ulid
    channel_id: Token
    products: tuple[Slug, ...]


class SurveyInvited(Fact):
    """The customer was offered the survey after issuance; whether they answer is theirs to say."""

    service = "nps"
    name = "survey_invited"

    journey_id: JourneyId


class SurveyWithheld(Fact):
    """The person was asked within the last 90 days (I29)."""

    service = "nps"
    name = "survey_withheld"

    journey_id: JourneyId
    reason: Literal["asked_recently"]


class SurveyAnswered(Fact):
    """0 is an answer. The words, if any, are sealed."""

    service = "nps"
    name = "survey_answered"

    journey_id: JourneyId
    channel_id: Token
    products: tuple[Slug, ...]
    score: Annotated[int, Field(ge=0, le=10)]
    words: Committed | None
    follow_up: bool = False
    """A detractor (0–6): somebody should call."""


class SurveySkipped(Fact):
    """The customer passed the survey by; it costs them nothing (I29)."""

    service = "nps"
    name = "survey_skipped"

    journey_id: JourneyId


class ReferralDue(Fact):
    """The gateway's word to appdownload that a journey was issued (I29)."""

    service = "appdownload"
    name = "referral_due"

    journey_id: JourneyId
    customer_id: Ulid
    channel_id: Token


class ReferralOffered(Fact):
    """The customer was offered a plain link to the insurer's app; no policy depends on it (I29)."""

    service = "appdownload"
    name = "referral_offered"

    journey_id: JourneyId


class ReferralStepReported(Fact):
    """The insurer's app reported how far the customer came."""

    service = "appdownload"
    name = "referral_step_reported"

    journey_id: JourneyId
    step: Literal["click", "install", "register", "login"]
