"""What each process may say and hear on the bus: nobody speaks in another's name.

Every process has a user of its own. It publishes the facts of its own service alone, asks what it has to ask, answers
its own commands and reads the answers to its own questions. So a corrupt gateway can neither make a fact of payment
nor answer in the place of identity or evidence, and what only services ask of each other it cannot ask.

Durables are made by ``deploy.nats.provision``, not by who reads them: whoever may make a consumer may have a stream
delivered to any subject, past every right to publish.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from contracts import subjects
from contracts.commands.base import Act, Request, request_types
from contracts.commands.evidence import Attest, ViewChain
from contracts.commands.identity import JudgeProof
from contracts.commands.issuance import RenounceOrder
from contracts.commands.notify import SendMessage
from contracts.commands.payment import ReconcileNow
from contracts.commands.signing import ViewSigning
from contracts.facts.aftercare import ReferralDue, SurveyDue
from contracts.subjects import AFTERCARE, AFTERCARE_SERVICES, DEAD, JOURNEY, JOURNEY_SERVICES, PARTNER, Stream

GATEWAY: Final = "gateway"
SERVICES: Final = (*JOURNEY_SERVICES, *AFTERCARE_SERVICES)
PROCESSES: Final = (*SERVICES, GATEWAY)

HEARS: Final[Mapping[str, tuple[str, ...]]] = {
    "proposal": ("identity", "signing", "payment", "issuance"),
    "identity": ("proposal", "signing", "payment", "issuance"),
    "disclosure": ("proposal", "identity", "signing"),
    "signing": ("proposal", "identity", "disclosure"),
    "payment": ("proposal", "identity", "disclosure", "signing", "issuance"),
    "issuance": ("proposal", "identity", "disclosure", "signing", "payment"),
    "evidence": tuple(service for service in JOURNEY_SERVICES if service != "evidence"),
    GATEWAY: ("issuance",),
}
"""Whose facts of a journey each process listens to."""

OTHERS_ASK: Final[frozenset[type[Request]]] = frozenset({Attest, SendMessage, RenounceOrder, ReconcileNow, ViewChain})
"""What is none of the gateway's business: services ask it of each other, operators of payment and evidence."""

_ASKS: Final[Mapping[str, tuple[type[Request], ...]]] = {
    "proposal": (SendMessage,),
    "identity": (SendMessage, ViewSigning),
    "signing": (Attest,),
    "payment": (Attest, RenounceOrder),
    "issuance": (Attest,),
}


@dataclass(frozen=True)
class Durable:
    """One consumer of a process."""

    stream: Stream
    name: str
    filter_subject: str


def durables(process: str) -> tuple[Durable, ...]:
    heard = tuple(
        Durable(JOURNEY, f"{process}-{source}", subjects.journey_facts_of(source)) for source in HEARS.get(process, ())
    )
    due = {"nps": SurveyDue, "appdownload": ReferralDue}.get(process)
    if due is None:
        return heard
    return (*heard, Durable(AFTERCARE, process, subjects.aftercare_fact(process, due.name, "*")))


def asks(process: str) -> tuple[type[Request], ...]:
    """The requests it may make. Who owns an act asks identity about its proof; the gateway asks for everybody."""
    kinds = request_types().values()
    if process == GATEWAY:
        return tuple(kind for kind in kinds if kind not in OTHERS_ASK)
    acts = any(issubclass(kind, Act) and kind.service == process for kind in kinds)
    judged = (JudgeProof,) if acts and process != JudgeProof.service else ()
    return (*judged, *_ASKS.get(process, ()))


def permissions(process: str) -> dict[str, Any]:
    """As nats-server reads them. Whatever is not allowed here is refused."""
    publish = [*_facts(process), *(kind.subject() for kind in asks(process))]
    read: dict[str, Stream] = {}
    for durable in durables(process):
        api = f"{durable.stream.name}.{durable.name}"
        publish += [f"$JS.API.CONSUMER.{what}.{api}" for what in ("INFO", "MSG.NEXT")]
        publish += [f"$JS.ACK.{api}.>", subjects.dead_letter(durable.stream.name, durable.name)]
        read[durable.stream.name] = durable.stream
    if process == GATEWAY:
        read[PARTNER.name] = PARTNER
    publish += [f"$JS.API.STREAM.MSG.GET.{name}" for name in read]
    publish.append(f"$JS.API.STREAM.INFO.{DEAD.name}")
    hear = [f"{inbox(process)}.>"]
    if process == GATEWAY:
        # Pages that want to know when to look again.
        return _allowed(publish, [*hear, *JOURNEY.subjects])
    return {**_allowed(publish, [*hear, f"cmd.{process}.>", "$SRV.>"]), "allow_responses": True}


def inbox(process: str) -> str:
    """Where its answers arrive; see ``servicekit.bus.Bus.connect``."""
    return f"_INBOX.{process}"


def _facts(process: str) -> list[str]:
    if process == GATEWAY:
        told = [subjects.aftercare_fact(due.service, due.name, "*") for due in (SurveyDue, ReferralDue)]
        return [*PARTNER.subjects, *told]
    if process in AFTERCARE_SERVICES:
        return [subjects.aftercare_facts_of(process)]
    return [subjects.journey_facts_of(process)]


def _allowed(publish: list[str], subscribe: list[str]) -> dict[str, Any]:
    return {"publish": {"allow": publish}, "subscribe": {"allow": subscribe}}
