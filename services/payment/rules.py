"""When money may be asked for, and what becomes of money that arrived. Pure; time and ids come in as arguments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final, Literal

from contracts.commands.payment import OrderTerms
from contracts.facts import issuance, proposal
from contracts.facts import payment as facts
from contracts.facts.base import Fact
from contracts.facts.payment import RefundReason
from contracts.problems import Refuse
from contracts.progress import Progress
from contracts.values import Committed, Contract, Fen, Instant, PremiumLine, Sha256, Slug, Token, sha256_hex
from servicekit.journeys import JourneyState
from services.payment.channels import CURRENCY, PaymentStatement, RefundStatement

Stage = Literal["none", "placed", "accepted", "paid", "closed", "refunding", "refunded"]
CloseReason = Literal["cancelled", "expired", "refused_by_channel", "journey_void", "wrong_amount", "terms_changed"]

_ORDER_NO: Final = re.compile(r"TB([0-9A-HJKMNP-TV-Z]{26})[0-9]{2,4}")


class Order(Contract):
    """One order. At most one of a journey is open."""

    order_no: Token
    channel: Slug
    lines: tuple[PremiumLine, ...]
    total_fen: Fen
    locks: dict[Slug, Sha256]
    payer_name: Committed
    payer_id_number: Committed
    placed_at: Instant
    expires_at: Instant
    accepted: bool = False
    payer_refused: bool = False
    closed: CloseReason | None = None
    transaction_id: Token | None = None
    """Of the payment that was taken for it."""
    paid_at: Instant | None = None
    confirmed_at: Instant | None = None
    numbered: bool = False
    """Policies are numbered for it: the contracts stand, and its money is theirs (I16)."""
    not_issued: Slug | None = None
    """Why issuance will make no policy for it, ever."""

    @property
    def open(self) -> bool:
        return self.closed is None and self.transaction_id is None


class Refund(Contract):
    """Money on its way back, always all of one payment."""

    order_no: Token
    refund_no: Token
    transaction_id: Token
    fen: Fen
    reason: RefundReason
    requested_at: Instant
    refunded_at: Instant | None = None


class PaymentState(JourneyState):
    """What payment knows of a journey: everyone's progress, its orders and refunds, oldest first."""

    progress: Progress = Progress()
    orders: tuple[Order, ...] = ()
    refunds: tuple[Refund, ...] = ()
    ended_at: Instant | None = None

    def order(self, order_no: str) -> Order | None:
        return next((o for o in self.orders if o.order_no == order_no), None)

    @property
    def open_order(self) -> Order | None:
        return next((o for o in self.orders if o.open), None)

    @property
    def paid(self) -> Order | None:
        """The one order whose payment was taken."""
        return next((o for o in self.orders if o.transaction_id is not None), None)

    def refund_of(self, transaction_id: str) -> Refund | None:
        return next((r for r in self.refunds if r.transaction_id == transaction_id), None)

    @property
    def refunds_open(self) -> tuple[Refund, ...]:
        return tuple(r for r in self.refunds if r.refunded_at is None)

    @property
    def kept(self) -> Order | None:
        """The order whose money we hold: paid and not going back."""
        paid = self.paid
        return None if paid is None or self.refund_of(paid.transaction_id or "") is not None else paid

    @property
    def stage(self) -> Stage:
        if self.open_order is not None:
            return "accepted" if self.open_order.accepted else "placed"
        if self.refunds_open:
            return "refunding"
        if self.kept is not None:
            return "paid"
        if self.refunds:
            return "refunded"
        return "closed" if self.orders else "none"


