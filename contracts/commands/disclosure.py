"""Requests to services/disclosure."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from contracts.commands.base import Act, Beat, Query
from contracts.values import Contract, DocumentRef, Instant, Sha256, Slug

ParagraphId = Annotated[str, Field(pattern=r"^[a-z0-9_.-]{1,32}$")]


class OpenDocument(Act):
    """Starts the server's clock for one document."""

    service = "disclosure"
    verb = "open_document"
    arguments = DocumentRef


class ReadingOpened(Contract):
    minimum_dwell_ms: Annotated[int, Field(ge=0)]
    """What the server will ask for, scale applied."""


OpenDocument.reply = ReadingOpened


class Reading(Contract):
    """A heartbeat: which paragraphs became visible since the last. No duration is ever read from a client."""

    document: DocumentRef
    paragraphs: Annotated[tuple[ParagraphId, ...], Field(max_length=500)] = ()
    at_end: bool = False
    visible: bool = True
    """False as the page goes to the background: foreground time stops."""


class ReportReading(Beat):
    """The reading page's heartbeat."""

    service = "disclosure"
    verb = "report_reading"
    arguments = Reading


class ReadingProgress(Contract):
    dwell_ms: Annotated[int, Field(ge=0)]
    remaining_ms: Annotated[int, Field(ge=0)]
    paragraphs_seen: Annotated[int, Field(ge=0)]
    paragraphs_total: Annotated[int, Field(ge=1)]
    end_reached: bool
    confirmable: bool


ReportReading.reply = ReadingProgress


class ConfirmDocument(Act):
    """One document an act (I2)."""

    service = "disclosure"
    verb = "confirm_document"
    arguments = DocumentRef


class QuestionAnswers(Contract):
    """Answers to the questions about one product: question → answer, by their codes."""

    product: Slug
    answers: Annotated[dict[Slug, Slug], Field(max_length=50)]


class AnswerNeeds(Act):
    service = "disclosure"
    verb = "answer_needs"
    arguments = QuestionAnswers


class Advice(Contract):
    """The questions whose answers speak against buying the product."""

    product: Slug
    advice: tuple[Slug, ...]


AnswerNeeds.reply = Advice


class ContinueOfOwnWill(Act):
    """Lists the advice it goes against, as shown (I30)."""

    service = "disclosure"
    verb = "continue_of_own_will"
    arguments = Advice


class AnswerQuestions(Act):
    service = "disclosure"
    verb = "answer_questions"
    arguments = QuestionAnswers


class PointShown(Contract):
    product: Slug
    point: Slug
    sha256: Sha256


class ShowPoint(Beat):
    """The pop-up of a deadly point opens; the server notes the time."""

    service = "disclosure"
    verb = "show_point"
    arguments = PointShown


class AcknowledgePoint(Act):
    service = "disclosure"
    verb = "acknowledge_point"
    arguments = PointShown


class ViewDisclosure(Query):
    service = "disclosure"
    verb = "view"


class DocumentProgress(Contract):
    document: DocumentRef
    opened_at: Instant | None
    confirmed_at: Instant | None
    progress: ReadingProgress | None


class DisclosureView(Contract):
    documents: tuple[DocumentProgress, ...]
    needs_open: tuple[Slug, ...]
    """Products whose needs questions wait for answers."""
    advice_open: tuple[Advice, ...]
    """Advice to stop that the customer has not yet gone against."""
    questions_open: tuple[Slug, ...]
    """Products whose questions wait for answers."""
    points: tuple[PointShown, ...]
    """Every deadly point of the purchase, with the hash of its words."""
    points_open: tuple[PointShown, ...]
    complete: bool


ViewDisclosure.reply = DisclosureView
