"""What a payment channel does for us, whoever it is. Each channel is a module of its own beside this file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

from contracts.values import Contract, Fen, Instant, Token
from servicekit.sealed import Sealed

CURRENCY: Final = "CNY"


class ChannelUnavailable(Exception):
    """No usable answer in time. The same call may be made again: every one of them is idempotent."""


class ChannelRefused(Exception):
    """The channel understood and will not do it. ``code`` is the channel's own word."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class NotificationRefused(Exception):
    """A notification that proves nothing. ``code`` is ``notification_invalid`` or ``notification_stale``."""

    def __init__(self, code: Literal["notification_invalid", "notification_stale"]) -> None:
        super().__init__(code)
        self.code: Final = code


@dataclass(frozen=True)
class OrderToPlace:
    """An order with the identity of the one person who may pay it (I14)."""

    order_no: str
    description: str
    total_fen: int
    expires_at: Instant
    payer_name: Sealed[str]
    payer_id_type: str
    payer_id_number: Sealed[str]


@dataclass(frozen=True)
class RefundToMake:
    """All of one payment, back to the account it came from."""

    refund_no: str
    transaction_id: str
    fen: int


class PaymentStatement(Contract):
    """What the channel says of one order."""

    order_no: Token
    state: Literal["unpaid", "payer_refused", "paid", "refunded", "closed"]
    """``refunded``: was paid, and at least part of it went back."""
    transaction_id: Token | None = None
    paid_fen: Fen | None = None
    currency: str = CURRENCY
    paid_at: Instant | None = None


class RefundStatement(Contract):
    """What the channel says of one refund. ``stuck``: it needs a person at the channel's console."""

    refund_no: Token
    state: Literal["processing", "refunded", "stuck"]
    fen: Fen
    refunded_at: Instant | None = None


class Heard(NamedTuple):
    """A statement and the channel's own words it was read from, decrypted, as they came."""

    said: PaymentStatement
    words: bytes


class Notification(NamedTuple):
    """A notification whose signature, age and encryption hold. ``said`` is None for an event that is none of ours."""

    nonce: str
    said: PaymentStatement | RefundStatement | None
    order_no: str | None
    words: bytes


class Channel(Protocol):
    """One payment channel. Calls raise ``ChannelUnavailable`` or ``ChannelRefused`` unless said otherwise."""

    async def open(self) -> None: ...

    async def shut(self) -> None: ...

    async def place(self, order: OrderToPlace) -> str:
        """The address of the channel's own page to pay; for the same order again, one that works."""
        ...

    async def query(self, order_no: str) -> Heard | None:
        """What became of the order; None when the channel never heard of it."""
        ...

    async def close(self, order_no: str) -> Literal["closed", "paid"]:
        """Nobody can pay it any more, or somebody has. An order the channel never heard of is closed."""
        ...

    async def refund(self, refund: RefundToMake) -> RefundStatement: ...

    async def query_refund(self, refund_no: str) -> RefundStatement | None: ...

    async def read_notification(self, headers: Mapping[str, str], body: bytes) -> Notification:
        """Raises ``NotificationRefused``; ``ChannelUnavailable`` when it cannot be judged now."""
        ...
