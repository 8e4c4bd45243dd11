"""Subjects and streams of the bus (DESIGN §3). Nothing personal ever stands in a subject."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from contracts.values import Contract

JOURNEY_SERVICES = (
    "proposal",
    "identity",
    "disclosure",
    "signing",
    "payment",
    "issuance",
    "evidence",
    "notify",
)
"""The services whose facts belong to a journey, and so to its evidence."""

AFTERCARE_SERVICES = ("nps", "appdownload")


class Stream(Contract):
    """What a JetStream stream must look like; provisioning reads back and compares."""

    name: str
    subjects: tuple[str, ...]
    max_age: timedelta | None = None
    one_per_subject: bool = False
    """A second message on a subject is refused (discard new per subject): publishing is idempotent for good."""
    duplicate_window: Annotated[timedelta, Field(gt=timedelta(0))] = timedelta(minutes=2)


JOURNEY = Stream(name="JOURNEY", subjects=("journey.>",), max_age=timedelta(days=14))
PARTNER = Stream(name="PARTNER", subjects=("partner.>",), one_per_subject=True)
AFTERCARE = Stream(name="AFTERCARE", subjects=("aftercare.>",), one_per_subject=True)
DEAD = Stream(name="DEAD", subjects=("dead.>",))
STREAMS = (JOURNEY, PARTNER, AFTERCARE, DEAD)


def command(service: str, verb: str) -> str:
    return f"cmd.{service}.{verb}"


def journey_fact(journey_id: str, service: str, fact: str) -> str:
    return f"journey.{journey_id}.{service}.{fact}"


def journey_facts_of(service: str) -> str:
    """Every fact of one service in any journey: what a listener filters on."""
    return f"journey.*.{service}.>"


def partner_fact(channel_id: str, fact: str, fact_id: str) -> str:
    return f"partner.{channel_id}.{fact}.{fact_id}"


def partner_facts_of(channel_id: str) -> str:
    return f"partner.{channel_id}.>"


def aftercare_fact(service: str, fact: str, fact_id: str) -> str:
    return f"aftercare.{service}.{fact}.{fact_id}"


def aftercare_facts_of(service: str) -> str:
    return f"aftercare.{service}.>"


def dead_letter(stream: str, consumer: str) -> str:
    return f"dead.{stream}.{consumer}"


def pattern(subject: str) -> str:
    """The subject with its ids replaced, for metrics and span names."""
    tokens = subject.split(".")
    match tokens[0]:
        case "journey" if len(tokens) >= 4:
            tokens[1] = "*"
        case "partner" if len(tokens) >= 4:
            tokens[1] = tokens[3] = "*"
        case "aftercare" if len(tokens) >= 4:
            tokens[3] = "*"
        case _:
            pass
    return ".".join(tokens)