def evolve(state: PaymentState, fact: Fact) -> PaymentState:
    changes: dict[str, object] = {"progress": state.progress.after(fact)}
    match fact:
        case facts.OrderPlaced():
            order = Order(
                order_no=fact.order_no,
                channel=fact.channel,
                lines=fact.lines,
                total_fen=fact.total_fen,
                locks=fact.locks,
                payer_name=fact.payer_name,
                payer_id_number=fact.payer_id_number,
                placed_at=fact.at,
                expires_at=fact.expires_at,
            )
            changes["orders"] = (*state.orders, order)
        case facts.OrderAccepted():
            changes["orders"] = _with_order(state, fact.order_no, accepted=True)
        case facts.PayerRefused():
            changes["orders"] = _with_order(state, fact.order_no, payer_refused=True)
        case facts.OrderClosed():
            changes["orders"] = _with_order(state, fact.order_no, closed=fact.reason)
        case facts.PaymentConfirmed():
            changes["orders"] = _with_order(
                state, fact.order_no, transaction_id=fact.transaction_id, paid_at=fact.paid_at, confirmed_at=fact.at
            )
        case facts.RefundRequested():
            order = state.order(fact.order_no)
            paid = fact.transaction_id or (order.transaction_id if order is not None else None)
            if paid is not None:
                refund = Refund(
                    order_no=fact.order_no,
                    refund_no=fact.refund_no,
                    transaction_id=paid,
                    fen=fact.fen,
                    reason=fact.reason,
                    requested_at=fact.at,
                )
                changes["refunds"] = (*state.refunds, refund)
        case facts.Refunded():
            changes["refunds"] = tuple(
                r.model_copy(update={"refunded_at": fact.refunded_at}) if r.refund_no == fact.refund_no else r
                for r in state.refunds
            )
        case proposal.ProposalWithdrawn() | proposal.ProposalExpired():
            changes["ended_at"] = fact.at
        case issuance.PoliciesNumbered():
            changes["orders"] = _with_order(state, fact.order_no, numbered=True)
        case issuance.Refused() if fact.order_no is not None:
            changes["orders"] = _with_order(state, fact.order_no, not_issued=fact.code)
        case _:
            pass
    return state.model_copy(update=changes)


def _with_order(state: PaymentState, order_no: str, **changes: object) -> tuple[Order, ...]:
    return tuple(o.model_copy(update=changes) if o.order_no == order_no else o for o in state.orders)


# -- order numbers -----------------------------------------------------------------------------------------------


def order_no(journey_id: str, count: int) -> str:
    """The number of a journey's ``count``-th order, the first is 1. Derived, so that placing it again is placing the
    same order.
    """
    return f"TB{journey_id}{count:02d}"


def journey_of(order_no: str) -> str | None:
    """Whose order this is; None for a number that cannot be ours."""
    ours = _ORDER_NO.fullmatch(order_no)
    return None if ours is None else ours[1]


def refund_no(order_no: str, transaction_id: str) -> str:
    """One payment goes back under one number, however often it is asked."""
    return f"R{order_no}-{sha256_hex(transaction_id.encode())[:16]}"


# -- placing -----------------------------------------------------------------------------------------------------


def check_order(
    state: PaymentState, asked: OrderTerms, attempt: int, now: datetime, consents: Iterable[str]
) -> Order | None:
    """This service's own gate before money is asked for (DESIGN §3); the open order if there is one. ``consents``:
    notices of the release without whose consent nothing is paid.

    Raises ``Refuse``. Identity, terms, disclosure and signature each hold in this very device session, and what the
    page showed is what was confirmed, to the fen (I12, I17, I18).
    """
    progress = state.progress
    if now > progress.check_alive().expires_at:
        # Whether or not the fact of its end has come by.
        raise Refuse("journey_expired")
    if state.paid is not None:
        raise Refuse("order_paid")
    progress.check_identity(attempt, now)
    progress.check_confirmed()
    progress.check_disclosed()
    if progress.check_signed().attempt != attempt:
        raise Refuse("not_signed")
    if asked.locks != _locks(progress):
        raise Refuse("terms_changed")
    if asked.total_fen != progress.total_fen():
        raise Refuse("amount_mismatch")
    for notice in consents:
        if progress.confirmations.consents.get(notice) is not True:
            raise Refuse("consent_missing", notice=notice)
    order = state.open_order
    if order is not None and (to_close(state, now) is not None or order.channel != asked.channel):
        # It is being closed at the channel; only then may there be another.
        raise Refuse("order_open", retry_after=2)
    return order


