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


class NeedsAnswers(Contract):
    answers: Annotated[dict[Slug, Slug], Field(min_length=1, max_length=50)]


class AnswerNeeds(Act):
    service = "disclosure"
    verb = "answer_needs"
    arguments = NeedsAnswers


class Advice(Contract):
    advice: tuple[Slug, ...]


AnswerNeeds.reply = Advice


class ContinueOfOwnWill(Act):
    """Lists the advice it goes against, as shown (I30)."""

    service = "disclosure"
    verb = "continue_of_own_will"
    arguments = Advice


class QuestionAnswers(Contract):
    product: Slug
    answers: Annotated[dict[Slug, Slug], Field(max_length=50)]


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
    needs_answered: bool
    advice: tuple[Slug, ...]
    advice_open: bool
    questions_open: tuple[Slug, ...]
    """Products whose questions wait for answers."""
    points: tuple[tuple[Slug, Slug], ...]
    """(product, point) of every deadly point."""
    points_open: tuple[tuple[Slug, Slug], ...]
    complete: bool


ViewDisclosure.reply = DisclosureView
