"""Notify's handlers: bus in, rules, provider out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

from prometheus_client import Counter
from pydantic import Field

from contracts.commands.base import Command
from contracts.commands.notify import MessageTaken, SendMessage
from contracts.facts.base import Fact
from contracts.facts.notify import FailureReason, MessageFailed, MessageQueued, MessageSent
from contracts.problems import FieldFault, Refuse
from contracts.values import canonical_json, sha256_hex
from servicekit.service import Decided, Ground, Service, answers
from servicekit.settings import Settings
from servicekit.vault import Shredded, Unopenable
from services.notify import rules
from services.notify.provider import Provider, Refused, TooLate, Unreachable
from services.notify.rules import NotifyState
from services.notify.templates import Templates, Unfit, load_templates


class NotifySettings(Settings):
    service: ClassVar[str] = "notify"

    notify_sms_url: str
    notify_sms_client_id: str = "toubao"
    notify_sms_key_file: Path
    """The key shared with the provider: the file's bytes, without white space around them."""
    notify_patience_minutes: float = Field(default=60, gt=0)
    """A message that could not be sent for so long is given up."""


class Notify(Service[NotifyState, NotifySettings]):
    name = "notify"
    state = NotifyState
    settings = NotifySettings

    def __init__(self, ground: Ground[NotifySettings]) -> None:
        super().__init__(ground)
        self.templates: Templates = {}
        self.patience = timedelta(minutes=self.set.notify_patience_minutes)
        self.messages = Counter(
            "toubao_notify_messages_total",
            "Messages settled, by template and what became of them.",
            ("template", "outcome"),
            registry=ground.metrics.registry,
        )

    async def open(self) -> None:
        # Fails at the start rather than at the first customer.
        self.templates = load_templates()
        key = await asyncio.to_thread(self.set.notify_sms_key_file.read_bytes)
        self.provider = Provider(
            self.set.notify_sms_url,
            self.set.notify_sms_client_id,
            key.strip(),
            self.now,
            self.metrics.outside("sms"),
        )
        await self.provider.open()

    async def close(self) -> None:
        await self.provider.close()

    def evolve(self, state: NotifyState, fact: Fact) -> NotifyState:
        return rules.evolve(state, fact)

    def due(self, state: NotifyState) -> datetime | None:
        return rules.due(state)

    async def digest_of(self, command: Command) -> str:
        # Whoever asks again after a lost answer seals the same values anew, under another commitment.
        asked = command.model_dump(mode="json", include={"template", "phone"})
        return sha256_hex(canonical_json({"verb": command.verb, **asked}))

    @answers(SendMessage)
    async def send(self, command: SendMessage, state: NotifyState) -> Decided:
        if command.template not in self.templates:
            raise Refuse(
                "invalid_fields",
                errors=(FieldFault(pointer="/template", code="unknown", detail="没有这个短信模板。"),),
            )
        for sealed in (command.phone, command.values):
            try:
                await self.vault.open(command.journey_id, sealed)
            except Shredded:
                break  # taken, and put on record as not sent
            except Unopenable:
                # Sealed before it was asked for, or by nobody who may ask.
                raise Refuse("malformed") from None
        message_id = rules.message_id(command.journey_id, command.command_id)
        reply = MessageTaken(message_id=message_id)
        if rules.known(state, message_id):
            return Decided(reply=reply)
        queued = MessageQueued(
            at=self.now(),
            message_id=message_id,
            template=command.template,
            phone=command.phone,
            values=command.values,
        )
        return Decided([queued], reply)

    async def work(self, journey_id: str, state: NotifyState) -> None:
        """Sends what waits. One message that cannot go does not hold back the next."""
        held: Exception | None = None
        for queued in state.waiting.values():
            try:
                settled = await self._settle(journey_id, queued)
            except (Unreachable, Unopenable) as error:
                held = error
                continue
            if await self._keep(journey_id, settled):
                outcome = settled.reason if isinstance(settled, MessageFailed) else "sent"
                self.messages.labels(queued.template, outcome).inc()
        if held is not None:
            raise held

    async def _settle(self, journey_id: str, queued: MessageQueued) -> MessageSent | MessageFailed:
        """What became of a message. Raises ``Unreachable`` or ``Unopenable`` while it is worth another try."""
        message_id, template = queued.message_id, queued.template

        def failed(reason: FailureReason) -> MessageFailed:
            return MessageFailed(at=self.now(), message_id=message_id, template=template, reason=reason)

        try:
            values = rules.read_values(await self.vault.open(journey_id, queued.values))
            phone = await self.vault.open_text(journey_id, queued.phone)
            until = rules.valid_until(values)
            words = self.templates.get(template)
            if words is None:
                raise Unfit  # taken under a template that a later version of us does not have
            reference = await self.provider.send(message_id, phone, words.filled(values), until)
        except Shredded:
            return failed("shredded")
        except Unfit:
            return failed("unfit")
        except TooLate:
            return failed("expired")
        except Refused:
            return failed("provider_refused")
        except Unopenable:
            if rules.given_up(queued, self.now(), self.patience):
                return failed("unfit")
            raise
        except Unreachable:
            if rules.given_up(queued, self.now(), self.patience):
                return failed("provider_unreachable")
            raise
        return MessageSent(at=self.now(), message_id=message_id, template=template, provider_ref=reference)

    async def _keep(self, journey_id: str, settled: MessageSent | MessageFailed) -> bool:
        """Records it, unless another process did so meanwhile."""
        kept = False

        async def decision(state: NotifyState) -> Sequence[Fact]:
            nonlocal kept
            kept = settled.message_id in state.waiting
            return [settled] if kept else []

        await self.journeys.append(journey_id, decision)
        return kept
