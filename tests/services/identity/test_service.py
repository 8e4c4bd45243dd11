"""Identity over the real bus, store and vault, against the platform's stand-in."""

from __future__ import annotations

import asyncio
import hashlib
import random
from typing import Any

import pytest

from contracts.commands import identity as commands
from contracts.facts import identity as facts
from contracts.problems import Refuse
from deploy.simulator.device import Device
from deploy.simulator.proposals import person
from servicekit.journeys import REMEMBERED_COMMANDS
from servicekit.runner import new_ulid
from services.identity import rules
from services.identity.rules import IdentityState
from tests.services.identity.conftest import House, Opens
from tests.services.identity.customer import Customer, Provider


async def refusals(customer: Customer) -> list[tuple[str, str]]:
    made = await customer.at.made(customer.journey_id)
    return [(fact.command, fact.code) for fact in made if isinstance(fact, facts.Refused)]


async def made(customer: Customer, kind: type[Any]) -> list[Any]:
    return [fact for fact in await customer.at.made(customer.journey_id) if isinstance(fact, kind)]


async def refused(customer: Customer, coming: Any) -> str:
    return await customer.at.refused(coming)


# -- both ways through -------------------------------------------------------------------------------------


async def test_a_customer_passes_by_face(customer: Customer) -> None:
    result = await customer.pass_by_face()
    assert result.verified
    view = await customer.view()
    assert (view.verified, view.method, view.face, view.real_name_matched) == (True, "face", "passed", True)
    assert view.valid_until == view.absolute_limit
    assert (await customer.judge("act")).verified
    (verified,) = await made(customer, facts.IdentityVerified)
    assert (verified.method, verified.reproof, verified.attempt) == ("face", False, 1)


async def test_I8_without_face_the_same_result_is_reached_and_declining_face_ends_nothing(customer: Customer) -> None:
    await customer.begin()
    await customer.act(commands.DeclineConsent, customer.notice("face_consent"))
    assert (await customer.view()).consents["face_consent"] == "declined"
    await customer.consent("account_check")
    await customer.real_name()
    await customer.code()
    result = await customer.card()
    assert result.verified
    assert customer.provider.phones == [customer.purchase.who.phone]
    view = await customer.view()
    assert (view.verified, view.method, view.face) == (True, "bank_card", "none")
    (verified,) = await made(customer, facts.IdentityVerified)
    assert verified.method == "bank_card"
    assert not await made(customer, facts.FaceStarted)


async def test_the_state_is_the_fold_of_the_facts_on_record(customer: Customer) -> None:
    await customer.pass_by_face()
    state = IdentityState()
    for fact in (*customer.purchase.facts, *await customer.at.made(customer.journey_id)):
        state = rules.evolve(state, fact)
    kept = await customer.at.service.journeys.state(customer.journey_id)
    assert state == kept.model_copy(update={"heard": {}})


# -- proofs (I12) ------------------------------------------------------------------------------------------


async def test_I12_only_the_devices_own_fresh_proof_over_this_very_request_is_taken(customer: Customer) -> None:
    await customer.open()
    assert (await customer.judge()).thumbprint == customer.device.thumbprint
    hostile: list[tuple[dict[str, Any], str]] = [
        ({"device": Device()}, "proof_key_changed"),
        ({"token": "another-token"}, "proof_token"),
        ({"ath": "another-token"}, "proof_token"),
        ({"ath": None}, "proof_token"),
        ({"token": None}, "session_not_open"),
        ({"method": "POST"}, "proof_method"),
        ({"url": "https://toubao.test/v1/elsewhere"}, "proof_url"),
        ({"body": b"{}"}, "proof_body"),
    ]
    for changed, code in hostile:
        assert await refused(customer, customer.judge(**changed)) == code
    good = await customer.question()
    header, payload, signature = good.proof.jws.split(".")
    forged = good.proof.model_copy(update={"jws": f"{header}.{payload}.{signature[::-1]}"})
    code = await refused(customer, customer.at.ask(good.model_copy(update={"proof": forged})))
    assert code in {"proof_signature", "proof_malformed"}
    kept = await refusals(customer)
    assert [code for _, code in kept[:-1]] == [code for _, code in hostile]
    assert {command for command, _ in kept} == {"judge_proof"}


async def test_I12_a_proof_serves_once(customer: Customer) -> None:
    await customer.open()
    question = await customer.question()
    await customer.at.ask(question)
    assert await refused(customer, customer.at.ask(question)) == "proof_replayed"
    act = await customer.make(commands.AcknowledgeRecording, customer.notice("recording"))
    await customer.at.ask(act)
    again = act.model_copy(update={"command_id": new_ulid()})
    assert await refused(customer, customer.at.ask(again)) == "proof_replayed"
    assert [code for _, code in await refusals(customer)] == ["proof_replayed"] * 2


