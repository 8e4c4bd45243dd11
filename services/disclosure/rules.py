"""What counts as read, and what follows from answers. Pure; time comes in as an argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from contracts.commands.disclosure import ReadingProgress
from contracts.facts import disclosure as facts
from contracts.facts.base import Fact
from contracts.problems import FieldFault, Refuse, pointer
from contracts.progress import Progress
from contracts.values import Contract, DocumentRef, Instant, sha256_hex
from products import Document, Question
from servicekit.journeys import JourneyState

LONGEST_SILENCE: Final = timedelta(seconds=15)
"""Between two signs of life of a reading page no more than this counts: a phone laid aside reads nothing."""


CLOCK_SET: Final = timedelta(seconds=1)
"""Where the clock on the wall and one that only counts differ by more, somebody has set the first."""


class Opened(Contract):
    """A document put before the customer, in one device session."""

    document: DocumentRef
    attempt: int
    at: Instant


class DisclosureState(JourneyState):
    """What disclosure knows of a journey: everyone's progress, and which documents were opened when."""

    progress: Progress = Progress()
    opened: tuple[Opened, ...] = ()
    confirmed_at: dict[str, Instant] = {}
    """``attempt/product/document`` → when its reading was confirmed."""

    def opened_in(self, document: DocumentRef, attempt: int) -> Opened | None:
        return next((o for o in self.opened if o.document == document and o.attempt == attempt), None)


def place(document: DocumentRef, attempt: int) -> str:
    return f"{attempt}/{document.product}/{document.document}"


def evolve(state: DisclosureState, fact: Fact) -> DisclosureState:
    changes: dict[str, object] = {"progress": state.progress.after(fact)}
    match fact:
        case facts.DocumentOpened():
            opened = Opened(document=fact.document, attempt=fact.attempt, at=fact.at)
            others = tuple(o for o in state.opened if (o.document, o.attempt) != (opened.document, opened.attempt))
            changes["opened"] = (*others, opened)
        case facts.DocumentConfirmed():
            changes["confirmed_at"] = {**state.confirmed_at, place(fact.document, fact.attempt): fact.at}
        case _:
            pass
    return state.model_copy(update=changes)


class Reading(Contract):
    """One reading of one document, kept by the server's clock alone (I3)."""

    opened_at: Instant
    last_sign: Instant
    """When the page last showed itself; only the time between such signs counts."""
    visible: bool = True
    dwell_ms: int = 0
    seen: frozenset[str] = frozenset()
    end_reached_at: Instant | None = None

    def sign(
        self,
        at: datetime,
        paragraphs: Iterable[str],
        *,
        at_end: bool,
        visible: bool,
        passed: timedelta | None = None,
    ) -> Reading:
        """The page showed itself at ``at`` (server time): time since the last sign counts if it was visible then.

        ``passed``: what a clock that nobody can set has counted since then, where it is known. Setting the other
        makes nobody read faster, and takes nothing from them.
        """
        gone, last_sign = at - self.last_sign, max(at, self.last_sign)
        if passed is not None and abs(gone - passed) > CLOCK_SET:
            gone, last_sign = passed, at
        counted = min(max(gone, timedelta(0)), LONGEST_SILENCE) if self.visible else timedelta(0)
        return Reading(
            opened_at=self.opened_at,
            last_sign=last_sign,
            visible=visible,
            dwell_ms=self.dwell_ms + int(counted / timedelta(milliseconds=1)),
            seen=self.seen | frozenset(paragraphs),
            end_reached_at=self.end_reached_at or (at if at_end else None),
        )


def minimum_ms(document: Document, scale: float) -> int:
    """Milliseconds this version must be looked at; ``scale`` is 1 outside the sandbox."""
    return round(document.minimum_dwell_seconds * 1000 * scale)


def progress_of(reading: Reading, document: Document, scale: float) -> ReadingProgress:
    total = len(document.paragraphs)
    remaining = max(0, minimum_ms(document, scale) - reading.dwell_ms)
    ended = reading.end_reached_at is not None
    return ReadingProgress(
        dwell_ms=reading.dwell_ms,
        remaining_ms=remaining,
        paragraphs_seen=len(reading.seen),
        paragraphs_total=total,
        end_reached=ended,
        confirmable=ended and remaining == 0 and len(reading.seen) == total,
    )


def check_read(reading: Reading | None, document: Document, scale: float) -> Reading:
    """Raises ``Refuse`` unless it was opened, its end reached, every paragraph seen and its dwell over (I3)."""
    if reading is None:
        raise Refuse("document_not_opened")
    if reading.end_reached_at is None:
        raise Refuse("reading_not_at_end")
    if missing := len(document.paragraphs) - len(reading.seen):
        raise Refuse("paragraphs_unread", missing=missing)
    remaining = minimum_ms(document, scale) - reading.dwell_ms
    if remaining > 0:
        raise Refuse("reading_too_short", retry_after=-(-remaining // 1000), remaining_ms=remaining)
    return reading


def known_paragraphs(document: Document, claimed: Iterable[str]) -> frozenset[str]:
    """Of what a page claims to have shown, what the document has."""
    return frozenset(claimed) & {block.id for block in document.paragraphs}


def mandatory(progress: Progress, document: DocumentRef) -> DocumentRef:
    """The reference as the journey has it. Raises ``Refuse`` for a document of no product in the purchase, or for
    another version or text of it (I2, I20).
    """
    for known in progress.documents():
        if (known.product, known.document) == (document.product, document.document):
            if known != document:
                raise Refuse("document_changed")
            return known
    raise Refuse("document_unknown")


def check_answers(questions: Iterable[Question], answers: Mapping[str, str], *, product: str) -> None:
    """Every question answered with one of its answers, and nothing else. Raises ``Refuse``."""
    asked = {question.code: question for question in questions}
    faults = [
        FieldFault(pointer=pointer("answers", code), code="unknown_field", detail="没有这个问题。")
        for code in answers
        if code not in asked
    ]
    for code, question in asked.items():
        if code not in answers:
            faults.append(FieldFault(pointer=f"/answers/{code}", code="missing", detail="这个问题需要回答。"))
        elif question.answer(answers[code]) is None:
            faults.append(FieldFault(pointer=f"/answers/{code}", code="invalid", detail="请选择给出的答案之一。"))
    if faults:
        raise Refuse("question_unknown", errors=tuple(faults), product=product)


def advice_of(questions: Iterable[Question], answers: Mapping[str, str]) -> tuple[str, ...]:
    """The questions whose answers speak against buying (I30), in the order asked."""
    return tuple(
        question.code
        for question in questions
        if (answer := question.answer(answers[question.code])) and answer.outcome == "advise_stop"
    )


def declined_by(questions: Iterable[Question], answers: Mapping[str, str]) -> tuple[str, ...]:
    """The questions whose answers the insurer cannot accept."""
    return tuple(
        question.code
        for question in questions
        if (answer := question.answer(answers[question.code])) and answer.outcome == "decline"
    )


def words_sha256(title: str, text: str) -> str:
    """Hash of a deadly point's words as shown: its title, a line feed, its text."""
    return sha256_hex(f"{title}\n{text}".encode())
