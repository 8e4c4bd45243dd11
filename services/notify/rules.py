"""What is to be sent, and what became of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import TypeAdapter, ValidationError

from contracts.facts.base import Fact
from contracts.facts.notify import MessageFailed, MessageQueued, MessageSent
from contracts.values import sha256_hex
from servicekit.journeys import JourneyState
from services.notify.templates import Unfit

EXPIRY: Final = "expires_at"
"""The value that says until when a message is of use."""

_VALUES: Final = TypeAdapter(dict[str, str])


class NotifyState(JourneyState):
    waiting: dict[str, MessageQueued] = {}
    """Messages not yet settled, by their id, oldest first."""
    settled: tuple[str, ...] = ()


def evolve(state: NotifyState, fact: Fact) -> NotifyState:
    match fact:
        case MessageQueued():
            return state.model_copy(update={"waiting": {**state.waiting, fact.message_id: fact}})
        case MessageSent() | MessageFailed():
            waiting = {key: queued for key, queued in state.waiting.items() if key != fact.message_id}
            return state.model_copy(update={"waiting": waiting, "settled": (*state.settled, fact.message_id)})
        case _:
            return state


def message_id(journey_id: str, command_id: str) -> str:
    """The one name of a message, for us and for the provider: sending again under it cannot arrive twice.

    Not the command's id itself, which is the sender's to choose and unique only within a journey.
    """
    return "M" + sha256_hex(f"{journey_id}/{command_id}".encode())[:32]


def known(state: NotifyState, message: str) -> bool:
    return message in state.waiting or message in state.settled


def due(state: NotifyState) -> datetime | None:
    return min((queued.at for queued in state.waiting.values()), default=None)


def given_up(queued: MessageQueued, now: datetime, patience: timedelta) -> bool:
    """Whether nobody should wait for this message any more."""
    return now - queued.at >= patience


def read_values(opened: bytes) -> Mapping[str, str]:
    """The values as their sender sealed them. Raises ``Unfit``."""
    try:
        return _VALUES.validate_json(opened, strict=True)
    except ValidationError:
        raise Unfit from None


def valid_until(values: Mapping[str, str]) -> datetime | None:
    """When the message stops being of use; None: never. Raises ``Unfit`` for a validity that is no instant."""
    stated = values.get(EXPIRY)
    if stated is None:
        return None
    try:
        until = datetime.fromisoformat(stated)
    except ValueError:
        raise Unfit from None
    if until.utcoffset() is None:
        raise Unfit
    return until.astimezone(UTC)