async def test_I12_a_stale_nonce_brings_a_fresh_one_and_no_fact(customer: Customer) -> None:
    await customer.open()
    before = len(await customer.at.made(customer.journey_id))
    nonce = await customer.nonce()
    customer.at.clock.pass_by(minutes=5)
    for stale in (nonce, "never-issued"):
        with pytest.raises(Refuse) as refusal:
            await customer.judge(nonce=stale)
        assert refusal.value.code == "use_dpop_nonce"
        await customer.judge(nonce=refusal.value.problem.extra["nonce"])
    assert await refused(customer, customer.judge(nonce=None)) == "use_dpop_nonce"
    assert len(await customer.at.made(customer.journey_id)) == before


async def test_I12_after_a_restart_old_nonces_are_refused_and_the_session_goes_on(
    opens: Opens, house: House, clock: Any
) -> None:
    before = await house.customer()
    await before.open()
    nonce = await before.nonce()
    used = await before.question()
    await before.at.ask(used)
    await house.at.service.stop()
    async with opens() as at:
        after = Customer(at, before.purchase, Provider(), before.platform, before.device, before.token)
        assert await at.refused(after.judge(nonce=nonce)) == "use_dpop_nonce"
        assert await at.refused(at.ask(used)) == "use_dpop_nonce", "its memory of used proofs went with it"
        assert (await after.judge()).attempt == 1, "the token still holds"


async def test_of_a_journey_nobody_knows_nothing_is_kept(customer: Customer) -> None:
    customer.purchase.journey_id = new_ulid()
    await customer.at.vault.seal(customer.journey_id, b"")
    assert await refused(customer, customer.judge()) == "journey_unknown"
    assert await refused(customer, customer.open()) == "journey_unknown"
    assert await customer.at.service.journeys.collection.get(customer.journey_id) is None


async def test_refused_proofs_are_kept_twenty_times_and_then_counted(customer: Customer) -> None:
    await customer.open()
    for _ in range(23):
        assert await refused(customer, customer.judge(device=Device())) == "proof_key_changed"
    assert len(await refusals(customer)) == 20


# -- the session (I12) -------------------------------------------------------------------------------------


async def test_the_link_needs_its_secret(customer: Customer) -> None:
    assert await refused(customer, customer.open(link_secret="0" * 32)) == "link_invalid"
    assert not await made(customer, facts.SessionOpened)
    assert [code for _, code in await refusals(customer)] == ["link_invalid"]


async def test_I12_a_reload_on_the_same_device_goes_on_with_the_same_session(customer: Customer) -> None:
    first = await customer.open()
    again = await customer.open()
    assert (again.session_token, again.attempt) == (first.session_token, 1)
    assert len(await made(customer, facts.SessionOpened)) == 1


async def test_the_session_token_is_nowhere_at_rest(customer: Customer) -> None:
    command_id = new_ulid()
    reply = await customer.open(command_id=command_id)
    repeated = await customer.open(command_id=command_id)
    assert repeated == reply, "also a repeat is answered with it"
    assert len(reply.session_token) >= 43
    everything = at_rest(customer)
    assert reply.session_token.encode() not in everything
    body = {"link_secret": customer.purchase.link_secret}
    thief = customer.act(commands.OpenSession, body, token=None, device=Device(), command_id=command_id)
    assert await refused(customer, thief) == "idempotency_key_reused"


async def test_I12_another_device_voids_what_was_not_signed(customer: Customer) -> None:
    await customer.pass_by_face()
    old_device, old_token = customer.device, customer.token
    customer.device = Device()
    reply = await customer.open()
    assert reply.attempt == 2
    (void,) = await made(customer, facts.SessionVoided)
    assert (void.attempt, void.reason) == (1, "device_changed")
    view = await customer.view()
    assert (view.attempt, view.verified, view.recording_acknowledged, view.consents) == (2, False, False, {})
    assert await refused(customer, customer.judge(device=old_device, token=old_token)) == "proof_key_changed"
    assert not (await customer.judge()).verified


async def test_I12_after_signing_no_other_device_comes_in_and_nothing_is_voided(customer: Customer) -> None:
    await customer.pass_by_face()
    await customer.hear_until("signed")
    customer_device, customer.device = customer.device, Device()
    assert await refused(customer, customer.open()) == "device_bound"
    assert not await made(customer, facts.SessionVoided)
    customer.device = customer_device
    assert (await customer.open()).attempt == 1


