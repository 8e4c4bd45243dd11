"""Requests to services/notify."""

from __future__ import annotations

from contracts.commands.base import Command
from contracts.values import Committed, Contract, Slug, Token


class SendMessage(Command):
    """An SMS from a template. The phone and the filled-in values stay sealed on the way.

    ``values`` opens to a JSON object of strings, the template's place-holders.
    """

    service = "notify"
    verb = "send"

    template: Slug
    phone: Committed
    values: Committed


class MessageTaken(Contract):
    message_id: Token


SendMessage.reply = MessageTaken
