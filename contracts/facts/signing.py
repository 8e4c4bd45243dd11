"""Facts of signing: the forms, the declaration and the name in the customer's own hand (services/signing)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.facts.base import Attested, Fact, Refusal
from contracts.values import ActProof, CommittedFile, Contract, Instant, Sha256, Signatory, Slug


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


class InkRejected(Fact):
    """A signature that could not be taken, kept with its reasons (I11)."""

    service = "signing"
    name = "ink_rejected"

    attempt_no: Annotated[int, Field(ge=1)]
    reason: Slug
    checks: tuple[InkCheck, ...]
    strokes: CommittedFile
    signatory: Signatory = Signatory()
    proof: ActProof


class FormsSigned(Attested):
    """One signing act over the listed documents, with the strokes it was made of."""

    service = "signing"
    name = "forms_signed"

    attempt: Annotated[int, Field(ge=1)]
    items: Annotated[tuple[SignedItem, ...], Field(min_length=1)]
    declaration_sha256: Sha256
    strokes: CommittedFile
    image: CommittedFile
    vector: CommittedFile
    strokes_rendered_by: str
    """Version of the code that derived image and vector from the strokes."""
    ink_checks: tuple[InkCheck, ...]
    legibility: Literal["not_judged", "pass", "manual"]
    signed_at: Instant
    signatory: Signatory = Signatory()
    proof: ActProof


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
