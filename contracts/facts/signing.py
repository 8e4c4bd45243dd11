"""Facts of signing: the forms, the declaration and the name in the customer's own hand (services/signing)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.facts.base import Attested, Fact, Refusal
from contracts.values import ActProof, CommittedFile, Contract, Instant, Sha256, Signatory, Slug, Token


class SignedItem(Contract):
    """One document the act of signing covers. A form by its commitment, a published document by its hash."""

    product: Slug
    kind: Literal["form", "document"]
    document: Slug
    version: str
    hash: Sha256


class FormPrepared(Fact):
    """The application form (投保单) of one product was drawn; this is the first revision of the signed file."""

    service = "signing"
    name = "form_prepared"

    attempt: Annotated[int, Field(ge=1)]
    product: Slug
    form_no: str
    form_version: str
    form: CommittedFile
    lock: Sha256
    answers: Sha256 | None = None
    """Commitment of the answers printed in it; none where nothing was asked."""


class FormReviewed(Fact):
    """The customer saw one form and confirmed that it says what they mean (P9)."""

    service = "signing"
    name = "form_reviewed"

    product: Slug
    form_commitment: Sha256
    signatory: Signatory = Signatory()
    proof: ActProof


class InkCheck(Contract):
    """One check of the drawn name. ``box`` counts from 0; none means the whole name."""

    code: Slug
    ok: bool
    box: Annotated[int, Field(ge=0)] | None = None


class PenMeasure(Contract):
    """How plausible the pen's movement is, in one respect. Says nothing of who moved it, and refuses nobody."""

    code: Slug
    value: Annotated[float, Field(allow_inf_nan=False)]
    limit: Annotated[float, Field(allow_inf_nan=False)]
    flagged: bool


class CharacterRead(Contract):
    """How well one box reads as its character. ``box`` counts from 0."""

    box: Annotated[int, Field(ge=0)]
    score: Annotated[float, Field(allow_inf_nan=False)] | None
    """Points (docs/handwriting.md); none where there was nothing to read."""
    limit: Annotated[float, Field(allow_inf_nan=False)]
    """The least score that passes at this try."""
    ok: bool


class Reading(Contract):
    """What the check of legibility said of one writing (DOMAIN §3.3 b)."""

    outcome: Literal["pass", "retry", "manual"]
    """``manual``: not for this reader to say, people have to look."""
    reason: Slug | None
    strictness: Annotated[int, Field(ge=1)]
    """Which reading of the journey it was: the limits rise with each (I11)."""
    characters: tuple[CharacterRead, ...]
    read_by: str
    """Version of model, code and limits."""


class Written(Contract):
    """One act of signing over the listed documents, with the strokes it was made of and what was seen in them."""

    attempt: Annotated[int, Field(ge=1)]
    items: Annotated[tuple[SignedItem, ...], Field(min_length=1)]
    declaration_sha256: Sha256
    strokes: CommittedFile
    image: CommittedFile
    vector: CommittedFile
    strokes_rendered_by: str
    """Version of the code that derived image and vector from the strokes."""
    ink_checks: tuple[InkCheck, ...]
    reading: Reading | None = None
    """None before 2026-12: it was not asked for."""
    pen: tuple[PenMeasure, ...] = ()
    signed_at: Instant
    """When the customer acted."""
    signatory: Signatory = Signatory()
    proof: ActProof


class InkRejected(Fact):
    """A signature that could not be taken, kept with its reasons (I11)."""

    service = "signing"
    name = "ink_rejected"

    attempt_no: Annotated[int, Field(ge=1)]
    reason: Slug
    box: Annotated[int, Field(ge=0)] | None = None
    """Which box, from 0; none: the whole name."""
    checks: tuple[InkCheck, ...]
    reading: Reading | None = None
    """None where the ink was no handwriting to begin with."""
    pen: tuple[PenMeasure, ...] = ()
    strokes: CommittedFile
    signatory: Signatory = Signatory()
    proof: ActProof


class ReviewRequested(Written, Fact):
    """A signature that two people have to look at: nobody's yet, until both find it legible (I11)."""

    service = "signing"
    name = "review_requested"

    review_no: Annotated[int, Field(ge=1)]
    attempt_no: Annotated[int, Field(ge=1)]
    reason: Slug
    """Why the check could not take it."""


Finding = Literal["legible", "handwriting_unclear", "handwriting_another_name"]
"""Of one who looks at a signature: does it read as the name?"""


class ReviewDecided(Fact):
    """What one member of the insurer's staff, looking at strokes and image, finds: does it read as the name?"""

    service = "signing"
    name = "review_decided"

    review_no: Annotated[int, Field(ge=1)]
    reviewer: Token
    finding: Finding


class ReviewClosed(Fact):
    """A review that ended without a signature: not legible, or overtaken by what else happened in the journey."""

    service = "signing"
    name = "review_closed"

    review_no: Annotated[int, Field(ge=1)]
    attempt: Annotated[int, Field(ge=1)]
    reason: Slug
    """A finding, or ``session_voided``, ``journey_ended``, ``terms_changed``."""


class FormsSigned(Written, Attested):
    """One signing act, taken. After a review it is taken when both have found it legible; the act is the customer's
    own, of ``signed_at``.
    """

    service = "signing"
    name = "forms_signed"

    legibility: Literal["not_judged", "pass", "manual"]
    review_no: Annotated[int, Field(ge=1)] | None = None
    """The review it came through; none where the check itself passed it."""


class WrittenPhrase(Contract):
    """One phrase of a declaration in the customer's own hand, where a product demands it: a box a character."""

    phrase: Sha256
    """Of its text."""
    products: tuple[Slug, ...] = ()
    """All that are offered and have the phrase in their declaration, bought or not: it is copied once for all."""
    checks: tuple[InkCheck, ...]
    strokes: CommittedFile
    signatory: Signatory = Signatory()
    proof: ActProof


class PhraseCopied(WrittenPhrase, Fact):
    """A copy that was taken."""

    service = "signing"
    name = "phrase_copied"

    attempt: Annotated[int, Field(ge=1)]
    reading: Reading
    """By the limits of phrases, which are not those of names. A character that the reader does not know is not among
    those read; ``manual``: it knows none of them.
    """


class PhraseRejected(WrittenPhrase, Fact):
    """A copy that could not be taken."""

    service = "signing"
    name = "phrase_rejected"

    reason: Slug
    box: Annotated[int, Field(ge=0)] | None = None
    """Which box, from 0; none: the whole phrase."""
    reading: Reading | None
    """None where the ink was no handwriting to begin with."""


class FormPending(Fact):
    """A signed form cannot be completed yet: an authority gave no certificate, status or timestamp. It is completed
    when the authority does, never by a clock of ours; until then the form is handed to nobody (I33).
    """

    service = "signing"
    name = "form_pending"

    product: Slug
    reason: Slug


class FormSealed(Fact):
    """One form with the customer's signature, the handwriting being its look, under the insurer's seal; both
    timestamped.
    """

    service = "signing"
    name = "form_sealed"

    product: Slug
    form_no: str
    form: CommittedFile
    first_revision: Sha256
    """Commitment of the first revision, the form the customer reviewed."""
    certificate: Sha256 | None = None
    """Of the one-time certificate (DER) the customer's signature in it was made with; None where the seal was the
    only signature (before 2026-12).
    """


class Refused(Refusal):
    service = "signing"
    name = "refused"
