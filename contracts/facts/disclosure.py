"""Facts of disclosure: what had to be read, and the proof that it was (services/disclosure)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from contracts.facts.base import Fact, Refusal
from contracts.values import ActProof, Committed, DocumentRef, Instant, Sha256, Signatory, Slug


class DocumentOpened(Fact):
    """A mandatory document was put before the customer, on a page of its own (I2)."""

    service = "disclosure"
    name = "document_opened"

    document: DocumentRef
    attempt: Annotated[int, Field(ge=1)]
    proof: ActProof


class DocumentConfirmed(Fact):
    """The reading of one document: its end reached, its minimum dwell over, confirmed by an act of its own
    (I2, I3). Every duration is the server's.
    """

    service = "disclosure"
    name = "document_confirmed"

    document: DocumentRef
    attempt: Annotated[int, Field(ge=1)]
    opened_at: Instant
    end_reached_at: Instant
    paragraphs_seen: Annotated[int, Field(ge=1)]
    paragraphs_total: Annotated[int, Field(ge=1)]
    dwell_ms: Annotated[int, Field(ge=0)]
    """Foreground time by the server's clock, in milliseconds."""
    minimum_dwell_ms: Annotated[int, Field(ge=0)]
    """The minimum of this version, unscaled."""
    dwell_scale: Annotated[float, Field(gt=0, le=1)]
    """1 outside the sandbox. Anything else and the reading is not proven (DESIGN §5)."""
    signatory: Signatory = Signatory()
    proof: ActProof


class PointAcknowledged(Fact):
    """A deadly point was shown on its own and acknowledged."""

    service = "disclosure"
    name = "point_acknowledged"

    product: Slug
    point: Slug
    sha256: Sha256
    """Hash of the words shown."""
    shown_at: Instant
    signatory: Signatory = Signatory()
    proof: ActProof


class NeedsAnswered(Fact):
    """The needs questions about one product were answered; ``advice`` names the questions whose answers speak
    against buying it (I30).
    """

    service = "disclosure"
    name = "needs_answered"

    product: Slug
    answers: Committed
    advice: tuple[Slug, ...]
    signatory: Signatory = Signatory()
    proof: ActProof


class ContinuedOfOwnWill(Fact):
    """Having seen the advice to stop, the customer went on by an explicit act (I30)."""

    service = "disclosure"
    name = "continued_of_own_will"

    product: Slug
    advice: tuple[Slug, ...]
    signatory: Signatory = Signatory()
    proof: ActProof


class QuestionsAnswered(Fact):
    """The insurer's concrete questions (如实告知) about one product were answered."""

    service = "disclosure"
    name = "questions_answered"

    product: Slug
    answers: Committed
    signatory: Signatory = Signatory()
    proof: ActProof


class Refused(Refusal):
    service = "disclosure"
    name = "refused"
