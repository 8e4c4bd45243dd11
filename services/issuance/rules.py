"""When policies may be numbered, what is to be done next, and what a policy says. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

from contracts.facts import identity, issuance, payment
from contracts.facts.base import Fact
from contracts.facts.identity import IdentityVerified
from contracts.facts.issuance import NumberedPolicy, PoliciesNumbered, PolicyIssued
from contracts.facts.payment import OrderPlaced, PaymentConfirmed
from contracts.facts.proposal import ProductTerms, terms_lock
from contracts.facts.signing import FormsSigned
from contracts.problems import Refuse
from contracts.progress import Progress
from contracts.values import Contract, PremiumLine, Slug
from products import Product
from servicekit.journeys import REFUSALS_KEPT, JourneyState

PAPER: Final = ZoneInfo("Asia/Shanghai")
HEARS: Final = ("proposal", "identity", "disclosure", "signing", "payment")
CLOCKS_APART: Final = timedelta(minutes=1)
"""How far the clocks of two machines of ours may differ."""
ISSUE: Final = "issue"
"""What refusals name as the command: nobody asks, the service decides by itself."""


class Stuck(Contract):
    """A policy that cannot be drawn as it is: since when, why, how often it was tried."""

    code: Slug
    at: datetime
    times: int

    @property
    def again_at(self) -> datetime | None:
        """Fonts may have been added: an hour later, then at growing intervals, in the end no more."""
        if self.times >= REFUSALS_KEPT:
            return None
        return self.at + min(timedelta(hours=24), timedelta(hours=2 ** (self.times - 1)))


class IssuanceState(JourneyState):
    progress: Progress = Progress()
    proven: dict[int, tuple[IdentityVerified, ...]] = {}
    """By device session; what was signed stands on it even after the session's end."""
    orders: dict[str, OrderPlaced] = {}
    payments: tuple[PaymentConfirmed, ...] = ()
    returned: tuple[tuple[str, str | None], ...] = ()
    """Orders whose money goes back, with the transaction where it is named."""
    refused: dict[str, Slug] = {}
    """Orders that may not be issued, and why."""
    numbered: PoliciesNumbered | None = None
    policies: dict[str, PolicyIssued] = {}
    stuck: dict[str, Stuck] = {}
    done: bool = False


def evolve(state: IssuanceState, fact: Fact) -> IssuanceState:
    changes: dict[str, object] = {"progress": state.progress.after(fact)}
    match fact:
        case identity.IdentityVerified():
            changes["proven"] = {**state.proven, fact.attempt: (*state.proven.get(fact.attempt, ()), fact)}
        case payment.OrderPlaced():
            changes["orders"] = {**state.orders, fact.order_no: fact}
        case payment.PaymentConfirmed():
            if all(p.order_no != fact.order_no for p in state.payments):
                changes["payments"] = (*state.payments, fact)
        case payment.RefundRequested():
            changes["returned"] = (*state.returned, (fact.order_no, fact.transaction_id))
        case issuance.PoliciesNumbered():
            changes["numbered"] = fact
        case issuance.PolicyIssued():
            changes["policies"] = {**state.policies, fact.product: fact}
            changes["stuck"] = {product: why for product, why in state.stuck.items() if product != fact.product}
        case issuance.JourneyIssued():
            changes["done"] = True
        case issuance.Refused():
            if fact.product is not None:
                why = Stuck(code=fact.code, at=fact.at, times=fact.occurrence)
                changes["stuck"] = {**state.stuck, fact.product: why}
            elif fact.order_no is not None:
                changes["refused"] = {**state.refused, fact.order_no: fact.code}
        case _:
            pass
    return state.model_copy(update=changes)


# -- what is to be done next -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reject:
    """The order may not be issued; say so once."""

    paid: PaymentConfirmed
    code: str


@dataclass(frozen=True, slots=True)
class Number:
    paid: PaymentConfirmed
    products: tuple[ProductTerms, ...]


@dataclass(frozen=True, slots=True)
class Issue:
    policy: NumberedPolicy


@dataclass(frozen=True, slots=True)
class Finish:
    """Every policy is out."""


Step = Reject | Number | Issue | Finish


def due(state: IssuanceState) -> datetime | None:
    """Since when there is something to do; None while a fact must come first or nothing is left."""
    if state.done:
        return None
    if state.numbered is None:
        step = _payment_step(state)
        return None if step is None else step.paid.at
    waiting = _unissued(state)
    if not waiting:
        return state.numbered.at
    moments = [at for policy in waiting if (at := _ready_at(state, policy)) is not None]
    return min(moments, default=None)


def next_step(state: IssuanceState, now: datetime) -> Step | None:
    if state.done:
        return None
    if state.numbered is None:
        return _payment_step(state)
    waiting = _unissued(state)
    if not waiting:
        return Finish()
    for policy in waiting:
        at = _ready_at(state, policy)
        if at is not None and at <= now:
            return Issue(policy)
    return None


def _unissued(state: IssuanceState) -> tuple[NumberedPolicy, ...]:
    assert state.numbered is not None
    return tuple(policy for policy in state.numbered.policies if policy.product not in state.policies)


def _ready_at(state: IssuanceState, policy: NumberedPolicy) -> datetime | None:
    assert state.numbered is not None
    stuck = state.stuck.get(policy.product)
    return state.numbered.at if stuck is None else stuck.again_at


