"""State as the fold of facts, ids, validity."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.facts.base import Fact, read_fact
from contracts.facts.notify import MessageFailed, MessageQueued, MessageSent
from contracts.values import Committed
from services.notify import rules
from services.notify.rules import NotifyState, evolve
from services.notify.templates import Unfit

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
SEALED = Committed(commitment="a" * 64, blob="b" * 64)
IDS = ("M1", "M2", "M3", "M4")


def queued(message: str, at: datetime = NOW) -> MessageQueued:
    return MessageQueued(at=at, message_id=message, template="otp", phone=SEALED, values=SEALED)


def happened(message: str, what: str) -> Fact:
    match what:
        case "queued":
            return queued(message)
        case "sent":
            return MessageSent(at=NOW, message_id=message, template="otp", provider_ref="SM1")
        case _:
            return MessageFailed(at=NOW, message_id=message, template="otp", reason="expired")


HISTORY = st.lists(
    st.tuples(st.sampled_from(IDS), st.sampled_from(["sent", "failed"]), st.booleans()), unique_by=lambda h: h[0]
)


@given(HISTORY)
def test_a_message_waits_until_it_is_settled_and_never_again(history: list[tuple[str, str, bool]]) -> None:
    facts = [happened(message, "queued") for message, _, _ in history]
    facts += [happened(message, end) for message, end, done in history if done]
    state = NotifyState()
    for fact in facts:
        state = evolve(state, fact)
    assert set(state.waiting) == {message for message, _, done in history if not done}
    assert set(state.settled) == {message for message, _, done in history if done}
    assert all(rules.known(state, message) for message, _, _ in history)
    assert (rules.due(state) is None) == (not state.waiting)


@given(HISTORY)
def test_state_survives_the_store_and_is_the_fold_of_its_facts(history: list[tuple[str, str, bool]]) -> None:
    state = folded = NotifyState()
    for message, end, done in history:
        for fact in [happened(message, "queued"), *([happened(message, end)] if done else [])]:
            state = NotifyState.model_validate_json(evolve(state, fact).model_dump_json())
            folded = evolve(folded, read_fact(fact.type(), fact.model_dump_json()))
    assert state == folded


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_message_has_one_name_that_the_provider_takes(journey: str, command: str) -> None:
    name = rules.message_id(journey, command)
    assert name == rules.message_id(journey, command)
    assert name.isalnum()
    assert len(name) <= 64
    assert name != rules.message_id(journey + "x", command)


def test_validity() -> None:
    assert rules.valid_until({}) is None
    assert rules.valid_until({"expires_at": "2026-11-23T10:05:00+08:00"}) == NOW + timedelta(minutes=5)
    for wrong in ("soon", "2026-11-23T02:00:00", ""):
        with pytest.raises(Unfit):
            rules.valid_until({"expires_at": wrong})


@pytest.mark.parametrize("opened", [b"[]", b"{", b'{"code": 1}', b"\xff", b"null"])
def test_values_are_a_json_object_of_text(opened: bytes) -> None:
    with pytest.raises(Unfit):
        rules.read_values(opened)