async def test_I12_a_signature_on_its_way_while_another_device_opens_stands_and_its_device_goes_on(
    customer: Customer,
) -> None:
    await customer.pass_by_face()
    signer, signers_token = customer.device, customer.token
    customer.device = Device()
    assert (await customer.open()).attempt == 2
    await customer.judge("act")
    await customer.hear_until("signed")  # in the first session, as was decided while the second was opened
    other, others_token = customer.device, customer.token
    assert await refused(customer, customer.judge("act")) == "device_bound"
    assert await refused(customer, customer.open()) == "device_bound"
    assert await refused(customer, customer.judge("act", device=signer, token=signers_token)) == "session_not_open"

    customer.device = signer
    assert (await customer.open()).attempt == 1
    voids = [(fact.attempt, fact.reason) for fact in await made(customer, facts.SessionVoided)]
    assert voids == [(1, "device_changed"), (2, "device_changed")]
    assert not (await customer.judge("act")).verified, "identity has to be proven again"
    await customer.real_name()
    await customer.face()
    assert (await customer.judge("act")).verified
    assert await refused(customer, customer.judge("act", device=other, token=others_token)) == "proof_key_changed"
    state = await customer.at.service.journeys.state(customer.journey_id)
    assert state.progress.attempt == 1
    assert state.progress.confirmations.consents["privacy"], "what was confirmed before the signature stands"


async def test_an_expired_or_withdrawn_journey_does_not_open(customer: Customer) -> None:
    from contracts.facts.proposal import ProposalWithdrawn

    customer.at.clock.pass_by(days=400)
    assert await refused(customer, customer.open()) == "journey_expired"
    await customer.purchase.tell(ProposalWithdrawn(at=customer.at.clock(), reason="channel_request"))
    assert await refused(customer, customer.open()) == "journey_withdrawn"


async def test_I12_after_two_hours_the_session_is_over(customer: Customer) -> None:
    await customer.pass_by_face()
    customer.at.clock.pass_by(hours=2, seconds=1)
    for _ in range(2):
        assert await refused(customer, customer.judge("act")) == "session_expired"
    (void,) = await made(customer, facts.SessionVoided)
    assert void.reason == "absolute_limit"
    old = customer.token
    assert (await customer.open()).attempt == 2
    assert customer.token != old
    assert await refused(customer, customer.judge(token=old)) == "proof_token"
    assert not (await customer.view()).verified


async def test_I12_what_was_signed_stands_when_the_same_device_comes_back_after_the_limit(customer: Customer) -> None:
    await customer.pass_by_face()
    await customer.hear_until("signed")
    customer.at.clock.pass_by(hours=3)
    old = customer.token
    assert await refused(customer, customer.judge("act")) == "session_expired"
    assert (await customer.open()).attempt == 1
    assert customer.token != old
    assert not (await customer.judge("act")).verified, "identity has to be proven again"
    await customer.real_name()
    await customer.face()
    assert (await customer.judge("act")).verified
    assert (await made(customer, facts.IdentityVerified))[-1].reproof
    state = await customer.at.service.journeys.state(customer.journey_id)
    assert state.progress.signed is not None
    assert state.progress.confirmations.consents["privacy"]


async def test_I12_an_idle_session_must_prove_identity_again_and_keeps_its_confirmations(customer: Customer) -> None:
    await customer.pass_by_face()
    customer.at.clock.pass_by(minutes=9)
    await customer.judge("act")
    customer.at.clock.pass_by(minutes=10)
    await customer.judge("act")
    customer.at.clock.pass_by(minutes=10, seconds=1)
    assert await refused(customer, customer.judge("act")) == "reproof_required"
    assert await refused(customer, customer.judge("read")) == "reproof_required"
    (required,) = await made(customer, facts.ReproofRequired)
    assert required.idle_seconds == 601
    view = await customer.view()
    assert (view.reproof_required, view.verified, view.real_name_matched, view.face) == (True, False, False, "none")
    assert view.consents == {"privacy": "given", "face_consent": "given"}
    assert (await customer.judge("identity")).verified is False
    await customer.real_name()
    assert (await customer.face()).verified
    assert (await customer.judge("act")).verified
    assert [fact.reproof for fact in await made(customer, facts.IdentityVerified)] == [False, True]
    assert (await customer.view()).attempt == 1


async def test_I26_in_elder_mode_the_idle_limit_is_thirty_minutes(customer: Customer) -> None:
    await customer.pass_by_face()
    await customer.act(commands.ChooseMode, {"mode": "elder"})
    assert (await customer.view()).mode == "elder"
    customer.at.clock.pass_by(minutes=30)
    assert (await customer.judge("act")).verified
    customer.at.clock.pass_by(minutes=30, seconds=1)
    assert await refused(customer, customer.judge("act")) == "reproof_required"
    (required,) = await made(customer, facts.ReproofRequired)
    assert required.idle_seconds == 1801


