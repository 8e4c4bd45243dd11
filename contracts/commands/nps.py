"""Requests to services/nps."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.commands.base import Act, Query, Request
from contracts.values import Contract, Instant, Slug, Token


class SurveyAnswer(Contract):
    score: Annotated[int, Field(ge=0, le=10, strict=True)]
    words: Annotated[str, Field(max_length=1000)] | None = None


class AnswerSurvey(Act):
    service = "nps"
    verb = "answer_survey"
    arguments = SurveyAnswer


class SkipSurvey(Act):
    """One tap, costs nothing (I29)."""

    service = "nps"
    verb = "skip_survey"


class ViewSurvey(Query):
    service = "nps"
    verb = "view"


class SurveyView(Contract):
    state: Literal["none", "invited", "withheld", "answered", "skipped"]


ViewSurvey.reply = SurveyView


class ScoreReport(Request):
    service = "nps"
    verb = "report"

    since: Instant | None = None
    channel_id: Token | None = None
    product: Slug | None = None


class Score(Contract):
    """Net promoter score −100…100 with the number of answers and its standard error (DOMAIN §4).

    ``score`` is none without an answer; ``trend_shown`` is false below 30 answers.
    """

    group: Literal["all", "channel", "product"]
    key: str
    invited: int
    answered: int
    skipped: int
    promoters: int
    passives: int
    detractors: int
    score: float | None
    standard_error: float | None
    trend_shown: bool


class Scores(Contract):
    scores: tuple[Score, ...]


ScoreReport.reply = Scores
