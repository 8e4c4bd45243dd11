"""Who is asked, what an answer is, and what the answers say (DOMAIN §4). Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from math import sqrt
from typing import Final, Literal

from contracts.commands.nps import Score
from contracts.facts.aftercare import SurveyAnswered, SurveyDue, SurveyInvited, SurveySkipped, SurveyWithheld
from contracts.facts.base import Fact
from contracts.problems import Refuse
from servicekit.journeys import JourneyState

THROTTLE: Final = timedelta(days=90)
"""Between two invitations of one person, whatever was bought (I29)."""
TREND_FROM: Final = 30
"""Answers below which a score says too little to be shown over time."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Band = Literal["promoter", "passive", "detractor"]


class NpsState(JourneyState):
    due: SurveyDue | None = None
    stage: Literal["none", "invited", "withheld", "answered", "skipped"] = "none"
    invited_at: datetime | None = None
    score: int | None = None
    follow_up: bool = False
    """A detractor: somebody should call."""


def evolve(state: NpsState, fact: Fact) -> NpsState:
    match fact:
        case SurveyDue():
            return state.model_copy(update={"due": state.due or fact})
        case SurveyInvited():
            return state.model_copy(update={"stage": "invited", "invited_at": fact.at})
        case SurveyWithheld():
            return state.model_copy(update={"stage": "withheld"})
        case SurveyAnswered():
            return state.model_copy(update={"stage": "answered", "score": fact.score, "follow_up": fact.follow_up})
        case SurveySkipped():
            return state.model_copy(update={"stage": "skipped"})
        case _:
            return state


def due(state: NpsState) -> datetime | None:
    """Since when it is open whether the customer is asked."""
    return state.due.at if state.due is not None and state.stage == "none" else None


def may_ask_again(last: datetime, now: datetime) -> bool:
    return now - last >= THROTTLE


def check_open(state: NpsState) -> SurveyDue:
    """What the customer was asked about. Raises ``Refuse``."""
    if state.stage in {"answered", "skipped"}:
        raise Refuse("already_done")
    if state.stage != "invited" or state.due is None:
        raise Refuse("survey_not_open")
    return state.due


def band(score: int) -> Band:
    """9–10 promoter, 7–8 passive, 0–6 detractor."""
    return "promoter" if score >= 9 else "passive" if score >= 7 else "detractor"


def micros(at: datetime) -> int:
    """Microseconds since 1970, exact: what times are searched by."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def scores(states: Iterable[NpsState], product: str | None = None) -> tuple[Score, ...]:
    """All, then by channel, then by product, of those invited. A journey counts under each of its products.

    With ``product`` only the journeys that hold it.
    """
    asked = [(state, state.due) for state in states if state.due is not None and state.invited_at is not None]
    asked = [(state, about) for state, about in asked if product is None or product in about.products]
    channels = sorted({about.channel_id for _, about in asked})
    products = sorted({code for _, about in asked for code in about.products}) if product is None else [product]
    return (
        score_of("all", "all", [state for state, _ in asked]),
        *(score_of("channel", key, [state for state, about in asked if about.channel_id == key]) for key in channels),
        *(score_of("product", key, [state for state, about in asked if key in about.products]) for key in products),
    )


def score_of(group: Literal["all", "channel", "product"], key: str, invited: Sequence[NpsState]) -> Score:
    """NPS = %promoters − %detractors, and its standard error 100·√((p + d − (p − d)²) / n) (DOMAIN §4)."""
    answered = [state.score for state in invited if state.score is not None]
    bands = Counter(band(score) for score in answered)
    n, promoters, detractors = len(answered), bands["promoter"], bands["detractor"]
    # In whole numbers as far as it goes: the variance is never below zero, and all of one mind leaves no error.
    variance = (promoters + detractors) * n - (promoters - detractors) ** 2
    return Score(
        group=group,
        key=key,
        invited=len(invited),
        answered=n,
        skipped=sum(state.stage == "skipped" for state in invited),
        promoters=promoters,
        passives=bands["passive"],
        detractors=detractors,
        score=100 * (promoters - detractors) / n if n else None,
        standard_error=100 * sqrt(variance / n**3) if n else None,
        trend_shown=n >= TREND_FROM,
    )
