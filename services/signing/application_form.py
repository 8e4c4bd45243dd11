"""The application form (统一投保单): one layout for every product, filled from data.

The form is rendered with two empty fields and shown to the customer: those bytes are the first revision. Signing
appends to them; the handwriting becomes the appearance of the customer's field, so what the customer saw is a byte
prefix of what was signed, and its hash can be checked in the final file. The insurer's seal is appended to that.
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from contracts import Contract
from contracts.facts.signing import FormsSigned
from contracts.values import CommittedFile, Fen, Instant, Sha256, canonical_json, sha256_hex
from servicekit.documents.appearance import Appearance
from servicekit.documents.paper import paper_time
from servicekit.documents.render import Job
from servicekit.documents.seal import Certify, Sealer, field_size
from servicekit.documents.sheet import Amount, Cover, Row, Section, Text, check_totals
from servicekit.documents.status import Proofs
from services.signing.event_certificate import act_of
from services.signing.strokes import Handwriting, appearance

TEMPLATES = Path(__file__).parent / "templates"
SIGNATURE_FIELD = "signature"
SEAL_FIELD = "seal"


class Question(Contract):
    """A question the policyholder answered before applying (如实告知)."""

    text: Text
    answer: Text


class DocumentRead(Contract):
    """A document the policyholder has read, as it is named on the form."""

    title: Text
    version: Annotated[str, Field(min_length=1, max_length=32)]


class ApplicationForm(Contract):
    """Everything the form of one product shows. Money in fen; the figures must add up."""

    title: Text
    form_number: Text
    form_version: Text
    application_number: Text
    created: Instant
    insurer_name: Text
    insurer_address: Text
    insurer_hotline: Text
    sections: tuple[Section, ...]
    """Policyholder, insured, subject: whatever the product asks, in the order of the paper."""
    headings: tuple[str, str, str, str] = ("险种", "保险金额／责任限额（元）", "约定", "保险费（元）")
    covers: Annotated[tuple[Cover, ...], Field(min_length=1)]
    premium_fen: Fen
    taxes: tuple[Amount, ...] = ()
    """Collected with the premium and shown on lines of their own (I17)."""
    total_fen: Fen
    period: Text
    special_terms: tuple[Text, ...] = ()
    dispute_resolution: Text
    questions: tuple[Question, ...] = ()
    channel: tuple[Row, ...] = ()
    """Through whom the business came: channel, intermediary, salesperson with licence number."""
    documents: Annotated[tuple[DocumentRead, ...], Field(min_length=1)]
    declaration: Annotated[tuple[Text, ...], Field(min_length=1)]
    sentence: Text
    """The sentence the policyholder affirms (DOMAIN §2.3)."""
    signatory_label: Text = "投保人"
    qr: Annotated[str, Field(min_length=1, max_length=500)]

    @model_validator(mode="after")
    def _adds_up(self) -> "ApplicationForm":
        check_totals(self.covers, self.premium_fen, self.taxes, self.total_fen)
        return self


def form_job(form: ApplicationForm) -> Job:
    """What to render. The same form gives the same bytes."""
    return Job(
        templates=TEMPLATES,
        template="application_form.html",
        data={
            **form.model_dump(mode="json", exclude={"created"}),
            "created_text": paper_time(form.created),
        },
        identifier=f"{form.form_number}/{form.form_version}/{form.application_number}",
        created=form.created,
    )


class Statement(Contract):
    """What the customer's signature states beside the bytes it covers, as a signed attribute (docs/evidence.md)."""

    format: Literal[2] = 2
    act: Sha256
    """Hash of the device's proof of the act of signing."""
    preview: Sha256
    """Of the bytes of the first revision: what was shown."""
    form: Sha256
    """The first revision's commitment, by which facts and the act name it."""
    strokes: Sha256
    """The strokes' commitment."""
    legibility: str
    checks: Sha256
    """Of the canonical JSON of all checks of the ink, as the fact has them."""
    reading: Sha256
    """Likewise of what the check of legibility said."""
    pen: Sha256
    """Likewise of how the pen moved."""


def statement_of(signed: FormsSigned, form: CommittedFile, preview: bytes) -> Statement:
    said = signed.model_dump(mode="json", include={"ink_checks", "reading", "pen"})
    return Statement(
        act=act_of(signed),
        preview=sha256_hex(preview),
        form=form.commitment,
        strokes=signed.strokes.commitment,
        legibility=signed.legibility,
        checks=sha256_hex(canonical_json(said["ink_checks"])),
        reading=sha256_hex(canonical_json(said["reading"])),
        pen=sha256_hex(canonical_json(said["pen"])),
    )


async def sign_form(
    preview: bytes, handwriting: Handwriting, statement: Statement, customer: Sealer, name: str, at: datetime
) -> bytes:
    """The previewed form with the customer's signature: the handwriting in its field, certified and timestamped.

    Certifying (DocMDP, filling in allowed): beside the insurer's seal any change shows. ``preview`` is a byte
    prefix of the result. Raises NoSuchField, TimestampUnavailable (transient).
    """
    width, height = field_size(preview, SIGNATURE_FIELD)
    return await customer.seal(
        preview,
        field=SIGNATURE_FIELD,
        at=at,
        appearance=appearance(handwriting, width, height),
        certify=Certify.FURTHER_SIGNATURES,
        name=name,
        reason="投保人签署投保单",
        statement=canonical_json(statement.model_dump(mode="json")),
    )


async def seal_form(signed: bytes, look: Appearance, insurer: Sealer, proofs: Proofs, at: datetime) -> bytes:
    """The signed form under the insurer's seal, in the field prepared for it, whose lock covers the document.

    ``proofs`` show that every certificate in it was in force; they lie under the seal. ``signed`` is a byte prefix
    of the result. Raises NoSuchField, TimestampUnavailable (transient).
    """
    return await insurer.seal(
        signed, field=SEAL_FIELD, at=at, appearance=look, reason="保险人受理投保单", proofs=proofs
    )