async def test_I26_the_mode_is_chosen_again_at_any_time_and_the_same_decides_nothing(customer: Customer) -> None:
    await customer.open()
    assert (await customer.view()).mode == "standard"
    await customer.act(commands.ChooseMode, {"mode": "standard"})
    for mode in ("elder", "elder", "standard"):
        await customer.act(commands.ChooseMode, {"mode": mode})
        assert (await customer.view()).mode == mode
    assert [fact.mode for fact in await made(customer, facts.ModeChosen)] == ["elder", "standard"]
    assert await refused(customer, customer.act(commands.ChooseMode, {"mode": "dark"})) == "invalid_fields"


async def test_I26_elder_mode_chosen_too_late_hides_no_idle_time(customer: Customer) -> None:
    await customer.pass_by_face()
    customer.at.clock.pass_by(minutes=11)
    await customer.act(commands.ChooseMode, {"mode": "elder"})
    view = await customer.view()
    assert (view.mode, view.reproof_required) == ("elder", True)
    assert await refused(customer, customer.judge("act")) == "reproof_required"


async def test_I26_back_in_the_usual_mode_the_usual_limit_holds(customer: Customer) -> None:
    await customer.pass_by_face()
    await customer.act(commands.ChooseMode, {"mode": "elder"})
    customer.at.clock.pass_by(minutes=20)
    await customer.act(commands.ChooseMode, {"mode": "standard"})
    assert (await customer.judge("act")).verified
    customer.at.clock.pass_by(minutes=10, seconds=1)
    assert await refused(customer, customer.judge("act")) == "reproof_required"


async def test_I12_a_still_page_does_not_keep_a_session_awake(customer: Customer) -> None:
    await customer.pass_by_face()
    for _ in range(2):
        customer.at.clock.pass_by(minutes=5)
        await customer.judge("act", moving=False)
    customer.at.clock.pass_by(seconds=1)
    assert await refused(customer, customer.judge("act", moving=False)) == "reproof_required"


async def test_a_reload_does_not_hide_that_the_session_lay_idle(customer: Customer) -> None:
    await customer.pass_by_face()
    customer.at.clock.pass_by(minutes=11)
    await customer.open()
    assert await refused(customer, customer.judge("act")) == "reproof_required"


async def test_I12_the_clocks_stand_still_while_a_payment_is_open(customer: Customer) -> None:
    await customer.pass_by_face()
    await customer.hear_until("ordered")
    customer.at.clock.pass_by(hours=2, minutes=5)
    assert (await customer.judge("read")).attempt == 1
    order = customer.purchase.progress.order
    assert order is not None
    from contracts.facts.payment import OrderClosed

    await customer.purchase.tell(OrderClosed(at=customer.at.clock(), order_no=order.order_no, reason="cancelled"))
    customer.at.clock.pass_by(minutes=9)
    assert (await customer.judge("read")).attempt == 1
    customer.at.clock.pass_by(minutes=11)
    assert await refused(customer, customer.judge("act")) == "reproof_required"


async def test_activity_makes_no_facts(customer: Customer) -> None:
    await customer.pass_by_face()
    before = len(await customer.at.made(customer.journey_id))
    for _ in range(5):
        customer.at.clock.pass_by(minutes=5)
        await customer.judge("read")
    assert len(await customer.at.made(customer.journey_id)) == before


async def test_I12_who_cannot_prove_again_to_be_the_same_person_voids_the_session(customer: Customer) -> None:
    await customer.pass_by_face()
    customer.at.clock.pass_by(minutes=11)
    assert await refused(customer, customer.judge("act")) == "reproof_required"
    await customer.real_name()
    for _ in range(5):
        assert await refused(customer, customer.face("failed")) == "face_failed"
    (void,) = await made(customer, facts.SessionVoided)
    assert void.reason == "person_changed"
    assert await refused(customer, customer.judge("identity")) == "session_not_open"
    assert (await customer.open()).attempt == 2


# -- notices and consents (I9) -----------------------------------------------------------------------------


async def test_I9_every_consent_is_an_act_of_its_own_in_its_order(house: House) -> None:
    customer = await house.customer()
    await customer.open()
    assert await refused(customer, customer.consent("privacy")) == "recording_not_acknowledged"
    assert await refused(customer, customer.real_name()) == "recording_not_acknowledged"
    await customer.act(commands.AcknowledgeRecording, customer.notice("recording"))
    assert await refused(customer, customer.real_name()) == "consent_missing"
    await customer.consent("privacy")
    await customer.real_name()
    assert await refused(customer, customer.act(commands.StartFace)) == "consent_missing"
    assert [path for path, _ in house.outside.asked] == ["/v1/real-name"], "no face is asked for before its consent"
    await customer.consent("face_consent")
    assert (await customer.face()).verified
    given = await made(customer, facts.ConsentGiven)
    assert [fact.notice.notice for fact in given] == ["privacy", "face_consent"]
    assert len({fact.proof.proof.jws for fact in given}) == 2


