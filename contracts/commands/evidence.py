"""Requests to services/evidence."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.commands.base import Command, Query, Request
from contracts.facts.proposal import Party, ProductTerms
from contracts.values import (
    Attestation,
    Committed,
    CommittedFile,
    Contract,
    Fen,
    Heads,
    Instant,
    JourneyId,
    Sha256,
    Slug,
    Token,
)


class Attest(Query):
    """Do you hold every fact of this journey up to these heads? Answered with the signed, timestamped head
    (DESIGN §3).
    """

    service = "evidence"
    verb = "attest"
    reply = Attestation

    heads: Heads


class BuildPack(Command):
    """The sealed pack of a journey or of one policy. Unmasked content by right only: ``reason`` is kept."""

    service = "evidence"
    verb = "build_pack"

    scope: Literal["journey", "policy"] = "journey"
    policy_no: str | None = None
    masked: bool = True
    reason: Annotated[str, Field(min_length=4, max_length=200)]


class Pack(Contract):
    """The pack lies in the blobs as one sealed file under the journey's key."""

    commitment: Sha256
    blob: Sha256
    size: int
    file_name: str
    complete: bool


BuildPack.reply = Pack


class ViewChain(Query):
    service = "evidence"
    verb = "view"


class ChainView(Contract):
    count: int
    head: Sha256 | None
    heads: Heads
    anchored: int
    """How many facts the last timestamp covers."""


ViewChain.reply = ChainView


# -- the register: every journey as its facts tell it, without a personal value --------------------------------------

Stage = Literal["open", "confirmed", "signed", "ordered", "paid", "issued", "withdrawn", "expired"]
"""What a journey has come to, as channels are told it (``contracts.commands.proposal.ProposalState``)."""
Step = Literal[
    "recording", "consents", "identity", "terms", "reading", "signature", "payment", "issuance", "done", "ended"
]
"""The furthest point of a journey by the facts heard; what a device had not signed counts no more once another took
the journey up (I12).
"""


class RegisteredJourney(Contract):
    journey_id: JourneyId
    proposal_no: str
    channel_id: Token
    release: Sha256
    products: tuple[Slug, ...]
    state: Stage
    step: Step
    opened_at: Instant
    last_at: Instant
    """When the last fact of any service but evidence itself was made."""
    attempts: Annotated[int, Field(ge=0)]
    """How many device sessions there were."""
    refusals: Annotated[int, Field(ge=0)]
    policy_nos: tuple[str, ...]


class RegisteredJourneys(Contract):
    journeys: tuple[RegisteredJourney, ...]
    next: JourneyId | None
    """Where the next page begins (``before``); none on the last."""


class ListJourneys(Request):
    """Journeys of all channels, newest first, those opened before ``before``."""

    service = "evidence"
    verb = "list_journeys"
    reply = RegisteredJourneys

    state: Stage | None = None
    step: Step | None = None
    channel_id: Token | None = None
    before: JourneyId | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 50


class FindJourneys(Request):
    """Journeys by one value, newest first. ``key`` is the number, or the blind index of a phone (never the phone)."""

    service = "evidence"
    verb = "find_journeys"
    reply = RegisteredJourneys

    kind: Literal["proposal_no", "policy_no", "phone"]
    key: Annotated[str, Field(min_length=1, max_length=80)]
    limit: Annotated[int, Field(ge=1, le=100)] = 50


class ServedDocument(Contract):
    """A text the customer was to read or to agree to, and what became of it in the last session that touched it."""

    product: Slug | None
    """None for a notice."""
    document: Slug
    title: str
    kind: str
    version: str
    sha256: Sha256
    opened_at: Instant | None = None
    confirmed_at: Instant | None = None
    dwell_ms: int | None = None
    """Foreground time by the server's clock, milliseconds."""
    minimum_dwell_ms: int | None = None


class KeptFile(Contract):
    """A sealed form or a policy, as committed to in the chain."""

    kind: Literal["form", "policy"]
    product: Slug
    number: str
    file: CommittedFile


class JourneyFile(Contract):
    """What is on record of one journey; personal values by their commitments alone."""

    row: RegisteredJourney
    policyholder: Party
    insured: Party | None
    subject: dict[Slug, Committed]
    products: tuple[ProductTerms, ...]
    chain: ChainView
    documents: tuple[ServedDocument, ...]
    files: tuple[KeptFile, ...]


class ViewFile(Query):
    service = "evidence"
    verb = "view_file"
    reply = JourneyFile


class TimelineEvent(Contract):
    """One fact in words, without anything personal."""

    index: Annotated[int, Field(ge=1)]
    """Its place in the chain."""
    at: Instant
    service: Slug
    service_name: str
    fact: Slug
    words: str
    code: Slug | None
    """Of a refusal, in the table of ``contracts.problems``."""
    since_ms: Annotated[int, Field(ge=0)] | None
    """Milliseconds since the event before; 0 where clocks of two services disagree."""
    attempt: int | None


class Timeline(Contract):
    events: tuple[TimelineEvent, ...]
    count: int
    """How many there are in all."""


class ViewTimeline(Query):
    """Events after place ``after`` in the chain, in its order."""

    service = "evidence"
    verb = "view_timeline"
    reply = Timeline

    after: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=1, le=500)] = 500


class StepCount(Contract):
    step: Step
    count: int


class RefusalCount(Contract):
    code: Slug
    count: int


class IssuedNow(Contract):
    policy_no: str
    journey_id: JourneyId
    release: Sha256
    channel_id: Token
    product: Slug
    issued_at: Instant
    premium_fen: Fen


class HourCount(Contract):
    hour: Instant
    """Its beginning."""
    opened: int
    issued: int
    refused: int


class Live(Contract):
    """How the house is doing now; the last 24 hours are this one and the 23 before it."""

    at: Instant
    steps: tuple[StepCount, ...]
    """Journeys neither issued nor ended."""
    refusals: tuple[RefusalCount, ...]
    """Most first."""
    policies: tuple[IssuedNow, ...]
    """The last 20, newest first."""
    hours: tuple[HourCount, ...]
    """Oldest first."""


class ViewLive(Request):
    service = "evidence"
    verb = "live"
    reply = Live
