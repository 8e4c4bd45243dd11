"""Facts of payment: real-name premium collection (services/payment)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.facts.base import Attested, Fact, Refusal
from contracts.values import ActProof, Committed, Fen, Instant, PremiumLine, Sha256, Signatory, Slug, Token

RefundReason = Literal[
    "wrong_amount", "too_late", "journey_void", "terms_changed", "duplicate", "not_issued", "staff_request"
]


class OrderPlaced(Attested):
    """The customer ordered the payment: one order, a line for each premium and each tax (I17)."""

    service = "payment"
    name = "order_placed"

    order_no: Token
    channel: Slug
    lines: Annotated[tuple[PremiumLine, ...], Field(min_length=1)]
    total_fen: Annotated[Fen, Field(gt=0)]
    locks: dict[Slug, Sha256]
    payer_name: Committed
    payer_id_number: Committed
    expires_at: Instant
    signatory: Signatory = Signatory()
    proof: ActProof


class OrderAccepted(Fact):
    """The payment channel took the order."""

    service = "payment"
    name = "order_accepted"

    order_no: Token


class PayerRefused(Fact):
    """The channel compared the paying account's holder and refused; no money moved (I14)."""

    service = "payment"
    name = "payer_refused"

    order_no: Token
    notified: Committed


class PaymentConfirmed(Fact):
    """The full amount arrived from the policyholder's own account (I14, I16)."""

    service = "payment"
    name = "payment_confirmed"

    order_no: Token
    transaction_id: Token
    total_fen: Fen
    lines: tuple[PremiumLine, ...]
    locks: dict[Slug, Sha256]
    paid_at: Instant
    heard_by: Literal["notification", "query"]
    receipt: Committed
    """The channel's own words, decrypted, as they came."""


class OrderClosed(Fact):
    """The order ended unpaid, or with money that goes back."""

    service = "payment"
    name = "order_closed"

    order_no: Token
    reason: Literal["cancelled", "expired", "refused_by_channel", "journey_void", "wrong_amount", "terms_changed"]


class RefundRequested(Fact):
    """Money goes back to the account it came from (I14)."""

    service = "payment"
    name = "refund_requested"

    order_no: Token
    refund_no: Token
    transaction_id: Token | None = None
    """Which payment goes back; an order may have been paid twice."""
    fen: Annotated[Fen, Field(gt=0)]
    reason: RefundReason


class Refunded(Fact):
    """The channel paid a refund back to the account the premium came from."""

    service = "payment"
    name = "refunded"

    order_no: Token
    refund_no: Token
    fen: Fen
    refunded_at: Instant


class Refused(Refusal):
    service = "payment"
    name = "refused"