async def test_I9_the_consent_to_face_stands_when_the_result_is_taken(customer: Customer) -> None:
    await customer.begin()
    await customer.consent("face_consent")
    await customer.real_name()
    await customer.look("passed")
    await customer.act(commands.DeclineConsent, customer.notice("face_consent"))
    assert await refused(customer, customer.act(commands.FinishFace)) == "consent_missing"
    (declined,) = await made(customer, facts.ConsentDeclined)
    assert declined.withdrawn


async def test_I9_the_text_must_be_the_one_that_was_published(customer: Customer) -> None:
    await customer.open()
    right = customer.notice("recording")
    wrong = [
        right.model_copy(update={"sha256": "0" * 64}),
        right.model_copy(update={"version": "1999"}),
        right.model_copy(update={"notice": "no_such_notice"}),
        customer.notice("privacy"),
    ]
    for notice in wrong:
        assert await refused(customer, customer.act(commands.AcknowledgeRecording, notice)) == "notice_changed"
    await customer.act(commands.AcknowledgeRecording, right)
    for kind in (commands.GiveConsent, commands.DeclineConsent):
        assert await refused(customer, customer.act(kind, right)) == "notice_changed"


async def test_I25_a_consent_is_withdrawn_as_easily_as_given_and_acts_stop(customer: Customer) -> None:
    await customer.pass_by_face()
    await customer.act(commands.DeclineConsent, customer.notice("privacy"))
    assert await refused(customer, customer.judge("act")) == "consent_missing"
    assert (await customer.judge("read")).attempt == 1
    await customer.consent("privacy")
    assert (await customer.judge("act")).verified


async def test_the_bank_card_needs_its_own_consent_and_a_code(customer: Customer) -> None:
    await customer.begin()
    await customer.real_name()
    assert await refused(customer, customer.card()) == "consent_missing"
    await customer.consent("account_check")
    assert await refused(customer, customer.card()) == "otp_not_sent"
    await customer.code("identity")
    assert await refused(customer, customer.card()) == "otp_not_sent", "a code for something else"


# -- the person (I7) ---------------------------------------------------------------------------------------


async def test_I7_only_the_policyholder_is_asked_about(house: House) -> None:
    customer = await house.customer()
    await customer.begin()
    other = person(random.Random(5))
    wrong = ({"name": "欧阳别人"}, {"id_number": other.id_number}, {"name": other.name, "id_number": other.id_number})
    for typed in wrong:
        assert await refused(customer, customer.real_name(**typed)) == "person_mismatch"
    assert await refused(customer, customer.real_name(id_number="110101199001010000")) == "invalid_fields"
    assert house.outside.asked == [], "nobody else's data reaches the platform"
    await customer.real_name(name=f" {customer.purchase.who.name} ", id_number=customer.purchase.who.id_number.lower())


async def test_I7_a_name_the_register_does_not_know_is_refused_with_the_platforms_answer_on_record(
    house: House,
) -> None:
    customer = await house.customer(person(random.Random(3), "张假人"))
    await customer.begin()
    assert await refused(customer, customer.real_name()) == "real_name_failed"
    (checked,) = await made(customer, facts.RealNameChecked)
    assert not checked.matched
    await customer.consent("face_consent", "account_check")
    assert await refused(customer, customer.act(commands.StartFace)) == "real_name_missing"


async def test_I7_the_result_is_the_platforms_own_word(customer: Customer) -> None:
    await customer.begin()
    await customer.consent("face_consent")
    await customer.real_name()
    assert await refused(customer, customer.act(commands.FinishFace)) == "face_not_started"
    await customer.act(commands.StartFace)
    assert await refused(customer, customer.act(commands.FinishFace)) == "face_pending"
    assert await refused(customer, customer.act(commands.FinishFace, {"passed": True})) == "invalid_fields"
    assert not await made(customer, facts.FaceChecked)
    assert await refused(customer, customer.face("failed")) == "face_failed"
    assert await refused(customer, customer.act(commands.FinishFace)) == "face_not_started", "a result serves once"
    assert not (await customer.view()).verified
    assert (await customer.face()).verified