def _locks(progress: Progress) -> dict[str, str]:
    return {terms.product: terms.lock for terms in progress.chosen()}


def check_cancel(state: PaymentState, order_no: str) -> Order:
    order = state.order(order_no)
    if order is None:
        raise Refuse("order_unknown")
    if order.transaction_id is not None:
        raise Refuse("order_paid")
    if not order.open:
        raise Refuse("already_done")
    return order


# -- what the channel says ---------------------------------------------------------------------------------------


def known(state: PaymentState, said: PaymentStatement) -> bool:
    """Whether this payment was dealt with already: nothing is ever done twice for it (I16)."""
    order = state.order(said.order_no)
    if order is None:
        return True
    match said.state:
        case "paid" | "refunded" if said.transaction_id is not None:
            taken = any(o.transaction_id == said.transaction_id for o in state.orders)
            return taken or state.refund_of(said.transaction_id) is not None
        case "payer_refused":
            return order.payer_refused or not order.open
        case "closed":
            return not order.open
        case _:
            return True


def in_full(state: PaymentState, said: PaymentStatement) -> bool:
    order = state.order(said.order_no)
    return order is not None and (said.paid_fen, said.currency) == (order.total_fen, CURRENCY)


def settle(
    state: PaymentState,
    said: PaymentStatement,
    *,
    heard_by: Literal["notification", "query"],
    words: Committed,
    now: datetime,
) -> list[Fact]:
    """What follows from the channel's statement. The full amount for an open order in time is the payment, once; any
    other money goes back to the account it came from (I14, I16). Statements may come in any order, any number of times.
    """
    order = state.order(said.order_no)
    if order is None or known(state, said):
        return []
    match said.state:
        case "payer_refused":
            return [facts.PayerRefused(at=now, order_no=order.order_no, notified=words)]
        case "closed" | "refunded":
            # Refunded by others than us: whatever was paid is gone again.
            return [facts.OrderClosed(at=now, order_no=order.order_no, reason=_why(state, order, now))] * order.open
        case _:
            pass
    assert said.transaction_id is not None
    assert said.paid_fen is not None
    assert said.paid_at is not None
    reason, closed = _fault(state, order, said)
    if reason is None:
        return [
            facts.PaymentConfirmed(
                at=now,
                order_no=order.order_no,
                transaction_id=said.transaction_id,
                total_fen=order.total_fen,
                lines=order.lines,
                locks=order.locks,
                paid_at=said.paid_at,
                heard_by=heard_by,
                receipt=words,
            )
        ]
    made: list[Fact] = []
    if order.open:
        made.append(facts.OrderClosed(at=now, order_no=order.order_no, reason=closed))
    if said.paid_fen:
        made.append(
            facts.RefundRequested(
                at=now,
                order_no=order.order_no,
                refund_no=refund_no(order.order_no, said.transaction_id),
                transaction_id=said.transaction_id,
                fen=said.paid_fen,
                reason=reason,
            )
        )
    return made


def _fault(state: PaymentState, order: Order, said: PaymentStatement) -> tuple[RefundReason | None, CloseReason]:
    """Why this money must go back, and how the order ends by it; None when it is the payment."""
    progress = state.progress
    if state.paid is not None:
        return "duplicate", "expired"
    if progress.ended is not None or progress.opened is None:
        return "journey_void", "journey_void"
    if order.closed is not None or said.paid_at is None or said.paid_at > order.expires_at:
        return "too_late", "expired"
    if not in_full(state, said):
        return "wrong_amount", "wrong_amount"
    if order.locks != _locks(progress):
        return "terms_changed", "terms_changed"
    return None, "expired"


def _why(state: PaymentState, order: Order, now: datetime) -> CloseReason:
    if (void := _void(state, order)) is not None:
        return void
    return "expired" if order.expires_at <= now else "refused_by_channel"


