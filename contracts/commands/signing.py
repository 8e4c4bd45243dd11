"""Requests to services/signing."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import FailFast, Field

from contracts.commands.base import Act, Beat, Query
from contracts.facts.signing import SignedItem
from contracts.values import CommittedFile, Contract, Instant, Sha256, Slug

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
    signed_at: Instant
    legibility: Literal["not_judged", "pass", "manual"]


SignForms.reply = Signed


class ViewSigning(Query):
    service = "signing"
    verb = "view"


class SigningView(Contract):
    forms: tuple[FormOffered, ...]
    items: tuple[SignedItem, ...]
    """What the act must list, complete (empty until the forms are prepared)."""
    declaration: str
    declaration_sha256: Sha256 | None
    draft: CommittedFile | None
    signed_at: Instant | None
    sealed: tuple[FormOffered, ...]


ViewSigning.reply = SigningView