async def test_I7_a_result_older_than_fifteen_minutes_is_not_taken(customer: Customer) -> None:
    await customer.begin()
    await customer.consent("face_consent")
    await customer.real_name()
    await customer.look("passed")
    customer.at.clock.pass_by(minutes=15, seconds=1)
    assert await refused(customer, customer.act(commands.FinishFace)) == "face_failed"
    assert not (await customer.view()).verified


async def test_five_failures_an_hour_and_then_a_pause(customer: Customer) -> None:
    await customer.begin()
    for _ in range(5):
        assert await refused(customer, customer.real_name(name="别的人")) == "person_mismatch"
    with pytest.raises(Refuse) as refusal:
        await customer.real_name()
    assert refusal.value.code == "identity_attempts"
    assert 0 < (refusal.value.problem.retry_after or 0) <= 3601
    customer.at.clock.pass_by(hours=1, seconds=1)
    await customer.real_name()


async def test_I7_a_wrong_card_is_refused_and_needs_a_new_code(customer: Customer) -> None:
    await customer.begin()
    await customer.consent("account_check")
    await customer.real_name()
    await customer.code()
    assert await refused(customer, customer.card("6222020000000000")) == "bank_card_failed"
    assert await refused(customer, customer.card()) == "otp_not_sent"
    customer.at.clock.pass_by(seconds=61)
    await customer.code()
    assert (await customer.card()).verified


async def test_what_is_proven_is_not_proven_twice(customer: Customer) -> None:
    await customer.pass_by_face()
    for coming in (customer.real_name(), customer.act(commands.StartFace), customer.act(commands.FinishFace)):
        assert await refused(customer, coming) == "already_done"


async def test_an_unavailable_platform_loses_nothing(house: House) -> None:
    customer = await house.customer()
    await customer.begin()
    before = await customer.at.made(customer.journey_id)
    house.outside.down = True
    with pytest.raises(Refuse) as refusal:
        await customer.real_name()
    assert (refusal.value.code, refusal.value.kind.status) == ("platform_unavailable", 503)
    assert refusal.value.problem.retry_after
    assert await customer.at.made(customer.journey_id) == before
    house.outside.down = False
    house.outside.fail_once = True
    await customer.real_name()


async def test_a_repeated_act_asks_the_platform_once(house: House) -> None:
    customer = await house.customer()
    await customer.begin()
    who = customer.purchase.who
    body, command_id = {"name": who.name, "id_number": who.id_number}, new_ulid()
    for _ in range(2):
        await customer.act(commands.CheckRealName, body, command_id=command_id)
    assert [path for path, _ in house.outside.asked] == ["/v1/real-name"]


# -- one-time codes ----------------------------------------------------------------------------------------


async def test_a_code_is_for_one_purpose_one_session_and_one_use(customer: Customer) -> None:
    await customer.begin()
    verify = commands.VerifyOtp
    right: dict[str, Any] = {"purpose": "alternative_path", "code": "000000"}
    assert await refused(customer, customer.act(verify, right)) == "otp_not_sent"
    reply = await customer.act(commands.SendOtp, {"purpose": "alternative_path"})
    assert reply.phone_masked == rules.masked_phone(customer.purchase.who.phone)
    code = customer.provider.code
    assert await refused(customer, customer.act(verify, {"purpose": "identity", "code": code})) == "otp_not_sent"
    wrong = f"{(int(code) + 1) % 10**6:06d}"
    assert await refused(customer, customer.act(verify, right | {"code": wrong})) == "otp_wrong"
    command_id = new_ulid()
    await customer.act(verify, right | {"code": code}, command_id=command_id)
    await customer.act(verify, right | {"code": code}, command_id=command_id)
    assert await refused(customer, customer.act(verify, right | {"code": code})) == "otp_not_sent"
    assert len(await made(customer, facts.OtpVerified)) == 1
    customer.at.clock.pass_by(seconds=61)
    await customer.act(commands.SendOtp, {"purpose": "alternative_path"})
    code = customer.provider.code
    customer.device = Device()
    await customer.begin()
    assert await refused(customer, customer.act(verify, right | {"code": code})) == "otp_not_sent"


async def test_a_code_lives_five_minutes_and_bears_five_tries(customer: Customer) -> None:
    await customer.begin()
    body = {"purpose": "alternative_path"}
    await customer.act(commands.SendOtp, body)
    code = customer.provider.code
    wrong = f"{(int(code) + 1) % 10**6:06d}"
    for _ in range(5):
        assert await refused(customer, customer.act(commands.VerifyOtp, body | {"code": wrong})) == "otp_wrong"
    assert await refused(customer, customer.act(commands.VerifyOtp, body | {"code": code})) == "otp_attempts"
    customer.at.clock.pass_by(seconds=60)
    await customer.act(commands.SendOtp, body)
    customer.at.clock.pass_by(minutes=5, seconds=1)
    late = body | {"code": customer.provider.code}
    assert await refused(customer, customer.act(commands.VerifyOtp, late)) == "otp_expired"