def _void(state: PaymentState, order: Order) -> Literal["journey_void", "terms_changed"] | None:
    """Why nobody should pay the order any more: the journey ended, or a product went while it was placed (I5)."""
    if state.progress.ended is not None:
        return "journey_void"
    return None if order.locks == _locks(state.progress) else "terms_changed"


def to_close(state: PaymentState, now: datetime) -> CloseReason | None:
    """Why the open order must be closed at the channel, if it must."""
    order = state.open_order
    if order is None:
        return None
    return _void(state, order) or ("expired" if order.expires_at <= now else None)


def request_refund(state: PaymentState, order_no: str, reason: RefundReason, now: datetime) -> facts.RefundRequested:
    """The payment taken for the order goes back. Raises ``Refuse``."""
    order = state.order(order_no)
    if order is None:
        raise Refuse("order_unknown")
    if order.transaction_id is None or state.refund_of(order.transaction_id) is not None:
        raise Refuse("nothing_to_refund")
    if state.progress.issued or order.numbered:
        # Covers are in force: the way back is a cancellation of the policies.
        raise Refuse("journey_issued")
    return facts.RefundRequested(
        at=now,
        order_no=order.order_no,
        refund_no=refund_no(order.order_no, order.transaction_id),
        transaction_id=order.transaction_id,
        fen=order.total_fen,
        reason=reason,
    )


def refunded(state: PaymentState, said: RefundStatement, now: datetime) -> list[Fact]:
    refund = next((r for r in state.refunds_open if r.refund_no == said.refund_no), None)
    if refund is None or said.state != "refunded" or said.refunded_at is None or said.fen != refund.fen:
        return []
    return [
        facts.Refunded(
            at=now,
            order_no=refund.order_no,
            refund_no=refund.refund_no,
            fen=refund.fen,
            refunded_at=said.refunded_at,
        )
    ]


# -- what falls due ----------------------------------------------------------------------------------------------


def waits_for_policy(state: PaymentState) -> Order | None:
    """The paid order nobody has made a policy of yet."""
    return None if state.progress.issued else state.kept


def refund_without_policy(
    state: PaymentState, patience: timedelta | None
) -> tuple[datetime, Literal["journey_void", "terms_changed", "not_issued"]] | None:
    """When money that bought nothing goes back by itself, and why; once policies are numbered for it, never.
    ``patience`` is for issuance that says nothing; None waits for people.
    """
    order = waits_for_policy(state)
    if order is None or order.confirmed_at is None or order.numbered:
        return None
    if state.ended_at is not None:
        return max(state.ended_at, order.confirmed_at), "journey_void"
    if order.not_issued is not None:
        return order.confirmed_at, "terms_changed" if order.not_issued == "terms_changed" else "not_issued"
    return None if patience is None else (order.confirmed_at + patience, "not_issued")


def due(state: PaymentState, ask_after: timedelta, patience: timedelta | None) -> datetime | None:
    """When something is to be done for this journey: money on its way back, an order to ask about or to close."""
    times: list[datetime] = [refund.requested_at for refund in state.refunds_open]
    order = state.open_order
    if order is not None:
        times.append(min(order.placed_at + ask_after, order.expires_at))
        if _void(state, order) is not None:
            times.append(state.ended_at or order.placed_at)
    if (back := refund_without_policy(state, patience)) is not None:
        times.append(back[0])
    return min(times, default=None)


def place_in_queue(state: PaymentState) -> Mapping[str, str | int]:
    """What the reconciler searches by: the stage, and since when (Unix seconds); and since when money is owed back."""
    owed = [int(refund.requested_at.timestamp()) for refund in state.refunds_open]
    back: dict[str, str | int] = {"refunding": int(bool(owed)), "refund_since": min(owed, default=0)}
    order = state.open_order or waits_for_policy(state)
    if order is None:
        return {**back, "stage": "quiet", "since": 0}
    if order.open:
        return {**back, "stage": "ordered", "since": int(order.placed_at.timestamp())}
    return {**back, "stage": "unissued", "since": int((order.confirmed_at or order.placed_at).timestamp())}
