"""Payment at its desk: orders, notifications, refunds, and everybody who would like it otherwise."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest

from contracts.commands.evidence import Attest
from contracts.commands.payment import (
    CancelOrder,
    OrderOnly,
    OrderToPay,
    PlaceOrder,
    ReconcileNow,
    RefundOrder,
    TakeNotification,
    ViewPayment,
)
from contracts.facts import issuance, proposal
from contracts.facts import payment as facts
from contracts.facts.identity import ConsentDeclined, ConsentGiven
from contracts.problems import Refuse
from contracts.values import Attestation
from servicekit.bus import BusUnavailable
from servicekit.runner import new_ulid
from servicekit.telemetry.metrics import Metrics
from services.payment import rules
from services.payment.rules import PaymentState
from services.payment.service import Payment
from tests.purchase import purchase

Till = Any


async def refuses(coming: Any) -> str:
    with pytest.raises(Refuse) as refused:
        await coming
    return refused.value.code


# --- ordering -----------------------------------------------------------------------------------------------


async def test_one_order_from_order_to_payment(till: Till) -> None:
    order = await till.order()
    assert order.pay_url.startswith(till.channel)
    placed, accepted = await till.at.made(till.journey)
    assert isinstance(placed, facts.OrderPlaced)
    assert isinstance(accepted, facts.OrderAccepted)
    assert placed.attestation.head == "a" * 64
    assert (await till.pay(order))["result"] == "paid"
    [paid] = await till.until(facts.PaymentConfirmed)
    assert (paid.total_fen, paid.order_no, paid.heard_by) == (order.total_fen, order.order_no, "notification")
    receipt = json.loads(await till.at.vault.open(till.journey, paid.receipt))
    assert receipt["out_trade_no"] == order.order_no
    view = await till.at.ask(ViewPayment(journey_id=till.journey))
    assert (view.state, view.pay_url, view.paid_at) == ("paid", None, paid.paid_at)


async def test_I17_one_order_separate_lines_and_the_sum_to_the_fen(till: Till) -> None:
    progress = till.buyer.progress
    for wrong in (progress.total_fen() - 1, progress.total_fen() + 1):
        assert await refuses(till.order(total_fen=wrong)) == "amount_mismatch"
    order = await till.order()
    placed = (await till.made(facts.OrderPlaced))[0]
    kinds = {(line.product, line.kind) for line in placed.lines}
    assert len(kinds) == len(placed.lines) > len(progress.chosen())
    assert placed.lines == progress.lines()
    assert sum(line.fen for line in placed.lines) == placed.total_fen == order.total_fen == progress.total_fen()


async def test_I9_without_the_consent_to_compare_the_payer_there_is_no_order(till: Till) -> None:
    """Asked for on its own at this very page; withdrawn before the order, it was never given."""
    given = next(f for f in till.buyer.facts if isinstance(f, ConsentGiven))
    declined = ConsentDeclined(at=till.at.clock(), notice=given.notice, withdrawn=True, proof=given.proof)
    await till.buyer.tell(declined)
    assert await refuses(till.order()) == "consent_missing"
    assert not await till.made(facts.OrderPlaced)
    await till.buyer.tell(given)
    await till.order()


async def test_I18_an_order_on_other_terms_is_refused(till: Till) -> None:
    locks = till.terms()["locks"]
    product = next(iter(locks))
    for wrong in ({**locks, product: "0" * 64}, {product: locks[product]}, {**locks, "another": "0" * 64}):
        assert await refuses(till.order(locks=wrong)) == "terms_changed"
    assert not await till.made(facts.OrderPlaced)


@pytest.mark.parametrize(
    ("step", "code"),
    [
        ("session", "identity_missing"),
        ("verified", "terms_not_confirmed"),
        ("confirmed", "needs_unanswered"),
        ("answered", "reading_incomplete"),
        ("forms", "not_signed"),
    ],
)
async def test_each_gate_is_payments_own(till: Till, step: str, code: str) -> None:
    release = till.buyer.release
    till.buyer = purchase(till.at, release)
    await till.buyer.up_to(step)
    locks = {p.product: p.lock for p in till.buyer.progress.check_opened().products}
    assert await refuses(till.order(total_fen=max(1, till.buyer.progress.total_fen()), locks=locks)) == code


async def test_nobody_orders_for_a_journey_never_heard_of(till: Till) -> None:
    body = till.terms()
    assert await refuses(till.at.act(PlaceOrder, new_ulid(), body)) == "journey_unknown"


async def test_I12_signed_on_another_device_is_not_signed_here(till: Till) -> None:
    till.at.attempt = 2
    assert await refuses(till.order()) == "proof_key_changed"


async def test_the_same_order_whoever_asks_again(till: Till) -> None:
    command = new_ulid()
    first = await till.order(command_id=command)
    assert await till.order(command_id=command) == first
    assert await till.order() == first
    both = await asyncio.gather(till.order(), till.order(), till.order())
    assert set(both) == {first}
    assert len(await till.made(facts.OrderPlaced)) == 1


async def test_I33_without_evidence_no_order(till: Till) -> None:
    for code in ("evidence_unavailable", "timestamp_unavailable", "evidence_incomplete"):

        async def down(_: Attest, code: str = code) -> Attestation:
            raise Refuse(code)

        till.at.attest = down
        assert await refuses(till.order()) == code
    assert await till.at.made(till.journey) == []
    till.at.attest = None
    await till.order()


async def test_I33_without_evidence_a_notification_is_taken_all_the_same(till: Till) -> None:
    order = await till.order()

    async def down(_: Attest) -> Attestation:
        raise Refuse("evidence_unavailable")

    till.at.attest = down
    await till.pay(order)
    await till.until(facts.PaymentConfirmed)

    async def answered() -> bool:
        return till.door.answered == [200]

    await till.at.eventually(answered)


async def test_the_order_is_on_record_before_the_channel_hears_of_it(till: Till) -> None:
    await till.outage(status=503)
    command = new_ulid()
    assert await refuses(till.order(command_id=command)) == "channel_unavailable"
    [placed] = await till.made(facts.OrderPlaced)
    assert not await till.made(facts.OrderAccepted)
    await till.back()
    order = await till.order(command_id=command)
    assert order.order_no == placed.order_no
    assert order.pay_url
    assert len(await till.made(facts.OrderPlaced)) == 1


async def test_an_order_the_channel_never_got_is_placed_by_itself(till: Till) -> None:
    await till.outage(status=503)
    assert await refuses(till.order()) == "channel_unavailable"
    await till.back()
    till.at.clock.pass_by(seconds=20)
    await till.until(facts.OrderAccepted)
    assert (await till.at.ask(ViewPayment(journey_id=till.journey))).pay_url


# --- who pays -----------------------------------------------------------------------------------------------


async def test_I14_another_persons_account_is_refused_and_recorded(till: Till) -> None:
    order = await till.order()
    assert await till.pay(order, "李小测", "440308199001010012") == {
        "result": "refused",
        "reason": "identity_mismatch",
    }
    till.at.clock.pass_by(seconds=20)
    await till.until(facts.PayerRefused)
    assert (await till.at.ask(ViewPayment(journey_id=till.journey))).payer_refused
    assert (await till.ledger())["taken_fen"] == 0
    assert (await till.pay(order))["result"] == "paid"
    await till.until(facts.PaymentConfirmed)
    assert len(await till.made(facts.PayerRefused)) == 1


@pytest.mark.parametrize("difference", [-100, 100])
async def test_I14_a_wrong_amount_goes_back(till: Till, difference: int) -> None:
    await till.faults(taken_amount_fen=difference)
    order = await till.order()
    await till.pay(order)
    [back] = await till.until(facts.Refunded)
    assert back.fen == order.total_fen + difference
    [asked] = await till.made(facts.RefundRequested)
    assert asked.reason == "wrong_amount"
    assert not await till.made(facts.PaymentConfirmed)
    ledger = await till.ledger()
    assert ledger["taken_fen"] == ledger["refunded_fen"] == back.fen
    # The purchase is still alive: the right amount buys it.
    await till.faults()
    again = await till.order()
    assert again.order_no != order.order_no
    await till.pay(again)
    await till.until(facts.PaymentConfirmed)


async def test_I14_a_messenger_that_lies_about_the_amount_is_checked_against_the_books(till: Till) -> None:
    await till.faults(notification_amount_fen=-1)
    order = await till.order()
    await till.pay(order)
    [paid] = await till.until(facts.PaymentConfirmed)
    assert (paid.heard_by, paid.total_fen) == ("query", order.total_fen)
    assert not await till.made(facts.RefundRequested)


async def test_I14_money_for_an_expired_order_goes_back(till: Till) -> None:
    order = await till.order()
    till.at.clock.pass_by(minutes=31)
    [closed] = await till.until(facts.OrderClosed)
    assert closed.reason == "expired"
    await till.faults(late=True)
    assert (await till.pay(order))["result"] == "paid"
    await till.until(facts.Refunded)
    assert [r.reason for r in await till.made(facts.RefundRequested)] == ["too_late"]
    assert not await till.made(facts.PaymentConfirmed)


async def test_I14_money_for_a_withdrawn_journey_goes_back(till: Till) -> None:
    order = await till.order()
    await till.buyer.tell(proposal.ProposalWithdrawn(at=till.at.clock(), reason="channel_request"))
    [closed] = await till.until(facts.OrderClosed)
    assert closed.reason == "journey_void"
    assert (await till.pay(order))["reason"] == "order_closed"
    await till.faults(late=True)
    await till.pay(order)
    await till.until(facts.Refunded)
    assert [r.reason for r in await till.made(facts.RefundRequested)] == ["journey_void"]
    assert await refuses(till.order()) == "journey_withdrawn"


async def test_paid_in_time_and_heard_late_is_paid(till: Till) -> None:
    await till.faults(drop=-1)
    order = await till.order()
    await till.pay(order)
    till.at.clock.pass_by(minutes=40)
    [paid] = await till.until(facts.PaymentConfirmed)
    assert paid.heard_by == "query"


# --- exactly once -------------------------------------------------------------------------------------------


async def test_I16_whatever_repeats_is_one_payment(till: Till) -> None:
    await till.faults(duplicate=5, replay=3)
    order = await till.order()
    await till.pay(order)
    await till.until(facts.PaymentConfirmed)
    [headers, body] = till.door.came[0]
    answers = await asyncio.gather(*(till.door.give(headers, body) for _ in range(5)))
    assert {a.status for a in answers} == {401}
    await till.at.ask(ReconcileNow())
    assert len(await till.made(facts.PaymentConfirmed)) == 1
    assert not await till.made(facts.RefundRequested)


async def test_I16_copies_at_the_same_moment(till: Till) -> None:
    order = await till.order()
    transaction = "4200000000000000000000000001"
    fresh = [till.notification(order, transaction_id=transaction) for _ in range(8)]
    same = [fresh[0]] * 8
    answers = await asyncio.gather(*(till.door.give(*n) for n in (*fresh, *same)))
    assert sorted(a.status for a in answers) == [200] * 8 + [401] * 8
    assert len(await till.made(facts.PaymentConfirmed)) == 1


async def test_I14_a_second_payment_of_one_order_goes_back(till: Till) -> None:
    order = await till.order()
    await till.door.give(*till.notification(order, transaction_id="4200000000000000000000000001"))
    await till.door.give(*till.notification(order, transaction_id="4200000000000000000000000002"))
    assert len(await till.made(facts.PaymentConfirmed)) == 1
    [back] = await till.made(facts.RefundRequested)
    assert (back.reason, back.transaction_id) == ("duplicate", "4200000000000000000000000002")
    state = await till.at.service.journeys.state(till.journey)
    assert not state.progress.refunding


async def test_the_record_folded_again_is_the_state(till: Till) -> None:
    order = await till.order()
    await till.pay(order)
    await till.until(facts.PaymentConfirmed)
    state = await till.at.service.journeys.state(till.journey)
    folded = PaymentState()
    for fact in [*till.buyer.facts, *await till.at.made(till.journey)]:
        folded = rules.evolve(folded, fact)
    assert folded.model_dump(exclude={"heard"}) == state.model_dump(exclude={"heard"})


# --- notifications nobody should believe ----------------------------------------------------------------------


async def test_a_forged_notification_is_refused(till: Till) -> None:
    order = await till.order()
    headers, body = till.notification(order)
    stranger = {**headers, "Wechatpay-Serial": "0" * 40}
    for forged, told in (
        (headers, body.replace(b"TRANSACTION", b"TRANSACTI0N")),
        (headers, body + b" "),
        ({**headers, "Wechatpay-Nonce": "another-nonce"}, body),
        ({**headers, "Wechatpay-Signature": "AAAA"}, body),
        ({**headers, "Wechatpay-Signature": "not base64!"}, body),
        ({**headers, "Wechatpay-Timestamp": "1e9"}, body),
        (stranger, body),
        ({}, body),
        (headers, b""),
    ):
        answer = await till.door.give(forged, told)
        assert (answer.status, json.loads(answer.body)["code"]) == (401, "notification_invalid")
    await till.faults(bad_signature=True)
    await till.pay(order)

    async def refused() -> bool:
        return bool(till.door.answered)

    await till.at.eventually(refused)
    assert set(till.door.answered) == {401}
    assert not await till.made(facts.PaymentConfirmed)


@pytest.mark.parametrize("stamped", [0, -301, 301])
async def test_a_notification_out_of_its_time_is_refused(till: Till, stamped: int) -> None:
    order = await till.order()
    moment = stamped and int(till.at.clock().timestamp()) + stamped
    answer = await till.door.give(*till.notification(order, stamped=moment))
    assert (answer.status, json.loads(answer.body)["code"]) == (401, "notification_stale")
    assert not await till.made(facts.PaymentConfirmed)
    edge = int(till.at.clock().timestamp()) + (300 if stamped > 0 else -300)
    assert (await till.door.give(*till.notification(order, stamped=edge))).status == 200


@pytest.mark.parametrize("changes", [{"mchid": "1900000002"}, {"appid": "wx0"}, {"amount": {}}, {"success_time": None}])
async def test_a_notification_for_another_merchant_or_without_sense_is_refused(
    till: Till, changes: dict[str, Any]
) -> None:
    order = await till.order()
    answer = await till.door.give(*till.notification(order, **changes))
    assert json.loads(answer.body)["code"] == "notification_invalid"
    assert not await till.made(facts.PaymentConfirmed)


async def test_a_notification_sealed_with_another_key_is_refused(till: Till) -> None:
    order = await till.order()
    sealed = till.keys.encrypted(b"{}", "transaction") | {"nonce": "000000000000"}
    answer = await till.door.give(*till.notification(order, resource=sealed))
    assert answer.status == 401


@pytest.mark.parametrize("number", ["TB" + "0" * 28, "SOMETHING-ELSE"])
async def test_an_order_that_is_not_ours_is_stored_and_believed_by_nobody(till: Till, number: str) -> None:
    order = await till.order()
    notification = till.notification(order, out_trade_no=number)
    assert (await till.door.give(*notification)).status == 200
    assert (await till.door.give(*notification)).status == 401
    assert not await till.made(facts.PaymentConfirmed)


async def test_a_foreign_currency_is_not_the_premium(till: Till) -> None:
    order = await till.order()
    amount = {"total": order.total_fen, "currency": "JPY"}
    await till.door.give(*till.notification(order, amount=amount))
    assert not await till.made(facts.PaymentConfirmed)


async def test_the_nonce_is_remembered_after_a_restart(till: Till) -> None:
    order = await till.order()
    notification = till.notification(order)
    assert (await till.door.give(*notification)).status == 200
    ground = till.at.service.ground
    again = Payment(replace(ground, metrics=Metrics("payment", "1.0.0")))
    await again.open()
    try:
        headers, body = notification
        request = TakeNotification(channel="wechat", headers=headers, body_base64=b64encode(body).decode())
        answer = await again.take_notification(request)
    finally:
        await again.close()
    assert (answer.status, json.loads(answer.body)["code"]) == (401, "notification_replayed")


async def test_what_was_taken_is_settled_after_a_crash(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    order = await till.order()
    service = till.at.service

    async def dies(_: Any) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(service, "_settle_notification", dies)
    assert (await till.door.give(*till.notification(order))).status == 200
    assert not await till.made(facts.PaymentConfirmed)
    monkeypatch.undo()
    till.at.clock.pass_by(seconds=10)
    await till.until(facts.PaymentConfirmed)


async def test_notifications_are_forgotten_when_their_time_is_long_over(till: Till) -> None:
    order = await till.order()
    await till.door.give(*till.notification(order))
    service = till.at.service
    assert await service.notifications.count() == 1
    till.at.clock.pass_by(days=31)

    async def gone() -> bool:
        return await service.notifications.count() == 0

    await till.at.eventually(gone)


# --- cancelling and giving back -------------------------------------------------------------------------------


async def test_a_cancelled_order_cannot_be_paid_and_another_may_be_placed(till: Till) -> None:
    order = await till.order()
    await till.at.act(CancelOrder, till.journey, OrderOnly(order_no=order.order_no))
    assert (await till.pay(order))["reason"] == "order_closed"
    cancel = till.at.act(CancelOrder, till.journey, OrderOnly(order_no=order.order_no))
    assert await refuses(cancel) == "already_done"
    again = await till.order()
    assert again.order_no != order.order_no
    await till.pay(again)
    await till.until(facts.PaymentConfirmed)


async def test_a_cancellation_that_comes_too_late_takes_the_payment(till: Till) -> None:
    await till.faults(drop=-1)
    order = await till.order()
    await till.pay(order)
    cancel = till.at.act(CancelOrder, till.journey, OrderOnly(order_no=order.order_no))
    assert await refuses(cancel) == "order_paid"
    [paid] = await till.made(facts.PaymentConfirmed)
    assert paid.heard_by == "query"


async def test_an_unknown_order_is_not_cancelled(till: Till) -> None:
    assert await refuses(till.at.act(CancelOrder, till.journey, OrderOnly(order_no="TB0"))) == "order_unknown"


async def test_a_refund_goes_once_and_all_the_way(till: Till) -> None:
    order = await till.order()
    ask = RefundOrder(command_id=new_ulid(), journey_id=till.journey, order_no=order.order_no)
    assert await refuses(till.at.ask(ask)) == "nothing_to_refund"
    await till.pay(order)
    await till.until(facts.PaymentConfirmed)
    await till.at.ask(ask.model_copy(update={"command_id": new_ulid()}))
    assert await refuses(till.at.ask(ask.model_copy(update={"command_id": new_ulid()}))) == "nothing_to_refund"
    await till.until(facts.Refunded)
    ledger = await till.ledger()
    assert ledger["taken_fen"] == ledger["refunded_fen"] == order.total_fen
    assert (await till.at.ask(ViewPayment(journey_id=till.journey))).state == "refunded"
    assert (await till.at.service.journeys.state(till.journey)).progress.refunding
    assert await refuses(till.order()) == "order_paid"


async def test_money_on_its_way_back_is_seen_until_it_arrived(till: Till) -> None:
    order = await till.order()
    await till.pay(order)
    await till.until(facts.PaymentConfirmed)
    await till.outage(status=503)
    await till.at.ask(RefundOrder(command_id=new_ulid(), journey_id=till.journey, order_no=order.order_no))
    service = till.at.service
    value = service.metrics.registry.get_sample_value

    async def failed() -> bool:
        return value("toubao_outside_calls_total", {"party": "wechat", "outcome": "failed"}) >= 1

    await till.at.eventually(failed)
    till.at.clock.pass_by(minutes=2)
    await service.swept()
    assert value("toubao_refunds_owed") == 1
    assert value("toubao_refunds_owed_oldest_seconds") >= 120
    await till.back()
    await till.until(facts.Refunded)
    await service.swept()
    assert value("toubao_refunds_owed") == 0
    assert value("toubao_refunds_owed_oldest_seconds") == 0


# --- reconciling ----------------------------------------------------------------------------------------------


async def test_ordered_not_paid_is_asked_about(till: Till) -> None:
    await till.faults(drop=-1)
    order = await till.order()
    assert (await till.at.ask(ReconcileNow())).ordered_not_paid == ()
    till.at.clock.pass_by(seconds=20)
    assert (await till.at.ask(ReconcileNow())).ordered_not_paid == (order.order_no,)
    await till.pay(order)
    left = await till.at.ask(ReconcileNow())
    assert left.ordered_not_paid == ()
    assert left.paid_not_issued == (order.order_no,)
    assert len(await till.made(facts.PaymentConfirmed)) == 1


async def test_paid_not_issued_is_seen_until_it_is_issued(till: Till) -> None:
    order = await till.order()
    await till.pay(order)
    await till.until(facts.PaymentConfirmed)
    till.at.clock.pass_by(seconds=90)
    registry = till.at.service.metrics.registry
    await till.at.service.swept()
    assert registry.get_sample_value("toubao_paid_not_issued_oldest_seconds") >= 90
    await till.at.tell(
        till.journey,
        issuance.JourneyIssued(
            at=till.at.clock(), policies=("P1",), products=("mtpl",), channel_id="demo", customer_id=new_ulid()
        ),
    )
    await till.at.service.swept()
    assert registry.get_sample_value("toubao_paid_not_issued_oldest_seconds") == 0
    assert registry.get_sample_value("toubao_paid_not_issued") == 0
    assert (await till.at.ask(ReconcileNow())).paid_not_issued == ()


async def test_I14_paid_and_then_withdrawn_goes_back_on_issuances_word_that_no_policy_comes(till: Till) -> None:
    order = await paid(till)
    await till.buyer.tell(proposal.ProposalWithdrawn(at=till.at.clock(), reason="channel_request"))
    await till.until(facts.Refunded)
    assert till.issuance.renounced == [order.order_no]
    assert [r.reason for r in await till.made(facts.RefundRequested)] == ["journey_void"]


async def test_I16_money_of_numbered_policies_stays_whoever_wants_it_back(till: Till) -> None:
    """Heard of or not: issuance had just numbered when the withdrawal and a refund by staff came."""
    order = await paid(till)
    till.issuance.numbered = True
    await till.buyer.tell(proposal.ProposalWithdrawn(at=till.at.clock(), reason="channel_request"))
    ask = RefundOrder(command_id=new_ulid(), journey_id=till.journey, order_no=order.order_no)
    assert await refuses(till.at.ask(ask)) == "journey_issued"
    await till.at.tell(till.journey, numbered(till, order.order_no))
    till.issuance.numbered = False
    till.at.clock.pass_by(hours=2)
    state = await till.at.service.journeys.state(till.journey)
    assert till.at.service.due(state) is None
    again = ask.model_copy(update={"command_id": new_ulid()})
    assert await refuses(till.at.ask(again)) == "journey_issued"
    assert not await till.made(facts.RefundRequested)


async def test_I14_what_issuance_refused_for_good_goes_back_by_itself(till: Till) -> None:
    order = await paid(till)
    await till.at.tell(
        till.journey,
        issuance.Refused(
            at=till.at.clock(), command="issue", code="terms_changed", occurrence=1, order_no=order.order_no
        ),
    )
    await till.until(facts.Refunded)
    assert [r.reason for r in await till.made(facts.RefundRequested)] == ["terms_changed"]
    assert till.issuance.renounced == [], "it has given its word already"


async def test_no_order_after_the_journeys_time_though_nobody_said_it_ended(till: Till) -> None:
    till.at.clock.pass_by(hours=72, seconds=1)
    assert await refuses(till.order()) == "journey_expired"
    assert not await till.made(facts.OrderPlaced)


async def test_I5_a_product_dropped_while_the_order_was_placed_closes_the_order(till: Till) -> None:
    order = await till.order()
    extra = next(terms.product for terms in till.buyer.progress.chosen() if terms.optional)
    dropped = proposal.ProductDropped(at=till.at.clock(), product=extra, proof=await till.buyer.proof())
    await till.buyer.tell(dropped)
    (closed,) = await till.until(facts.OrderClosed)
    assert (closed.order_no, closed.reason) == (order.order_no, "terms_changed")
    assert (await till.pay(order))["reason"] == "order_closed"
    less = await till.order()
    assert less.order_no != order.order_no
    assert less.total_fen < order.total_fen
    await till.pay(less)
    await till.until(facts.PaymentConfirmed)


async def test_without_issuance_money_waits(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    order = await paid(till)

    async def nobody(*_: Any) -> None:
        raise BusUnavailable

    monkeypatch.setattr(till.at.service, "_renounced", nobody)
    ask = RefundOrder(command_id=new_ulid(), journey_id=till.journey, order_no=order.order_no)
    assert await refuses(till.at.ask(ask)) == "unavailable"
    assert not await till.made(facts.RefundRequested)
    monkeypatch.undo()
    await till.at.ask(ask)
    await till.until(facts.Refunded)


async def paid(till: Till) -> OrderToPay:
    order = await till.order()
    await till.pay(order)
    await till.until(facts.PaymentConfirmed)
    return order


def numbered(till: Till, order_no: str) -> issuance.PoliciesNumbered:
    policy = issuance.NumberedPolicy(product="mtpl", policy_no="P1", lock="a" * 64)
    attestation = till.buyer.attestation()
    return issuance.PoliciesNumbered(at=till.at.clock(), order_no=order_no, policies=(policy,), attestation=attestation)
