"""What evidence knows of a journey, and what it refuses."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import subjects
from contracts.facts.evidence import HeadAnchored, PackExported
from contracts.problems import Refuse
from services.evidence import rules
from services.evidence.rules import EvidenceState

AT = datetime(2026, 11, 23, tzinfo=UTC)
HEADS = st.dictionaries(st.sampled_from([*subjects.JOURNEY_SERVICES, "gateway", "nps"]), st.integers(0, 9))


@given(HEADS, HEADS)
def test_I19_nothing_is_attested_beyond_what_was_heard(heard: dict[str, int], asked: dict[str, int]) -> None:
    state = EvidenceState(heard=heard, count=1, head="a" * 64)
    beyond = {s for s, at in asked.items() if s in subjects.JOURNEY_SERVICES and at > heard.get(s, 0)}
    if not beyond:
        rules.check_held(state, asked)
        return
    with pytest.raises(Refuse) as refused:
        rules.check_held(state, asked)
    assert refused.value.code == "evidence_incomplete"
    assert set(refused.value.problem.extra["gap"]) == beyond


def test_an_unheard_journey_is_unknown() -> None:
    with pytest.raises(Refuse) as refused:
        rules.check_held(EvidenceState(), {})
    assert refused.value.code == "journey_unknown"


def anchored(**heads: int) -> HeadAnchored:
    return HeadAnchored(at=AT, head="a" * 64, count=3, heads=heads, token="b" * 64, signature="h..s")


def test_an_anchor_lasts_until_another_service_says_something() -> None:
    state = rules.evolve(EvidenceState(heard={"proposal": 3}), anchored(proposal=3))
    assert state.anchored
    assert state.model_copy(update={"heard": {"proposal": 3, "evidence": 2}}).anchored
    assert not state.model_copy(update={"heard": {"proposal": 4, "evidence": 2}}).anchored
    assert state.anchor is not None
    assert rules.anchored(state.anchor) == anchored(proposal=3)


def test_exports_are_counted() -> None:
    fact = PackExported(at=AT, scope="journey", policy_no=None, masked=True, reason="why not", manifest_sha256="a" * 64)
    assert rules.evolve(rules.evolve(EvidenceState(), fact), fact).exports == 2
