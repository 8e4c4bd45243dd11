"""The gate and the next step, by examples and by properties. A real purchase, told in every order."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.facts import disclosure, identity, issuance, payment, proposal, signing
from contracts.facts.base import Fact
from contracts.facts.issuance import NumberedPolicy
from contracts.values import Attestation, Committed
from deploy.simulator.device import Device
from servicekit.blobs import FileBlobs
from servicekit.vault import MasterKeys, Vault
from services.issuance import rules
from services.issuance.rules import Finish, IssuanceState, Issue, Number, Reject, evolve
from tests.desk import Clock, Desk
from tests.purchase import Purchase, published, purchase

SOURCES = ("proposal", "identity", "disclosure", "signing", "payment")


@pytest.fixture(scope="module")
def bought(tmp_path_factory: pytest.TempPathFactory) -> Purchase:
    """A paid purchase; the order rests on everything before it."""
    folder: Path = tmp_path_factory.mktemp("bought")
    MasterKeys.create(folder / "master.key")
    vault = Vault(FileBlobs(folder / "blobs"), folder / "keys", folder / "master.key")
    service = cast(Any, SimpleNamespace(name="issuance"))
    at = Desk(service, cast(Any, None), vault, Clock(), Device(), folder)

    async def untold(*_: object) -> None: ...

    cast(Any, at).tell = untold
    buyer = asyncio.run(purchase(at, published(folder / "releases")).up_to("paid"))
    heads = Counter(fact.service for fact in buyer.facts if fact.service != "payment")
    buyer.facts = [
        changed(fact, attestation=fact_attestation(fact, dict(heads)))
        if isinstance(fact, payment.OrderPlaced)
        else fact
        for fact in buyer.facts
    ]
    return buyer


def fact_attestation(fact: payment.OrderPlaced, heads: dict[str, int]) -> Attestation:
    return fact.attestation.model_copy(update={"heads": heads})


def changed(fact: Fact, **changes: Any) -> Fact:
    return fact.model_copy(update=changes)


def folded(facts: list[Fact], state: IssuanceState | None = None) -> IssuanceState:
    state = state or IssuanceState()
    for fact in facts:
        heard = {**state.heard, fact.service: state.heard.get(fact.service, 0) + 1}
        state = evolve(state, fact).model_copy(update={"heard": heard})
    return state


def later(fact: Fact) -> datetime:
    return fact.at + timedelta(days=1)


def step_of(facts: list[Fact]) -> rules.Step | None:
    return rules.next_step(folded(facts), later(facts[-1]))


def refusal_of(facts: list[Fact]) -> str:
    step = step_of(facts)
    assert isinstance(step, Reject), step
    return step.code


def replaced(facts: list[Fact], kind: type[Fact], **changes: Any) -> list[Fact]:
    assert any(isinstance(fact, kind) for fact in facts)
    return [changed(fact, **changes) if isinstance(fact, kind) else fact for fact in facts]


def unheaded(facts: list[Fact]) -> list[Fact]:
    """As if the order rested on nothing: for facts taken away on purpose."""
    return [
        changed(fact, attestation=fact_attestation(fact, {})) if isinstance(fact, payment.OrderPlaced) else fact
        for fact in facts
    ]


def without(facts: list[Fact], *kinds: type[Fact]) -> list[Fact]:
    return unheaded([fact for fact in facts if not isinstance(fact, kinds)])


def test_I16_a_paid_journey_is_numbered_product_by_product(bought: Purchase) -> None:
    step = step_of(bought.facts)
    assert isinstance(step, Number)
    assert [terms.product for terms in step.products] == [t.product for t in bought.progress.chosen()]
    assert step_of(bought.facts[:-1]) is None, "not before it is paid"


def test_I16_facts_may_come_in_any_order_between_services(bought: Purchase) -> None:
    queues = {s: [f for f in bought.facts if f.service == s] for s in SOURCES}
    wanted = step_of(bought.facts)

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 2**32))
    def any_order(seed: int) -> None:
        order = [fact.service for fact in bought.facts]
        random.Random(seed).shuffle(order)
        waiting = {source: list(facts) for source, facts in queues.items()}
        told: list[Fact] = [waiting[source].pop(0) for source in order]
        state = IssuanceState()
        for fact in told:
            step = rules.next_step(state, later(fact))
            assert step is None, "nothing is decided before everything is heard"
            assert rules.due(state) is None
            state = folded([fact], state)
        assert rules.next_step(state, later(told[-1])) == wanted
        assert IssuanceState.model_validate(state.model_dump(mode="json")) == state

    any_order()


def test_I17_the_sum_must_be_right_to_the_fen(bought: Purchase) -> None:
    paid = bought.facts[-1]
    assert isinstance(paid, payment.PaymentConfirmed)

    @settings(max_examples=50, deadline=None)
    @given(st.integers(-paid.total_fen, 10_000_00).filter(bool))
    def any_other_sum(by: int) -> None:
        assert refusal_of(replaced(bought.facts, payment.PaymentConfirmed, total_fen=paid.total_fen + by)) == (
            "amount_mismatch"
        )

    any_other_sum()
    swapped = (paid.lines[0].model_copy(update={"fen": paid.lines[1].fen}), *paid.lines[1:])
    assert refusal_of(replaced(bought.facts, payment.PaymentConfirmed, lines=swapped)) == "amount_mismatch"
    # The order and the payment agree, and yet it is not what was confirmed.
    less = tuple(line.model_copy(update={"fen": line.fen // 2}) for line in paid.lines)
    changes = {"lines": less, "total_fen": sum(line.fen for line in less)}
    both = replaced(replaced(bought.facts, payment.PaymentConfirmed, **changes), payment.OrderPlaced, **changes)
    assert refusal_of(both) == "amount_mismatch"
    fewer = replaced(bought.facts, payment.PaymentConfirmed, lines=paid.lines[1:])
    assert refusal_of(fewer) == "amount_mismatch"


def test_I18_terms_that_changed_after_the_confirmation_are_not_issued(bought: Purchase) -> None:
    opened = bought.progress.check_opened()
    first, *others = opened.products
    cover = first.covers[0].model_copy(update={"sum_fen": first.covers[0].sum_fen + 1})
    stranger = Committed(commitment="e" * 64, blob="e" * 64)
    spoiled: list[dict[str, Any]] = [
        {"products": (first.model_copy(update={"covers": (cover, *first.covers[1:])}), *others)},
        {"products": (first.model_copy(update={"premium_fen": first.premium_fen - 1}), *others)},
        {"products": (first.model_copy(update={"period_to": first.period_to + timedelta(days=1)}), *others)},
        {"products": (first.model_copy(update={"lock": "0" * 64}), *others)},
        {"policyholder": opened.policyholder.model_copy(update={"name": stranger})},
        {"subject": {**opened.subject, "vin": stranger}},
    ]
    for changes in spoiled:
        assert refusal_of(replaced(bought.facts, proposal.JourneyOpened, **changes)) == "terms_changed"
    for kind in (payment.PaymentConfirmed, payment.OrderPlaced):
        for locks in ({}, {first.product: first.lock}):
            assert refusal_of(replaced(bought.facts, kind, locks=locks)) == "terms_changed"


def test_I16_every_step_before_the_payment_is_looked_at_again(bought: Purchase) -> None:
    for kinds, code in (
        ((signing.FormsSigned,), "not_signed"),
        ((signing.FormPrepared,), "not_signed"),
        ((proposal.TermsConfirmed, proposal.ProductChosen), "terms_not_confirmed"),
        ((identity.IdentityVerified,), "identity_missing"),
        ((disclosure.DocumentConfirmed,), "reading_incomplete"),
        ((disclosure.PointAcknowledged,), "points_unacknowledged"),
        ((disclosure.NeedsAnswered,), "needs_unanswered"),
        ((payment.OrderPlaced,), "order_unknown"),
        ((proposal.JourneyOpened,), "journey_unknown"),
    ):
        assert refusal_of(without(bought.facts, *kinds)) == code


def test_I1_one_document_of_one_product_is_enough_to_refuse(bought: Purchase) -> None:
    read = [fact for fact in bought.facts if isinstance(fact, disclosure.DocumentConfirmed)]
    for missing in read:
        assert refusal_of(unheaded([f for f in bought.facts if f is not missing])) == "reading_incomplete"


def test_I7_I12_who_signed_must_be_proven_on_that_device_and_in_time(bought: Purchase) -> None:
    signed = bought.progress.signed
    assert signed is not None
    early = replaced(bought.facts, identity.IdentityVerified, valid_until=signed.signed_at - timedelta(seconds=1))
    assert refusal_of(early) == "identity_expired"
    after = replaced(bought.facts, identity.IdentityVerified, at=signed.signed_at + timedelta(minutes=5))
    assert refusal_of(after) == "identity_missing"
    other = signed.proof.model_copy(update={"attempt": 2})
    assert refusal_of(replaced(bought.facts, payment.OrderPlaced, proof=other)) == "proof_key_changed"
    assert refusal_of(replaced(bought.facts, signing.FormsSigned, proof=other)) == "proof_key_changed"


def reviewed(bought: Purchase, asked: datetime, closed: datetime | None) -> list[Fact]:
    """People looked at a writing from ``asked`` on; ``closed``: until then, and it was not taken. Else it is the very
    signature, taken a day later.
    """
    signed = bought.progress.signed
    assert signed is not None
    written = {name: getattr(signed, name) for name in signing.Written.model_fields}
    said = signing.ReviewRequested(at=asked, review_no=1, attempt_no=1, reason="handwriting_unclear", **written)
    more: list[Fact] = [said]
    if closed is not None:
        more.append(signing.ReviewClosed(at=closed, review_no=1, attempt=1, reason="handwriting_unclear"))
    facts = bought.facts if closed is not None else replaced(bought.facts, signing.FormsSigned, at=later(signed))
    place = facts.index(next(fact for fact in facts if isinstance(fact, signing.FormsSigned)))
    return unheaded([*facts[:place], *more, *facts[place:]])


def test_I7_identity_is_valid_longer_by_as_long_as_people_looked_at_earlier_writings(bought: Purchase) -> None:
    signed = bought.progress.signed
    assert signed is not None
    minute = timedelta(minutes=1)
    over = {"at": signed.signed_at - 10 * minute, "valid_until": signed.signed_at - 5 * minute}
    begun = signed.signed_at - 8 * minute

    def judged(asked: datetime, closed: datetime | None) -> rules.Step | None:
        return step_of(replaced(reviewed(bought, asked, closed), identity.IdentityVerified, **over))

    def expired(asked: datetime, closed: datetime | None) -> bool:
        step = judged(asked, closed)
        return isinstance(step, Reject) and step.code == "identity_expired"

    assert isinstance(judged(begun, begun + 5 * minute), Number)
    assert expired(begun, begun + 4 * minute)
    assert expired(begun - 60 * minute, begun - 30 * minute), "before identity was proven"
    assert expired(signed.signed_at, None), "the review the signature came through gives it no time"
    assert isinstance(step_of(reviewed(bought, signed.signed_at, None)), Number)


def test_I12_the_end_of_the_session_after_the_signature_takes_nothing_away(bought: Purchase) -> None:
    ended = identity.SessionVoided(at=bought.facts[-1].at, attempt=1, reason="absolute_limit")
    assert isinstance(step_of([*bought.facts[:-1], ended, bought.facts[-1]]), Number)


def test_a_withdrawn_or_expired_proposal_is_not_issued(bought: Purchase) -> None:
    at = bought.facts[-1].at
    assert refusal_of([*bought.facts, proposal.ProposalExpired(at=at)]) == "journey_expired"
    withdrawn = proposal.ProposalWithdrawn(at=at, reason="channel_request")
    assert refusal_of([*bought.facts, withdrawn]) == "journey_withdrawn"


def test_I16_a_refused_order_is_refused_once_and_another_may_still_be_paid(bought: Purchase) -> None:
    good = bought.facts[-1]
    bad = changed(good, order_no="TBother", transaction_id="4")
    assert refusal_of([*bought.facts[:-1], bad]) == "order_unknown"
    refused = issuance.Refused(at=good.at, command="issue", code="order_unknown", occurrence=1, order_no="TBother")
    assert step_of([*bought.facts[:-1], bad, refused]) is None
    step = step_of([*bought.facts[:-1], bad, refused, good])
    assert isinstance(step, Number)
    assert step.paid == good


def test_I16_money_that_goes_back_is_not_issued_but_a_second_payment_returned_takes_nothing(bought: Purchase) -> None:
    paid = bought.facts[-1]
    assert isinstance(paid, payment.PaymentConfirmed)

    def refund(transaction: str | None) -> payment.RefundRequested:
        return payment.RefundRequested(
            at=paid.at, order_no=paid.order_no, refund_no="R1", transaction_id=transaction, fen=1, reason="duplicate"
        )

    assert step_of([*bought.facts, refund(None)]) is None
    assert step_of([*bought.facts, refund(paid.transaction_id)]) is None
    assert isinstance(step_of([*bought.facts, refund("another")]), Number)


def _numbered(bought: Purchase) -> issuance.PoliciesNumbered:
    return issuance.PoliciesNumbered(
        at=bought.facts[-1].at,
        order_no=bought.progress.order.order_no if bought.progress.order else "",
        policies=tuple(
            NumberedPolicy(product=t.product, policy_no=f"P{i}", lock=t.lock)
            for i, t in enumerate(bought.progress.chosen())
        ),
        attestation=bought.attestation(),
    )


def test_I16_once_numbered_no_further_payment_numbers_again(bought: Purchase) -> None:
    again = changed(bought.facts[-1], order_no="TBagain", transaction_id="5")
    facts = [*bought.facts, _numbered(bought), again]
    step = step_of(facts)
    assert isinstance(step, Issue)
    assert step.policy.policy_no == "P0"


def test_a_stuck_policy_lets_the_others_go_first_and_is_tried_ever_more_rarely(bought: Purchase) -> None:
    numbered = _numbered(bought)
    now = numbered.at
    state = folded([*bought.facts, numbered])
    tries: list[timedelta] = []
    for times in range(1, 21):
        stuck = issuance.Refused(
            at=now, command="issue", code="glyph_missing", occurrence=times, product=numbered.policies[0].product
        )
        state = folded([stuck], state)
        step = rules.next_step(state, now)
        assert isinstance(step, Issue)
        assert step.policy == numbered.policies[1]
        at = state.stuck[numbered.policies[0].product].again_at
        if at is None:
            break
        tries.append(at - now)
        now = at
    assert len(tries) == 19
    assert tries == sorted(tries)
    assert (tries[0], tries[-1]) == (timedelta(hours=1), timedelta(hours=24))


def test_I22_nothing_may_go_before_the_last_day_is_over(bought: Purchase) -> None:
    product = bought.release.products["motor_commercial"]
    until = rules.retain_until(product, datetime(2027, 11, 30, 16, tzinfo=UTC))
    assert until == datetime(2032, 12, 1, 16, tzinfo=UTC), "1 December 2032 is over in Shanghai"


def test_the_end_of_the_journey_comes_when_every_policy_is_out(bought: Purchase) -> None:
    numbered = _numbered(bought)
    state = folded([*bought.facts, numbered])
    for policy in numbered.policies:
        terms = bought.progress.offered(policy.product)
        assert terms is not None
        file = bought.progress.confirmations.forms[policy.product].form
        out = issuance.PolicyIssued(
            at=numbered.at,
            product=policy.product,
            policy_no=policy.policy_no,
            policy=file,
            lock=policy.lock,
            premium_fen=terms.premium_fen,
            taxes_fen=0,
            period_from=terms.period_from,
            period_to=terms.period_to,
            retain_until=terms.period_to,
            payment_confirmed_at=numbered.at,
            channel_id="demo",
            channel_reference=None,
            proposal_no="TB",
        )
        assert isinstance(rules.next_step(state, numbered.at), Issue)
        state = folded([out], state)
    assert isinstance(rules.next_step(state, numbered.at), Finish)