def _payment_step(state: IssuanceState) -> Reject | Number | None:
    """Looks at the first payment nobody has spoken on. None: nothing paid, or facts still on their way."""
    for paid in state.payments:
        if paid.order_no in state.refused or _returned(state, paid):
            continue
        if not _heard(state, paid):
            return None
        try:
            products = check_issuable(state, paid)
        except Refuse as refusal:
            return Reject(paid, refusal.code)
        if any(terms.product not in state.progress.sealed for terms in products):
            return None
        return Number(paid, products)
    return None


def _returned(state: IssuanceState, paid: PaymentConfirmed) -> bool:
    return any(order == paid.order_no and which in (None, paid.transaction_id) for order, which in state.returned)


def _heard(state: IssuanceState, paid: PaymentConfirmed) -> bool:
    """Whether everything the order rests on has arrived here: the bus promises no order between services, so that
    what is missing may only be late.
    """
    order = state.orders.get(paid.order_no)
    heads = {} if order is None else order.attestation.heads
    return all(state.heard.get(source, 0) >= at for source, at in heads.items() if source in HEARS)


# -- the gate --------------------------------------------------------------------------------------------------


def check_issuable(state: IssuanceState, paid: PaymentConfirmed) -> tuple[ProductTerms, ...]:
    """The products to issue for this payment.

    Raises ``Refuse`` unless the full amount came for exactly the terms that the same person, proven, read,
    confirmed and signed on one device (I1, I7, I12, I16, I17, I18).
    """
    order = state.orders.get(paid.order_no)
    if order is None:
        raise Refuse("order_unknown")
    signed = state.progress.signed
    if signed is None:
        state.progress.check_alive()
        raise Refuse("not_signed")
    # What the act of signing stands on, whatever became of the session since.
    progress = state.progress.model_copy(update={"attempt": signed.attempt})
    progress.check_alive()
    _check_identity(state, signed)
    if not signed.attempt == signed.proof.attempt == order.proof.attempt:
        raise Refuse("proof_key_changed")
    progress.check_confirmed()
    progress.check_disclosed()
    progress.check_signed()
    products = progress.chosen()
    if not products:
        raise Refuse("terms_not_confirmed")
    opened = progress.check_opened()
    fresh = {t.product: terms_lock(opened.policyholder, opened.insured, opened.subject, t) for t in products}
    if not paid.locks == order.locks == fresh:
        raise Refuse("terms_changed")
    lines = _sorted(progress.lines())
    if not _sorted(paid.lines) == _sorted(order.lines) == lines:
        raise Refuse("amount_mismatch")
    if not paid.total_fen == order.total_fen == sum(line.fen for line in lines) == progress.total_fen():
        raise Refuse("amount_mismatch")
    return products


def _check_identity(state: IssuanceState, signed: FormsSigned) -> None:
    proven = [v for v in state.proven.get(signed.attempt, ()) if v.at <= signed.signed_at + CLOCKS_APART]
    if not proven:
        raise Refuse("identity_missing")
    # By when the customer acted: the review this very signature came through is later and gives no time.
    if not any(state.progress.still_valid(v, signed.signed_at) for v in proven):
        raise Refuse("identity_expired")


def _sorted(lines: tuple[PremiumLine, ...]) -> list[PremiumLine]:
    return sorted(lines, key=lambda line: (line.product, line.kind, line.fen))


def check_renounced(state: IssuanceState, order_no: str) -> bool:
    """Whether giving the order up is news. Of each order issuance speaks once: it is numbered, or it never will be.

    Raises ``Refuse("journey_issued")``.
    """
    if state.numbered is not None and state.numbered.order_no == order_no:
        raise Refuse("journey_issued")
    return order_no not in state.refused


# -- what follows from an issued policy --------------------------------------------------------------------------


def retain_until(product: Product, ends: datetime) -> datetime:
    """The moment before which nothing may be deleted (I22): the contract's end, then the years of the product's
    class, then the end of that day in Asia/Shanghai.
    """
    last = product.retention.keep_until(ends.astimezone(PAPER).date())
    return datetime.combine(last + timedelta(days=1), time(), PAPER).astimezone(UTC)


def issued_of(state: IssuanceState, policy: NumberedPolicy) -> tuple[ProductTerms, PaymentConfirmed]:
    """What one policy is issued on. Raises ``Refuse`` for terms that are no longer those that were numbered (I18)."""
    assert state.numbered is not None
    opened = state.progress.check_opened()
    terms = state.progress.offered(policy.product)
    if terms is None or terms_lock(opened.policyholder, opened.insured, opened.subject, terms) != policy.lock:
        raise Refuse("terms_changed", product=policy.product)
    paid = next(p for p in state.payments if p.order_no == state.numbered.order_no)
    return terms, paid


def applied_at(state: IssuanceState) -> datetime:
    """投保确认时间: the moment of the signature."""
    assert state.progress.signed is not None
    return state.progress.signed.signed_at


def customer_of(state: IssuanceState) -> str:
    """The insurer's record of the person who signed."""
    assert state.progress.signed is not None
    return state.proven[state.progress.signed.attempt][-1].customer_id


def stage(state: IssuanceState) -> Literal["none", "waiting", "issuing", "issued"]:
    if state.done:
        return "issued"
    if state.numbered is not None:
        return "issuing"
    return "waiting" if state.payments else "none"


def problem_of(state: IssuanceState) -> str | None:
    """Why a paid journey does not move, for people."""
    if state.numbered is not None:
        return next((why.code for why in state.stuck.values()), None)
    if any(paid.order_no not in state.refused for paid in state.payments):
        return None
    return state.refused[state.payments[-1].order_no] if state.payments else None
