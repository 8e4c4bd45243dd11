"""Bands, scores with their error, and state as the fold of facts (DOMAIN §4)."""

from __future__ import annotations

import math
import statistics
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.facts.aftercare import SurveyAnswered, SurveyDue, SurveyInvited, SurveySkipped, SurveyWithheld
from contracts.facts.base import Fact, read_fact
from contracts.problems import Refuse
from services.nps import rules
from services.nps.rules import NpsState, evolve

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
JOURNEY = "01HZZZZZZZZZZZZZZZZZZZZZZZ"
DUE = SurveyDue(at=NOW, journey_id=JOURNEY, customer_id=JOURNEY, channel_id="demo", products=("motor", "extra"))
INVITED = SurveyInvited(at=NOW, journey_id=JOURNEY)
WITHHELD = SurveyWithheld(at=NOW, journey_id=JOURNEY, reason="asked_recently")
SKIPPED = SurveySkipped(at=NOW, journey_id=JOURNEY)
SCORES = st.integers(0, 10)


def answered(score: int) -> SurveyAnswered:
    return SurveyAnswered(
        at=NOW,
        journey_id=JOURNEY,
        channel_id="demo",
        products=("motor", "extra"),
        score=score,
        words=None,
        follow_up=score <= 6,
    )


def folded(*facts: Fact) -> NpsState:
    state = NpsState()
    for fact in facts:
        state = evolve(state, fact)
    return state


def survey(score: int | None, channel: str = "demo", products: tuple[str, ...] = ("motor",)) -> NpsState:
    about = DUE.model_copy(update={"channel_id": channel, "products": products})
    return folded(about, INVITED, *([] if score is None else [answered(score)]))


@pytest.mark.parametrize(
    ("score", "band"),
    [(0, "detractor"), (6, "detractor"), (7, "passive"), (8, "passive"), (9, "promoter"), (10, "promoter")],
)
def test_bands(score: int, band: str) -> None:
    assert rules.band(score) == band


@given(st.lists(SCORES, min_size=1, max_size=200))
def test_the_score_is_the_mean_of_plus_and_minus_hundred_and_its_error_that_of_the_mean(given_: list[int]) -> None:
    """NPS is the mean of a variable that is +100, 0 or −100; its standard error follows from that alone."""
    values = [100 if score >= 9 else -100 if score <= 6 else 0 for score in given_]
    said = rules.score_of("all", "all", [survey(score) for score in given_])
    assert said.score is not None
    assert said.standard_error is not None
    assert math.isclose(said.score, statistics.fmean(values), abs_tol=1e-9)
    assert math.isclose(said.standard_error, statistics.pstdev(values) / math.sqrt(len(values)), abs_tol=1e-9)
    assert -100 <= said.score <= 100
    assert said.promoters + said.passives + said.detractors == said.answered == len(given_)
    assert said.trend_shown == (len(given_) >= 30)


def test_the_published_formula() -> None:
    # 50 promoters, 30 passives, 20 detractors: NPS 30, se = 100·sqrt((0.5 + 0.2 − 0.09) / 100) = 7.81
    said = rules.score_of("all", "all", [survey(s) for s in [10] * 50 + [8] * 30 + [0] * 20])
    assert said.score == 30
    assert said.standard_error is not None
    assert math.isclose(said.standard_error, 7.810249675906654)


def test_without_an_answer_there_is_no_score() -> None:
    said = rules.score_of("all", "all", [survey(None), folded(DUE, INVITED, SKIPPED)])
    assert (said.score, said.standard_error, said.trend_shown) == (None, None, False)
    assert (said.invited, said.answered, said.skipped) == (2, 0, 1)


def test_zero_is_an_answer() -> None:
    said = rules.score_of("all", "all", [survey(0)])
    assert (said.answered, said.detractors, said.score, said.standard_error) == (1, 1, -100, 0)


def test_groups_are_all_then_channels_then_products() -> None:
    states = [survey(10, "b", ("motor", "extra")), survey(0, "a"), folded(DUE, WITHHELD), NpsState()]
    said = {(score.group, score.key): score.score for score in rules.scores(states)}
    assert said == {
        ("all", "all"): 0,
        ("channel", "a"): -100,
        ("channel", "b"): 100,
        ("product", "extra"): 100,
        ("product", "motor"): 0,
    }
    assert [*said] == [("all", "all"), ("channel", "a"), ("channel", "b"), ("product", "extra"), ("product", "motor")]
    only = {(score.group, score.key): score.answered for score in rules.scores(states, "extra")}
    assert only == {("all", "all"): 1, ("channel", "b"): 1, ("product", "extra"): 1}
    assert rules.scores([])[0].score is None


@given(st.lists(st.sampled_from([DUE, INVITED, WITHHELD, SKIPPED, answered(0), answered(9)]), max_size=10))
def test_state_survives_the_store_and_is_the_fold_of_its_facts(facts: list[Fact]) -> None:
    state = NpsState()
    for fact in facts:
        state = NpsState.model_validate_json(evolve(state, fact).model_dump_json())
    assert state == folded(*[read_fact(fact.type(), fact.model_dump_json()) for fact in facts])


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ([], "survey_not_open"),
        ([DUE], "survey_not_open"),
        ([DUE, WITHHELD], "survey_not_open"),
        ([DUE, INVITED, SKIPPED], "already_done"),
        ([DUE, INVITED, answered(0)], "already_done"),
    ],
)
def test_I29_who_was_not_asked_cannot_answer_and_nobody_twice(facts: list[Any], code: str) -> None:
    with pytest.raises(Refuse) as refused:
        rules.check_open(folded(*facts))
    assert refused.value.code == code


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=400)))
def test_I29_ninety_days_between_invitations(span: timedelta) -> None:
    assert rules.may_ask_again(NOW, NOW + span) == (span >= timedelta(days=90))


@given(st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC)))
def test_times_are_searched_to_the_microsecond(at: datetime) -> None:
    assert rules.micros(at + timedelta(microseconds=1)) == rules.micros(at) + 1
