"""Facts of notify: what was sent to the customer (services/notify)."""

from __future__ import annotations

from typing import Literal

from contracts.facts.base import Fact
from contracts.values import Committed, Slug, Token

FailureReason = Literal["provider_refused", "provider_unreachable", "shredded", "expired", "unfit"]
"""``expired``: the message's own validity (that of a one-time code) was over; ``unfit``: its values did not fill the
template.
"""


class MessageQueued(Fact):
    """A message is to go to the customer. Its words hold codes and links: ``values`` are never shown."""

    service = "notify"
    name = "message_queued"

    message_id: Token
    template: Slug
    phone: Committed
    values: Committed


class MessageSent(Fact):
    """The provider took the message, under a reference of its own; whether it arrived is not known."""

    service = "notify"
    name = "message_sent"

    message_id: Token
    template: Slug
    provider_ref: Token


class MessageFailed(Fact):
    """The message was given up for good and will not be sent."""

    service = "notify"
    name = "message_failed"

    message_id: Token
    template: Slug
    reason: FailureReason
