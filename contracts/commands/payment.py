"""Requests to services/payment."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.commands.base import Act, Command, Query, Request
from contracts.facts.payment import RefundReason
from contracts.values import Contract, Fen, Instant, PremiumLine, Sha256, Slug, Token


class OrderTerms(Contract):
    """What the page showed: the total to the fen and the lock of each product (I17)."""

    total_fen: Annotated[Fen, Field(gt=0)]
    locks: Annotated[dict[Slug, Sha256], Field(min_length=1)]
    channel: Slug = "wechat"


class PlaceOrder(Act):
    service = "payment"
    verb = "place_order"
    arguments = OrderTerms


class OrderToPay(Contract):
    order_no: Token
    pay_url: str
    """The channel's own page; a top-level redirect."""
    total_fen: Fen
    expires_at: Instant


PlaceOrder.reply = OrderToPay


class OrderOnly(Contract):
    order_no: Token


class CancelOrder(Act):
    """Closes an unpaid order at the channel, so that the purchase can still be changed (I5)."""

    service = "payment"
    verb = "cancel_order"
    arguments = OrderOnly


class TakeNotification(Request):
    """A channel's notification as it came: raw bytes and headers. Always taken, stored and answered (I33)."""

    service = "payment"
    verb = "take_notification"

    channel: Slug
    headers: dict[str, str]
    body_base64: Annotated[str, Field(max_length=200_000)]


class NotificationTaken(Contract):
    """The status and body the channel expects for an answer."""

    status: int
    body: str


TakeNotification.reply = NotificationTaken


class RefundOrder(Command):
    service = "payment"
    verb = "refund_order"

    order_no: Token
    reason: RefundReason = "staff_request"


class ViewPayment(Query):
    service = "payment"
    verb = "view"


class PaymentView(Contract):
    state: Literal["none", "placed", "accepted", "paid", "closed", "refunding", "refunded"]
    order_no: Token | None
    pay_url: str | None
    lines: tuple[PremiumLine, ...]
    total_fen: Fen
    expires_at: Instant | None
    paid_at: Instant | None
    payer_refused: bool


ViewPayment.reply = PaymentView


class ReconcileNow(Request):
    """Asks the channel about every order that is overdue; also runs by itself."""

    service = "payment"
    verb = "reconcile"


class Reconciled(Contract):
    ordered_not_paid: tuple[Token, ...]
    paid_not_issued: tuple[Token, ...]


ReconcileNow.reply = Reconciled
