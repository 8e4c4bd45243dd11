"""Facts of notify: what was sent to the customer (services/notify)."""

from __future__ import annotations

from typing import Literal

from contracts.facts.base import Fact
from contracts.values import Slug, Token


class MessageSent(Fact):
    service = "notify"
    name = "message_sent"

    message_id: Token
    template: Slug
    provider_ref: Token


class MessageFailed(Fact):
    service = "notify"
    name = "message_failed"

    message_id: Token
    template: Slug
    reason: Literal["provider_refused", "provider_unreachable", "shredded"]