async def test_codes_are_not_sent_faster_than_one_a_minute_and_five_an_hour(customer: Customer) -> None:
    await customer.begin()
    send = {"purpose": "alternative_path"}
    command_id = new_ulid()
    first = await customer.act(commands.SendOtp, send, command_id=command_id)
    assert await customer.act(commands.SendOtp, send, command_id=command_id) == first
    with pytest.raises(Refuse) as refusal:
        await customer.act(commands.SendOtp, {"purpose": "identity"})
    assert (refusal.value.code, 0 < (refusal.value.problem.retry_after or 0) <= 61) == ("otp_too_soon", True)
    for _ in range(4):
        customer.at.clock.pass_by(seconds=61)
        await customer.act(commands.SendOtp, send)
    customer.at.clock.pass_by(seconds=61)
    assert await refused(customer, customer.act(commands.SendOtp, send)) == "otp_attempts"
    assert len(customer.provider.sent) == 5


def at_rest(customer: Customer) -> bytes:
    """Every byte the service left on disk."""
    files = [path for path in customer.at.folder.rglob("*") if path.is_file() and "desk" not in path.parts]
    return b"".join(path.read_bytes() for path in files if "platform" not in path.name)


async def test_I24_codes_cards_and_persons_are_nowhere_at_rest_and_in_no_log(
    customer: Customer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    who = customer.purchase.who
    await customer.begin()
    await customer.consent("account_check")
    await customer.real_name()
    await customer.act(commands.SendOtp, {"purpose": "alternative_path"})
    code = customer.provider.code
    await customer.act(commands.VerifyOtp, {"purpose": "alternative_path", "code": code})
    await customer.card()
    document = await customer.at.service.ground.store.collection("codes").get(f"{customer.journey_id}.alternative_path")
    assert document is not None
    plain = {hashlib.sha256(code.encode()).hexdigest(), hashlib.sha512(code.encode()).hexdigest()}
    salted = hashlib.sha256(bytes.fromhex(document.state["salt"]) + code.encode()).hexdigest()
    assert document.state["hash"] not in plain | {salted}, "a salt alone is searched in a moment"
    rest = at_rest(customer)
    log = caplog.text
    for value in (who.name, who.id_number, who.phone, who.card_number, f'"{code}"'):
        assert value.encode() not in rest
        assert value not in log
    assert rules.masked_phone(who.phone).encode() not in rest, "not even the part of it that a reply shows"
    recorded = " ".join(fact.model_dump_json() for fact in await customer.at.made(customer.journey_id))
    for value in (who.name, who.id_number, who.phone, who.card_number, f'"{code}"'):
        assert value not in recorded


async def test_I10_no_image_is_anywhere(house: House) -> None:
    customer = await house.customer()
    await customer.pass_by_face()
    for path, body in house.outside.asked:
        if path.startswith("/v1/face"):
            assert not any(word in body for word in (b"image", b"photo", b"picture", b"base64"))
    (checked,) = await made(customer, facts.FaceChecked)
    assert set(facts.FaceChecked.model_fields) == {
        "at", "passed", "provider_ref", "score_band", "checked_at", "signatory", "proof",
    }  # fmt: skip
    assert checked.passed
    rest = at_rest(customer)
    for trace in (b"\x89PNG\r\n", b"JFIF", b"Exif", b"data:image", b'"image"'):
        assert trace not in rest


# -- the phone and the customer's record -------------------------------------------------------------------


async def test_the_phone_is_not_the_salespersons(house: House) -> None:
    who = person(random.Random(2))
    customer = await house.customer(type(who)(**{**vars_of(who), "phone": "13900001111"}))
    await customer.begin()
    assert await refused(customer, customer.real_name()) == "phone_of_salesperson"
    send = customer.act(commands.SendOtp, {"purpose": "alternative_path"})
    assert await refused(customer, send) == "phone_of_salesperson"
    assert customer.provider.sent == []


def vars_of(who: Any) -> dict[str, Any]:
    return {name: getattr(who, name) for name in ("name", "id_number", "phone", "address", "card_number")}


async def test_a_phone_serves_three_persons_and_each_as_often_as_they_like(house: House) -> None:
    people = [person(random.Random(seed)) for seed in range(40, 44)]
    people = [type(who)(**{**vars_of(who), "phone": "13712345678"}) for who in people]
    for who in (*people[:3], people[0]):
        assert (await (await house.customer(who)).pass_by_face()).verified
    fourth = await house.customer(people[3])
    await fourth.begin()
    assert await refused(fourth, fourth.real_name()) == "phone_shared"
    index = house.at.vault.blind_index("phone", "13712345678")
    found = await house.at.ask(commands.FindCustomers(kind="phone", index=index))
    assert len(found.customers) == 3


async def test_a_person_is_one_customer_over_all_their_journeys(house: House) -> None:
    who = person(random.Random(77))
    first, second = await house.customer(who), await house.customer(who)
    await asyncio.gather(first.pass_by_face(), second.pass_by_card())
    ids = {(await made(customer, facts.IdentityVerified))[0].customer_id for customer in (first, second)}
    assert len(ids) == 1
    for kind, value in (("name", who.name), ("phone", who.phone), ("id_number", who.id_number)):
        index = house.at.vault.blind_index(kind, value)
        (customer,) = (
            await house.at.ask(commands.FindCustomers.model_validate({"kind": kind, "index": index}))
        ).customers
        assert customer.customer_id in ids
        assert set(customer.journeys) == {first.journey_id, second.journey_id}
    nobody = await house.at.ask(commands.FindCustomers(kind="phone", index="0" * 64))
    assert nobody.customers == ()


async def test_nobody_becomes_a_customer_before_they_are_verified(customer: Customer) -> None:
    await customer.begin()
    await customer.real_name()
    index = customer.at.vault.blind_index("id_number", customer.purchase.who.id_number)
    assert (await customer.at.ask(commands.FindCustomers(kind="id_number", index=index))).customers == ()


# -- who is not the customer (I13), help (I27) -------------------------------------------------------------


async def test_I13_a_call_by_anybody_else_is_refused_and_kept(customer: Customer) -> None:
    assert await refused(customer, customer.intrude("confirm_terms")) == "not_the_customer"
    assert await refused(customer, customer.intrude("sign_forms", "staff")) == "not_the_customer"
    assert await refusals(customer) == [
        ("confirm_terms_by_channel", "not_the_customer"),
        ("sign_forms_by_staff", "not_the_customer"),
    ]


async def test_I13_whoever_intrudes_pushes_no_answer_of_the_customers_out(customer: Customer) -> None:
    await customer.begin()
    key, notice = new_ulid(), customer.notice("face_consent")
    first = await customer.act(commands.GiveConsent, notice, command_id=key)
    for _ in range(REMEMBERED_COMMANDS + 1):
        assert await refused(customer, customer.intrude("confirm_terms")) == "not_the_customer"
    assert await customer.act(commands.GiveConsent, notice, command_id=key) == first
    given = [fact for fact in await customer.at.made(customer.journey_id) if isinstance(fact, facts.ConsentGiven)]
    assert len([fact for fact in given if fact.notice.notice == "face_consent"]) == 1


async def test_I13_without_the_device_no_act_is_taken_whoever_speaks_on_the_bus(customer: Customer) -> None:
    await customer.begin()
    acts = [
        (commands.GiveConsent, customer.notice("face_consent")),
        (commands.CheckRealName, {"name": customer.purchase.who.name, "id_number": customer.purchase.who.id_number}),
        (commands.StartFace, None),
        (commands.FinishFace, None),
        (commands.SendOtp, {"purpose": "identity"}),
        (commands.CheckBankCard, {"card_number": customer.purchase.who.card_number}),
        (commands.RequestHelp, {"step": "identity"}),
    ]
    before = await customer.view()
    for kind, body in acts:
        assert await refused(customer, customer.act(kind, body, device=Device())) == "proof_key_changed"
        assert await refused(customer, customer.act(kind, body, token=None)) == "session_not_open"
    assert await customer.view() == before


async def test_I13_a_consent_declined_cannot_be_turned_into_one_given_on_the_way(customer: Customer) -> None:
    await customer.begin()
    declined = await customer.make(commands.DeclineConsent, customer.notice("face_consent"))
    turned = commands.GiveConsent.model_validate(declined.model_dump())
    assert await refused(customer, customer.at.ask(turned)) == "proof_url"
    assert (await customer.view()).consents == {"privacy": "given"}
    await customer.at.ask(declined)
    assert (await customer.view()).consents == {"privacy": "given", "face_consent": "declined"}


async def test_I27_one_tap_reaches_a_human_also_while_identity_is_asked_for_again(customer: Customer) -> None:
    await customer.pass_by_face()
    customer.at.clock.pass_by(minutes=11)
    assert await refused(customer, customer.judge("act")) == "reproof_required"
    offered = await customer.act(commands.RequestHelp, {"step": "reading"})
    assert offered.hotline == "955XX"
    assert offered.hours
    (asked,) = await made(customer, facts.HelpRequested)
    assert asked.step == "reading"
