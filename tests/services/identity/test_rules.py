"""Identity's rules without I/O: who a name belongs to, clocks, paces, the fold."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.facts import identity as facts
from contracts.facts.base import Fact
from contracts.facts.issuance import JourneyIssued
from contracts.facts.payment import OrderClosed
from contracts.facts.signing import ReviewClosed, ReviewRequested, SignedItem
from contracts.problems import Refuse
from contracts.values import ActProof, Committed, CommittedFile, Proof
from deploy.simulator.device import Device
from services.identity import rules
from services.identity.rules import IdentityState, evolve

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
DEVICE = Device()
ID = "11010519491231002X"
"""The worked example of GB 11643."""


def proof(attempt: int = 1) -> ActProof:
    sealed = Committed(commitment="a" * 64, blob="b" * 64)
    return ActProof(proof=Proof(jws="x.y.z", method="POST", url="https://x.test/"), body=sealed, attempt=attempt)


def session(attempt: int = 1, at: datetime = NOW, device: Device = DEVICE) -> facts.SessionOpened:
    return facts.SessionOpened(
        at=at,
        attempt=attempt,
        device_key=facts.DeviceKey.model_validate(device.jwk),
        thumbprint=device.thumbprint,
        absolute_limit=at + timedelta(hours=2),
        proof=proof(attempt),
    )


def verified(attempt: int = 1, at: datetime = NOW) -> facts.IdentityVerified:
    return facts.IdentityVerified(
        at=at,
        attempt=attempt,
        method="face",
        customer_id="0" * 26,
        valid_until=at + timedelta(hours=2),
        reproof=False,
    )


def review(at: datetime, until: datetime | None = None, number: int = 1) -> list[Fact]:
    """People look at a signature; what they find does not take it."""
    item = SignedItem(product="motor", kind="form", document="form", version="1", hash="a" * 64)
    file = CommittedFile(commitment="a" * 64, blob="b" * 64, media_type="x/y", size=1)
    asked = ReviewRequested(
        at=at, review_no=number, attempt_no=number, reason="handwriting_unclear", attempt=1, items=(item,),
        declaration_sha256="a" * 64, strokes=file, image=file, vector=file, strokes_rendered_by="1", ink_checks=(),
        signed_at=at, proof=proof(),
    )  # fmt: skip
    return [asked, *(() if until is None else (closed(until, number),))]


def closed(at: datetime, number: int = 1) -> ReviewClosed:
    return ReviewClosed(at=at, review_no=number, attempt=1, reason="handwriting_unclear")


def folded(*made: Fact) -> IdentityState:
    state = IdentityState()
    for fact in made:
        state = evolve(state, fact)
    return state


def code_of(refused: pytest.ExceptionInfo[Refuse]) -> str:
    return refused.value.code


def test_I7_no_clock_of_identity_runs_while_people_look_at_a_signature() -> None:
    before = (session(), verified())
    until, limit = NOW + timedelta(hours=2), NOW + timedelta(hours=2)
    second, days = timedelta(seconds=1), timedelta(days=2)
    asked = NOW + timedelta(hours=1)
    assert not rules.verified(folded(*before), until + second)
    waiting = folded(*before, *review(asked))
    assert rules.verified(waiting, NOW + 30 * days)
    assert not rules.over_absolute_limit(waiting, NOW + 30 * days)
    over = folded(*before, *review(asked, asked + days))
    assert rules.verified(over, until + days)
    assert not rules.verified(over, until + days + second)
    assert not rules.over_absolute_limit(over, limit + days)
    assert rules.over_absolute_limit(over, limit + days + second)


# -- the person --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "typed",
    [
        "阿依古丽·买买提",
        "阿依古丽•买买提",
        "阿依古丽・买买提",
        "阿依古丽･买买提",
        "阿依古丽.买买提",
        " 阿依古丽 · 买买提 ",
    ],
)
def test_names_are_the_same_whatever_dot_and_space_the_phone_typed(typed: str) -> None:
    rules.check_person(
        id_type="id_card", typed=(typed, ID.lower()), policyholder=("阿依古丽·买买提", ID), today=date(2026, 11, 23)
    )


@pytest.mark.parametrize("typed", ["阿依古丽买买提", "阿依古丽·买买", "买买提·阿依古丽"])
def test_another_name_is_another_person(typed: str) -> None:
    with pytest.raises(Refuse) as refused:
        rules.check_person(
            id_type="id_card", typed=(typed, ID), policyholder=("阿依古丽·买买提", ID), today=date(2026, 11, 23)
        )
    assert code_of(refused) == "person_mismatch"


@pytest.mark.parametrize("number", ["110105194912310021", "11010519491331002X", "11010519491231002", "１１０"])
def test_an_impossible_number_is_a_slip_of_the_finger_and_names_its_field(number: str) -> None:
    with pytest.raises(Refuse) as refused:
        rules.check_person(
            id_type="id_card", typed=("张三", number), policyholder=("张三", ID), today=date(2026, 11, 23)
        )
    assert code_of(refused) == "invalid_fields"
    (fault,) = refused.value.problem.errors
    assert fault.pointer == "/id_number"
    assert number not in refused.value.problem.model_dump_json()


def test_fifteen_digits_are_the_old_form_of_the_same_number() -> None:
    assert rules.normal_id_number("110105491231002") == ID


def test_full_age_begins_on_the_eighteenth_birthday() -> None:
    born_2008 = "110101200811231" + "23"
    number = born_2008 + rules.id_check_character(born_2008)

    def check(today: date) -> None:
        rules.check_person(id_type="id_card", typed=("张三", number), policyholder=("张三", number), today=today)

    with pytest.raises(Refuse) as refused:
        check(date(2026, 11, 22))
    assert code_of(refused) == "underage"
    check(date(2026, 11, 23))


@given(st.text("张王阿依古丽·•・･. aZ", max_size=40))
def test_a_normal_name_is_normal(name: str) -> None:
    assert rules.normal_name(rules.normal_name(name)) == rules.normal_name(name)


@given(st.text(max_size=40))
def test_whatever_is_typed_has_a_normal_form(typed: str) -> None:
    rules.normal_name(typed)
    rules.normal_id_number(typed)


# -- paces -------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 7200), max_size=12), st.integers(1, 6))
def test_a_pace_refuses_exactly_when_the_hour_is_full(ages: list[int], most: int) -> None:
    times = [NOW - timedelta(seconds=age) for age in ages]
    full = sum(age < 3600 for age in ages) >= most
    if not full:
        assert len(rules.check_pace(times, NOW, most=most, code="otp_attempts")) < most
        return
    with pytest.raises(Refuse) as refused:
        rules.check_pace(times, NOW, most=most, code="otp_attempts")
    wait = refused.value.problem.retry_after
    assert wait is not None
    rules.check_pace(times, NOW + timedelta(seconds=wait), most=most, code="otp_attempts")


# -- clocks ------------------------------------------------------------------------------------------------


def test_before_identity_is_proven_no_idle_clock_runs() -> None:
    assert rules.idle_since(folded(session()), None, NOW) is None
    assert rules.idle_since(folded(session(), verified()), None, NOW) == NOW


def test_the_last_sign_counts() -> None:
    later = NOW + timedelta(minutes=3)
    assert rules.idle_since(folded(session(), verified()), later, later) == later
    assert rules.idle_since(folded(session(), verified(at=later)), NOW, later) == later


def test_a_sign_kept_while_the_clock_was_ahead_lets_nobody_stay_away_longer() -> None:
    ahead = NOW + timedelta(hours=1)
    assert rules.idle_since(folded(session(), verified()), ahead, NOW) == NOW
    assert rules.idle_since(folded(session(at=ahead), verified(at=ahead)), ahead, NOW) == rules.LONG_AGO


def test_a_session_is_not_idle_twice() -> None:
    state = folded(session(), verified(), facts.ReproofRequired(at=NOW, attempt=1, idle_seconds=601))
    assert rules.idle_since(state, None, NOW) is None
    assert not rules.verified(state, NOW)


@given(st.timedeltas(min_value=timedelta(0)), st.timedeltas(min_value=timedelta(0)))
def test_I26_no_setting_makes_elder_mode_the_shorter_one(standard: timedelta, elder: timedelta) -> None:
    usual = folded(session())
    chosen = folded(session(), facts.ModeChosen(at=NOW, mode="elder", proof=proof()))
    limits = [rules.idle_limit(state, standard=standard, elder=elder) for state in (usual, chosen)]
    assert limits[0] == standard
    assert limits[1] >= limits[0]


def test_a_new_device_begins_in_the_usual_mode_and_the_one_that_signed_keeps_its_own() -> None:
    chosen = (session(), facts.ModeChosen(at=NOW, mode="elder", proof=proof()))
    assert rules.view(folded(*chosen, session(1)), NOW).mode == "elder"
    assert rules.view(folded(*chosen, session(2)), NOW).mode == "standard"


def test_identity_holds_until_its_time_and_only_in_its_session() -> None:
    state = folded(session(), verified())
    assert rules.verified(state, NOW + timedelta(hours=2))
    assert not rules.verified(state, NOW + timedelta(hours=2, seconds=1))
    void = facts.SessionVoided(at=NOW, attempt=1, reason="device_changed")
    assert not rules.verified(folded(session(), verified(), void, session(2)), NOW)


def test_an_order_that_is_not_the_open_one_ends_no_waiting() -> None:
    state = folded(session(), OrderClosed(at=NOW, order_no="other", reason="expired"))
    assert state.waiting_since is None
    assert state.session is not None
    assert state.session.waited == timedelta(0)


# -- the fold ----------------------------------------------------------------------------------------------

AT = st.integers(0, 7200).map(lambda seconds: NOW + timedelta(seconds=seconds))
NOTICE = st.sampled_from(["privacy", "face_consent"]).map(
    lambda code: facts.NoticeRef(notice=code, version="1", sha256="a" * 64)
)
FACTS: st.SearchStrategy[Fact] = st.one_of(
    st.builds(session, st.integers(1, 3), AT),
    st.builds(verified, st.integers(1, 3), AT),
    st.builds(
        facts.SessionVoided,
        at=AT,
        attempt=st.integers(1, 3),
        reason=st.sampled_from(["device_changed", "person_changed", "absolute_limit"]),
    ),
    st.builds(facts.RecordingAcknowledged, at=AT, notice=NOTICE, proof=st.just(proof())),
    st.builds(facts.ModeChosen, at=AT, mode=st.sampled_from(["standard", "elder"]), proof=st.just(proof())),
    st.builds(facts.ConsentGiven, at=AT, notice=NOTICE, proof=st.just(proof())),
    st.builds(facts.ConsentDeclined, at=AT, notice=NOTICE, withdrawn=st.booleans(), proof=st.just(proof())),
    st.builds(facts.RealNameChecked, at=AT, matched=st.booleans(), provider_ref=st.just("r"), proof=st.just(proof())),
    st.builds(
        facts.OtpVerified, at=AT, purpose=st.sampled_from(["identity", "alternative_path"]), proof=st.just(proof())
    ),
    st.builds(facts.FaceStarted, at=AT, provider_ref=st.just("s"), proof=st.just(proof())),
    st.builds(
        facts.FaceChecked,
        at=AT,
        passed=st.booleans(),
        provider_ref=st.just("r"),
        score_band=st.just("high"),
        checked_at=AT,
        proof=st.just(proof()),
    ),
    st.builds(facts.ReproofRequired, at=AT, attempt=st.integers(1, 3), idle_seconds=st.just(601)),
    st.builds(facts.Refused, at=AT, command=st.just("x"), code=st.just("proof_token"), occurrence=st.just(1)),
    AT.map(lambda at: JourneyIssued(at=at, policies=("P",), products=("p",), channel_id="c", customer_id="0" * 26)),
)


@given(st.lists(FACTS, max_size=30))
def test_the_state_is_a_fold_that_survives_the_store(made: list[Fact]) -> None:
    state = folded(*made)
    assert IdentityState.model_validate_json(state.model_dump_json()) == state
    assert folded(*made) == state
    view = rules.view(state, NOW)
    assert not view.verified or (state.session is not None and state.session.ended is None)


@given(st.lists(FACTS, max_size=30))
def test_I12_a_new_device_inherits_nothing(made: list[Fact]) -> None:
    state = folded(*made, session(4, NOW + timedelta(hours=3)))
    view = rules.view(state, NOW + timedelta(hours=3))
    assert (view.attempt, view.verified, view.recording_acknowledged, view.consents) == (4, False, False, {})
    assert (view.real_name_matched, view.face, view.otp_verified) == (False, "none", ())
