"""Requests to services/signing."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import FailFast, Field

from contracts.commands.base import Act, Beat, Command, Query, Request
from contracts.facts.signing import Finding, PenMeasure, Reading, ReviewDecided, ReviewRequested, SignedItem
from contracts.values import CommittedFile, Contract, Instant, JourneyId, Sha256, Slug, Token

LARGEST_HANDWRITING = 2 * 1024 * 1024
"""Bytes of a body that carries strokes."""

Coordinate = Annotated[float, Field(ge=-4096, le=4096, allow_inf_nan=False)]


class Point(Contract):
    """One sample of the pen: position in box units, milliseconds since the first sample, pressure 0–1."""

    x: Coordinate
    y: Coordinate
    t: Annotated[int, Field(ge=0, le=3_600_000)]
    pressure: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.5


class Box(Contract):
    """The strokes written into the box of one character, in the order drawn."""

    width: Annotated[float, Field(gt=0, le=4096)]
    height: Annotated[float, Field(gt=0, le=4096)]
    strokes: Annotated[
        tuple[Annotated[tuple[Point, ...], Field(max_length=2000), FailFast()], ...], Field(max_length=64), FailFast()
    ]


class Handwriting(Contract):
    # The first fault ends the reading: two megabytes have room for two million of them.
    boxes: Annotated[tuple[Box, ...], Field(max_length=20), FailFast()]


_WRITTEN_IN_NO_BOX = re.compile(r"[\s·•・‧∙⋅˙･.．\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Spaces, the dot in names of minorities as registers happen to spell it, and what only chooses a printed variant."""


def written_characters(name: str) -> str:
    """The characters of a name that are written, one a box, in order."""
    return _WRITTEN_IN_NO_BOX.sub("", name)


class PrepareForms(Act):
    """Draws the application form of every product in the purchase, once all is read and confirmed."""

    service = "signing"
    verb = "prepare_forms"


class FormOffered(Contract):
    product: Slug
    form_no: str
    form_version: str
    form: CommittedFile
    reviewed: bool = False


class FormsOffered(Contract):
    forms: tuple[FormOffered, ...]


PrepareForms.reply = FormsOffered


class FormSeen(Contract):
    product: Slug
    form_commitment: Sha256


class ReviewForm(Act):
    service = "signing"
    verb = "review_form"
    arguments = FormSeen


class SaveDraft(Beat):
    """Half-written strokes, sealed on the server."""

    service = "signing"
    verb = "save_draft"
    arguments = Handwriting
    largest_body = LARGEST_HANDWRITING


class Copy(Contract):
    """One phrase of the declaration, copied by hand: a box a character."""

    phrase: Sha256
    """Of its text."""
    handwriting: Handwriting


class CopyPhrase(Act):
    service = "signing"
    verb = "copy_phrase"
    arguments = Copy
    largest_body = LARGEST_HANDWRITING


class PhraseTaken(Contract):
    left: Annotated[int, Field(ge=0)]
    """Phrases that are still to be copied."""


CopyPhrase.reply = PhraseTaken


class Signature(Contract):
    """What the customer signs: every document by name and hash, the declaration, and the strokes."""

    items: Annotated[tuple[SignedItem, ...], Field(min_length=1, max_length=100), FailFast()]
    declaration_sha256: Sha256
    handwriting: Handwriting


class SignForms(Act):
    service = "signing"
    verb = "sign_forms"
    arguments = Signature
    largest_body = LARGEST_HANDWRITING


class Signed(Contract):
    """Signed, or with people who look at the handwriting: then without a time, and the page waits."""

    signed_at: Instant | None
    legibility: Literal["pass", "in_review"]


SignForms.reply = Signed


class Refused(Contract):
    """Why the last writing was not taken. ``box`` counts from 1, as people do; none: the whole name."""

    code: Slug
    box: Annotated[int, Field(ge=1)] | None


class RefusedShown(Refused):
    """With what the customer was told, for a page that is opened anew."""

    title: str
    detail: str


class Phrase(Contract):
    """Of a declaration, to be copied by hand; each text once, whatever products have it."""

    text: str
    sha256: Sha256
    copied: bool


class ViewSigning(Query):
    service = "signing"
    verb = "view"


class SigningView(Contract):
    forms: tuple[FormOffered, ...]
    items: tuple[SignedItem, ...]
    """What the act must list, complete (empty until the forms are prepared)."""
    declaration: str
    declaration_sha256: Sha256 | None
    phrases: tuple[Phrase, ...] = ()
    draft: CommittedFile | None
    tries: Annotated[int, Field(ge=0)] = 0
    """Writings that were not taken."""
    refused: RefusedShown | None = None
    one_by_one: bool = False
    """After three of them: one large box at a time, the printed character beside it."""
    in_review_since: Instant | None = None
    """People are looking at it; nothing can be written meanwhile."""
    signed_at: Instant | None
    sealed: tuple[FormOffered, ...]


ViewSigning.reply = SigningView


class ListReviews(Request):
    """Signatures that wait for people, longest first."""

    service = "signing"
    verb = "list_reviews"

    limit: Annotated[int, Field(ge=1, le=200)] = 100


class ReviewListed(Contract):
    journey_id: JourneyId
    review_no: Annotated[int, Field(ge=1)]
    requested_at: Instant
    reason: Slug
    tries: Annotated[int, Field(ge=0)]
    reviewers: tuple[Token, ...]
    """Who has found it legible."""


class ReviewList(Contract):
    reviews: tuple[ReviewListed, ...]


ListReviews.reply = ReviewList


class Try(Contract):
    """One writing that was not taken, or that is being looked at."""

    at: Instant
    reason: Slug
    box: Annotated[int, Field(ge=0)] | None
    reading: Reading | None
    pen: tuple[PenMeasure, ...]


class ViewReview(Query):
    service = "signing"
    verb = "view_review"


class Review(Contract):
    """Everything there is to decide by. Raises ``review_over`` where nothing waits."""

    requested: ReviewRequested
    tries: tuple[Try, ...]
    """All of the journey, oldest first, this one last."""
    decisions: tuple[ReviewDecided, ...]


ViewReview.reply = Review


class DecideReview(Command):
    """What one of two people finds. The gateway says who: staff sign in there."""

    service = "signing"
    verb = "decide_review"

    review_no: Annotated[int, Field(ge=1)]
    reviewer: Token
    finding: Finding


class ReviewDecision(Contract):
    """``open``: one more has to look."""

    open: bool


DecideReview.reply = ReviewDecision
