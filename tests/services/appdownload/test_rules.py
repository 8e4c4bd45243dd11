"""Steps in order, each once; state as the fold of facts."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.facts.aftercare import ReferralDue, ReferralOffered, ReferralStepReported
from contracts.facts.base import Fact, read_fact
from contracts.problems import Refuse
from services.appdownload import rules
from services.appdownload.rules import STEPS, AppDownloadState, Step, evolve

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
JOURNEY = "01HZZZZZZZZZZZZZZZZZZZZZZZ"
DUE = ReferralDue(at=NOW, journey_id=JOURNEY, customer_id=JOURNEY, channel_id="demo")
OFFERED = ReferralOffered(at=NOW, journey_id=JOURNEY)


def reported(step: Step) -> ReferralStepReported:
    return ReferralStepReported(at=NOW, journey_id=JOURNEY, step=step)


def folded(*facts: Fact) -> AppDownloadState:
    state = AppDownloadState()
    for fact in facts:
        state = evolve(state, fact)
    return state


@given(st.lists(st.sampled_from(STEPS), max_size=20))
def test_whatever_is_reported_each_step_counts_once_and_after_the_one_before(reports: list[Step]) -> None:
    state, kept = folded(DUE, OFFERED), list[Step]()
    for step in reports:
        before = rules.NEEDS[step]
        if before is not None and before not in kept:
            with pytest.raises(Refuse) as refused:
                rules.check_step(state, step)
            assert refused.value.code == "referral_too_early"
        elif rules.check_step(state, step):
            state = evolve(state, reported(step))
            kept.append(step)
    assert len(kept) == len(set(kept))
    assert sorted(kept, key=STEPS.index) == [*state.steps]


@given(st.lists(st.sampled_from([DUE, OFFERED, *map(reported, STEPS)]), max_size=12))
def test_state_survives_the_store_and_is_the_fold_of_its_facts(facts: list[Fact]) -> None:
    state = AppDownloadState()
    for fact in facts:
        state = AppDownloadState.model_validate_json(evolve(state, fact).model_dump_json())
    assert state == folded(*[read_fact(fact.type(), fact.model_dump_json()) for fact in facts])
    assert (rules.due(state) is not None) == (DUE in facts and OFFERED not in facts)


def test_who_has_an_account_logs_in_without_registering() -> None:
    state = folded(DUE, OFFERED, reported("click"), reported("install"))
    assert rules.check_step(state, "login")
    assert rules.check_step(evolve(state, reported("login")), "register"), "a report that was overtaken still counts"


def test_I29_nothing_is_due_or_taken_before_issuance() -> None:
    assert rules.due(AppDownloadState()) is None
    with pytest.raises(Refuse) as refused:
        rules.check_step(AppDownloadState(), "click")
    assert refused.value.code == "referral_unknown"
