"""What every command has. A command travels as request and reply on ``cmd.<service>.<verb>``."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import Field

from contracts import subjects
from contracts.problems import Problem
from contracts.values import Committed, Contract, Heads, JourneyId, Proof, Sha256

CommandId = Annotated[str, Field(min_length=8, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
"""The customer's Idempotency-Key. A repeat is answered the same and decides nothing."""


class Done(Contract):
    """A reply that says nothing but that it was done."""


ReplyT = TypeVar("ReplyT", bound=Contract)


class Request(Contract):
    """Anything that can be asked on the bus. ``reply`` is the shape of the answer."""

    service: ClassVar[str]
    verb: ClassVar[str]
    reply: ClassVar[type[Contract]] = Done

    @classmethod
    def subject(cls) -> str:
        return subjects.command(cls.service, cls.verb)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "verb" in cls.__dict__:
            registered = _registry.setdefault(cls.subject(), cls)
            if registered.__qualname__ != cls.__qualname__ or registered.__module__ != cls.__module__:
                raise TypeError(f"two requests call themselves {cls.subject()}")


class Query(Request):
    """Asks, changes nothing."""

    journey_id: JourneyId


class Command(Request):
    """Asks a service to do something within one journey."""

    command_id: CommandId
    journey_id: JourneyId
    after: Heads = {}
    """What the sender saw: the service waits up to 2 s to have heard that far. It can only make it wait."""


class Act(Command):
    """A command by the customer's own hand: the body they sent, sealed, and their device's proof over it.

    The service has identity judge the proof and reads its arguments from the very bytes the proof covers,
    so that nobody between phone and service can change a word.
    """

    arguments: ClassVar[type[Contract]] = Done
    largest_body: ClassVar[int] = 64 * 1024
    """Bytes: who sends more has it refused unread."""
    purpose: ClassVar[Literal["open", "identity", "act"]] = "act"
    """What identity must ask of the session: "open" begins one, "identity" is allowed while it waits to be proven
    (again), "act" needs a live one."""

    proof: Proof
    session: Sha256 | None = None
    """Hash of the session token that came with it; none only when a session is being opened."""
    body: Committed


class Beat(Act):
    """Of the customer's device, but not an act of will: a heartbeat or a draft. Kept beside the aggregate, makes no
    fact and is not remembered.
    """


class Answer(Contract, Generic[ReplyT]):
    """What comes back: either a reply or a problem, and how far the service's facts reach now."""

    reply: ReplyT | None = None
    problem: Problem | None = None
    service: str
    sequence: Annotated[int, Field(ge=0)]


@cache
def answer_to(reply: type[ReplyT]) -> type[Answer[ReplyT]]:
    """``Answer`` with a reply of that shape. Kept: the model would be made anew for every message otherwise, for
    pydantic forgets what nobody holds.
    """
    return Answer[reply]


AnyAnswer = Answer[Any]
"""Made once, for the same reason."""

_registry: dict[str, type[Request]] = {}


def request_types() -> dict[str, type[Request]]:
    """All requests by their subject."""
    import_module("contracts.commands")  # the registry fills as the modules load
    return dict(sorted(_registry.items()))
