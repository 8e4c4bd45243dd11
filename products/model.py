"""What a product is: the shape of ``product.yaml`` and of the documents a customer reads.

Everything is frozen and refuses a key it does not know. Nothing here has a "selected" or "default" key, so
that no product, consent or answer can be pre-selected by data (I4). Money is integer fen.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from datetime import date
from enum import StrEnum
from html import escape
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from contracts.values import Contract, Fen, Sha256, Slug

Text = Annotated[str, Field(min_length=1, max_length=4000, pattern=r"\S")]
Label = Annotated[str, Field(min_length=1, max_length=80, pattern=r"\S")]
Path = Annotated[str, Field(pattern=r"^[a-z_]+\.[a-z][a-z0-9_]*$")]
"""Where a value comes from: ``subject.seats``, ``fields.deductible_percent``, ``policyholder.name``."""

PARTY_FIELDS = ("name", "id_type", "id_number", "phone", "address")
PART_FIELDS = ("period", "premium_fen", "taxes_fen", "total_fen")
POLICY_FIELDS = (
    "number",
    "form_number",
    "verify_code",
    "confirmed_at",
    "paid_at",
    "issued_at",
    "printed_at",
    "channel",
    "intermediary",
    "salesperson",
)
PRODUCT_FIELDS = (
    "name",
    "marketing_name",
    "filing_number",
    "clause_code",
    "insurer",
    "address",
    "hotline",
    "complaint",
    "website",
    "insured",
    "disputes",
)


class Insurer(Contract):
    """Who insures, named in full on every disclosure (I31)."""

    name: Label
    address: Text
    hotline: Annotated[str, Field(pattern=r"^[0-9X-]{5,15}$")]
    website: Annotated[str, Field(pattern=r"^[a-z0-9.-]{4,80}$")]
    complaint: Text


class DocumentKind(StrEnum):
    NOTICE = "notice"
    CLAUSES = "clauses"
    EXCLUSIONS = "exclusions"
    RATE_NOTICE = "rate_notice"
    AUTHORISATION = "authorisation"
    PRIVACY = "privacy"
    CONSENT = "consent"


class DocumentEntry(Contract):
    """A document as ``product.yaml`` lists it. The order of the list is the order of reading."""

    code: Slug
    title: Label
    kind: DocumentKind
    file: Annotated[str, Field(pattern=r"^documents/[a-z0-9_-]+\.md$")]
    version: Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.-]{0,31}$")]
    clause_code: Label
    """The filing or clause code shown above the text (I31)."""
    mandatory: bool


class Span(Contract):
    text: Annotated[str, Field(min_length=1)]
    bold: bool = False


class Block(Contract):
    """One heading or paragraph. A paragraph has an id (``p1``, ``p2``…) that a page reports as visible."""

    id: Annotated[str, Field(pattern=r"^[hp][1-9][0-9]*$")]
    kind: Literal["heading", "paragraph", "item"]
    level: Annotated[int, Field(ge=0, le=3)] = 0
    number: Annotated[int, Field(ge=1)] | None = None
    """The number of an item in its list."""
    exclusion: Annotated[str, Field(pattern=r"^e[1-9][0-9]*$")] | None = None
    """Set on an itemised exclusion (I2)."""
    spans: tuple[Span, ...]

    @property
    def text(self) -> str:
        return "".join(span.text for span in self.spans)

    @property
    def conspicuous(self) -> bool:
        return any(span.bold for span in self.spans)

    def html(self) -> str:
        """Escaped markup without attributes other than ``id`` and ``class`` (fits a CSP without styles)."""
        inner = "".join(
            f"<strong>{escape(span.text)}</strong>" if span.bold else escape(span.text) for span in self.spans
        )
        if self.kind == "heading":
            return f'<h{self.level} id="{self.id}">{inner}</h{self.level}>'
        names = [self.kind]
        names += ["conspicuous"] if self.conspicuous else []
        names += ["exclusion"] if self.exclusion else []
        mark = f'<span class="number">{self.number}.</span> ' if self.number is not None else ""
        return f'<p id="{self.id}" class="{" ".join(names)}">{mark}{inner}</p>'


def minimum_dwell(characters: int) -> int:
    """Seconds a text must stay open: 2 s per 1,000 characters, at least 3, at most 300 (I3)."""
    return min(300, max(3, -(-characters * 2 // 1000)))


class Document(Contract):
    """A published text. ``sha256`` is that of its source bytes; it always has a page of its own (I2)."""

    code: Slug
    title: Label
    kind: DocumentKind
    version: str
    clause_code: Label
    mandatory: bool
    sha256: Sha256
    characters: Annotated[int, Field(ge=1)]
    """Characters shown, white space not counted."""
    minimum_dwell_seconds: Annotated[int, Field(ge=3, le=300)]
    single_page: Literal[True] = True
    blocks: tuple[Block, ...]

    @property
    def paragraphs(self) -> tuple[Block, ...]:
        """What must be seen, headings left out."""
        return tuple(block for block in self.blocks if block.kind != "heading")

    @property
    def exclusions(self) -> tuple[Block, ...]:
        return tuple(block for block in self.blocks if block.exclusion is not None)

    def text(self) -> str:
        return "\n".join(block.text for block in self.blocks)

    def html(self) -> str:
        """The whole text as safe markup: ``h1``–``h3``, ``p``, ``strong``, ``span.number``."""
        return "\n".join(block.html() for block in self.blocks)


class Choice(Contract):
    code: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]{0,63}$")]
    name: Label


class FieldType(StrEnum):
    TEXT = "text"
    INTEGER = "integer"
    FEN = "fen"
    DATE = "date"
    CHOICE = "choice"
    BOOLEAN = "boolean"


class Comparison(Contract):
    """A number bound to another one: at most, or equal to, ``other + offset``."""

    other: Path
    rule: Literal["at_most", "equal"]
    offset: Annotated[int, Field(ge=-1_000_000, le=1_000_000)] = 0


class FieldRule(Contract):
    """One value a channel submits, in ``subject`` or in the product's own ``fields``."""

    code: Slug
    label: Label
    type: FieldType
    required: bool
    required_with: tuple[Slug, ...] = ()
    """Also required, and only then allowed, when one of these covers is chosen."""
    pattern: Annotated[str, Field(max_length=300)] | None = None
    hint: Text | None = None
    """What the value should look like, in plain Chinese; part of the error's sentence."""
    choices: tuple[Choice, ...] = ()
    min: int | None = None
    """Least number, or least length of a text."""
    max: int | None = None
    past: bool = False
    """A date that may not lie in the future."""
    compare: Comparison | None = None
    unit: Label | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.type is FieldType.CHOICE) != bool(self.choices):
            raise ValueError("choices belong to a choice field, and a choice field needs them")
        if len({choice.code for choice in self.choices}) != len(self.choices):
            raise ValueError("two choices share a code")
        if self.pattern is not None:
            if self.type is not FieldType.TEXT:
                raise ValueError("only a text field has a pattern")
            try:
                re.compile(self.pattern)
            except re.error as fault:
                raise ValueError(f"pattern: {fault}") from None
        if self.past and self.type is not FieldType.DATE:
            raise ValueError("only a date can be required to be past")
        if self.compare is not None and self.type not in (FieldType.INTEGER, FieldType.FEN):
            raise ValueError("only numbers are compared")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is greater than max")
        return self


class Subject(Contract):
    """What is insured. Products of one proposal share the subject; each checks the fields it declares."""

    kind: Slug
    title: Label
    fields: tuple[FieldRule, ...]


class FixedSum(Contract):
    rule: Literal["fixed"]
    fen: Annotated[int, Field(gt=0)]


class ChoiceSum(Contract):
    rule: Literal["choice"]
    fen: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)]


class RangeSum(Contract):
    rule: Literal["range"]
    min_fen: Annotated[int, Field(gt=0)]
    max_fen: Annotated[int, Field(gt=0)]
    step_fen: Annotated[int, Field(gt=0)] = 1
    compare: Comparison | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_fen > self.max_fen:
            raise ValueError("min_fen is greater than max_fen")
        return self


class NoSum(Contract):
    """A term without a sum of its own; ``sum_fen`` is 0."""

    rule: Literal["none"]


SumRule = Annotated[FixedSum | ChoiceSum | RangeSum | NoSum, Field(discriminator="rule")]


class Cover(Contract):
    code: Slug
    name: Label
    required: bool
    additional: bool = False
    """An additional cover (附加险): bought only with a main one."""
    requires_any: tuple[Slug, ...] = ()
    """Only together with at least one of these covers."""
    sum: SumRule
    unit: Literal["policy", "seat", "accident"]
    """What ``sum_fen`` counts: the policy period, one seat, or one accident."""
    seats: Path | None = None
    """Where the number of insured seats is found, for a sum per seat."""
    premium: Literal["priced", "included"] = "priced"
    """``included``: its price is part of another cover's premium, ``premium_fen`` is 0."""
    note: Text | None = None
    """Excess, share and other limits; shown in bold beside the cover (they count as exclusions)."""


class PremiumBounds(Contract):
    min_fen: Annotated[int, Field(gt=0)]
    max_fen: Fen


class Tax(Contract):
    """A tax collected with the premium, always a line of its own (I17)."""

    code: Slug
    name: Label
    required: bool
    """The line must be there, even when it is zero."""
    max_fen: Fen


class PeriodRule(Contract):
    """How long cover lasts and when it may begin, by the calendar of Asia/Shanghai."""

    min_months: Annotated[int, Field(ge=1, le=120)]
    max_months: Annotated[int, Field(ge=1, le=120)]
    starts: Annotated[tuple[Literal["midnight", "immediate"], ...], Field(min_length=1)]
    latest_start_days: Annotated[int, Field(ge=1, le=366)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_months > self.max_months:
            raise ValueError("min_months is greater than max_months")
        return self


class RetentionClass(StrEnum):
    """How long records are kept after the contract ended (I22)."""

    UP_TO_ONE_YEAR = "up_to_one_year"
    OVER_ONE_YEAR = "over_one_year"

    @property
    def years(self) -> int:
        return 5 if self is RetentionClass.UP_TO_ONE_YEAR else 10

    def keep_until(self, contract_end: date, dispute_end: date | None = None) -> date:
        """The last day on which nothing may be deleted: end + 5 or 10 years, or dispute's end + 3 if later."""
        until = _years_later(contract_end, self.years)
        return until if dispute_end is None else max(until, _years_later(dispute_end, 3))


def _years_later(day: date, years: int) -> date:
    try:
        return day.replace(year=day.year + years)
    except ValueError:  # 29 February: kept one day longer rather than shorter
        return date(day.year + years, 3, 1)


IdType = Literal["id_card", "permanent_residence", "passport", "travel_permit"]
ID_TYPE_NAMES: dict[str, str] = {
    "id_card": "居民身份证",
    "permanent_residence": "外国人永久居留身份证",
    "passport": "护照",
    "travel_permit": "港澳台居民来往通行证",
}


class PartyRule(Contract):
    id_types: Annotated[tuple[IdType, ...], Field(min_length=1)]
    min_age: Annotated[int, Field(ge=0, le=120)]
    max_age: Annotated[int, Field(ge=0, le=150)] = 120


class InsuredRule(Contract):
    """Who is insured: named in the proposal, or described (seat-bound cover names nobody)."""

    named: bool
    party: PartyRule | None = None
    text: Text

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.named != (self.party is not None):
            raise ValueError("a named insured needs party rules, an unnamed one has none")
        return self


class Parties(Contract):
    policyholder: PartyRule
    insured: InsuredRule


class Row(Contract):
    label: Label
    source: Path


class Section(Contract):
    """A part of the form or policy: rows of values, one of the known tables, or a text."""

    title: Label
    rows: tuple[Row, ...] = ()
    table: Literal["covers", "taxes", "special_terms", "documents", "answers", "deadly_points"] | None = None
    text: Text | None = None

    @model_validator(mode="after")
    def _one_content(self) -> Self:
        if bool(self.rows) + (self.table is not None) + (self.text is not None) != 1:
            raise ValueError("a section holds exactly one of rows, table, text")
        return self


class Layout(Contract):
    title: Label
    sections: Annotated[tuple[Section, ...], Field(min_length=1)]


class SpecialTerm(Contract):
    code: Slug
    title: Label
    text: Text


class DeadlyPoint(Contract):
    """A point shown in a pop-up of its own because it most often costs people their claim."""

    code: Slug
    title: Label
    text: Text
    document: Slug
    clause: Label
    """The clause number as it stands in that document."""
    covers: tuple[Slug, ...] = ()
    """Shown only when one of these covers is chosen; empty: always."""


class Answer(Contract):
    code: Slug
    text: Label
    outcome: Literal["accept", "advise_stop", "decline"]
    advice: Text | None = None
    """What the customer is told; needed for every outcome but ``accept``."""

    @model_validator(mode="after")
    def _explained(self) -> Self:
        if (self.outcome == "accept") == (self.advice is not None):
            raise ValueError("advice is given for advise_stop and decline, and only for them")
        return self


class Question(Contract):
    code: Slug
    text: Text
    answers: Annotated[tuple[Answer, ...], Field(min_length=2)]

    def answer(self, code: str) -> Answer | None:
        return next((answer for answer in self.answers if answer.code == code), None)

    @model_validator(mode="after")
    def _answers(self) -> Self:
        if len({answer.code for answer in self.answers}) != len(self.answers):
            raise ValueError("two answers share a code")
        return self


class Surrender(Contract):
    """How the contract ends early; visible before signing and after issuance (I32)."""

    title: Label
    conditions: Annotated[tuple[Text, ...], Field(min_length=1)]
    how: Text


class Declaration(Contract):
    sentence: Text
    """The sentence the policyholder confirms about the exclusions."""
    statement: Text
    """The printed declaration above the signature."""
    copied: tuple[Annotated[str, Field(pattern=r"^[\u3400-\u9fff]{2,20}$")], ...] = ()
    """The sentence in phrases that the policyholder copies by hand, one character a box; none: it is confirmed."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.copied and "".join(self.copied) != _without_punctuation(self.sentence):
            raise ValueError("the phrases to be copied are not the sentence")
        return self


def _without_punctuation(text: str) -> str:
    """Without spaces as well. A figure or letter stays, so that no phrase can leave it out."""
    return "".join(character for character in text if unicodedata.category(character)[0] not in "PZC")


class DisclosureHeader(Contract):
    """What stands above every document (I31)."""

    product: Label
    document: Label
    version: str
    clause_code: Label
    filing_number: Label
    insurer: Label
    intermediary: str | None
    """Name of the intermediary as the channel gave it; ``None`` when the insurer sells directly."""
    hotline: str
    complaint: Text


class ProductData(Contract):
    """Everything ``product.yaml`` says beside its documents."""

    code: Slug
    version: Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.-]{0,31}$")]
    name: Label
    marketing_name: Label | None = None
    insurer: Insurer
    filing_number: Label
    clause_code: Label
    line: Slug
    line_code: Annotated[str, Field(pattern=r"^[A-Z0-9]{4}$")]
    """First four characters of policy numbers."""
    optional: bool
    """Offered beside others and never ticked beforehand (I4, I5)."""
    retention: RetentionClass
    summary: Text
    """What it covers, in two or three plain sentences, for the page where it is confirmed or chosen."""
    subject: Subject
    parties: Parties
    covers: Annotated[tuple[Cover, ...], Field(min_length=1)]
    premium: PremiumBounds
    taxes: tuple[Tax, ...] = ()
    period: PeriodRule
    fields: tuple[FieldRule, ...] = ()
    special_terms: tuple[SpecialTerm, ...] = ()
    deadly_points: tuple[DeadlyPoint, ...] = ()
    disclosure_questions: tuple[Question, ...] = ()
    """Concrete questions about facts that matter to underwriting (art. 27)."""
    needs_questions: Annotated[tuple[Question, ...], Field(min_length=1)]
    """Fit of need, duplicate cover, means (I30)."""
    surrender: Surrender
    disputes: Text
    declaration: Declaration
    form: Layout
    policy: Layout

    def cover(self, code: str) -> Cover | None:
        return next((cover for cover in self.covers if cover.code == code), None)

    @model_validator(mode="after")
    def _references(self) -> Self:
        lists: tuple[tuple[str, list[str]], ...] = (
            ("covers", [cover.code for cover in self.covers]),
            ("taxes", [tax.code for tax in self.taxes]),
            ("fields", [field.code for field in self.fields]),
            ("subject.fields", [field.code for field in self.subject.fields]),
            ("special_terms", [term.code for term in self.special_terms]),
            ("deadly_points", [point.code for point in self.deadly_points]),
            ("questions", [q.code for q in (*self.disclosure_questions, *self.needs_questions)]),
        )
        for where, codes in lists:
            for code in codes:
                if codes.count(code) > 1:
                    raise ValueError(f"{where}: the code {code} is used twice")
        if any(field.required_with for field in self.subject.fields):
            raise ValueError("subject.fields: required_with is for the product's own fields")
        covers = set(lists[0][1])
        for where, code in self._cover_references():
            if code not in covers:
                raise ValueError(f"{where}: no cover {code}")
        numbers = {
            f"{root}.{field.code}"
            for root, fields in (("subject", self.subject.fields), ("fields", self.fields))
            for field in fields
            if field.type in (FieldType.INTEGER, FieldType.FEN)
        }
        for where, path in self._number_references():
            if path not in numbers:
                raise ValueError(f"{where}: {path} is no number this product declares")
        for where, layout, policy in (("form", self.form, False), ("policy", self.policy, True)):
            for i, section in enumerate(layout.sections):
                for j, row in enumerate(section.rows):
                    if not self._known_source(row.source, policy=policy):
                        raise ValueError(f"{where}.sections.{i}.rows.{j}.source: unknown source {row.source}")
        for i, question in enumerate(self.disclosure_questions):
            if any(answer.outcome == "advise_stop" for answer in question.answers):
                raise ValueError(f"disclosure_questions.{i}: an answer accepts or declines")
        for i, question in enumerate(self.needs_questions):
            if any(answer.outcome == "decline" for answer in question.answers):
                raise ValueError(f"needs_questions.{i}: an answer accepts or advises to stop")
        long = self.period.max_months > 12
        if long != (self.retention is RetentionClass.OVER_ONE_YEAR):
            raise ValueError(f"retention: {self.retention} does not fit {self.period.max_months} months")
        return self

    def _cover_references(self) -> Iterator[tuple[str, str]]:
        for i, cover in enumerate(self.covers):
            yield from ((f"covers.{i}.requires_any", code) for code in cover.requires_any)
        for i, field in enumerate(self.fields):
            yield from ((f"fields.{i}.required_with", code) for code in field.required_with)
        for i, point in enumerate(self.deadly_points):
            yield from ((f"deadly_points.{i}.covers", code) for code in point.covers)

    def _number_references(self) -> Iterator[tuple[str, str]]:
        for i, cover in enumerate(self.covers):
            if isinstance(cover.sum, RangeSum) and cover.sum.compare:
                yield f"covers.{i}.sum.compare.other", cover.sum.compare.other
            if (cover.unit == "seat") != (cover.seats is not None):
                raise ValueError(f"covers.{i}.seats: given for a sum per seat, and only then")
            if cover.seats:
                yield f"covers.{i}.seats", cover.seats
        for where, fields in (("fields", self.fields), ("subject.fields", self.subject.fields)):
            for i, field in enumerate(fields):
                if field.compare:
                    yield f"{where}.{i}.compare.other", field.compare.other

    def _known_source(self, path: str, *, policy: bool) -> bool:
        root, _, name = path.partition(".")
        known: dict[str, Any] = {
            "policyholder": PARTY_FIELDS,
            "insured": PARTY_FIELDS if self.parties.insured.named else (),
            "subject": tuple(field.code for field in self.subject.fields),
            "fields": tuple(field.code for field in self.fields),
            "part": PART_FIELDS,
            "product": PRODUCT_FIELDS,
            "policy": POLICY_FIELDS if policy else ("form_number", "channel", "intermediary", "salesperson"),
        }
        return name in known.get(root, ())


class ProductSource(ProductData):
    """``product.yaml`` as it is written."""

    documents: Annotated[tuple[DocumentEntry, ...], Field(min_length=1)]


class Product(ProductData):
    """A product with its documents, as a journey uses it."""

    documents: tuple[Document, ...]
    source_sha256: Sha256
    """Of the bytes of ``product.yaml``."""

    def document(self, code: str) -> Document | None:
        return next((document for document in self.documents if document.code == code), None)

    def header(self, document: Document, intermediary: str | None = None) -> DisclosureHeader:
        return DisclosureHeader(
            product=self.name,
            document=document.title,
            version=document.version,
            clause_code=document.clause_code,
            filing_number=self.filing_number,
            insurer=self.insurer.name,
            intermediary=intermediary,
            hotline=self.insurer.hotline,
            complaint=self.insurer.complaint,
        )

    @model_validator(mode="after")
    def _documents(self) -> Self:
        codes = [document.code for document in self.documents]
        for code in codes:
            if codes.count(code) > 1:
                raise ValueError(f"documents: the code {code} is used twice")
        for kind in (DocumentKind.CLAUSES, DocumentKind.EXCLUSIONS):
            if not any(document.kind is kind and document.mandatory for document in self.documents):
                raise ValueError(f"documents: a mandatory document of kind {kind} is missing (I2, I6)")
        for document in self.documents:
            if document.kind is DocumentKind.EXCLUSIONS and not document.exclusions:
                raise ValueError(f"documents: {document.code} itemises no exclusion (I2)")
        for i, point in enumerate(self.deadly_points):
            document = self.document(point.document)
            if document is None:
                raise ValueError(f"deadly_points.{i}.document: no document {point.document}")
            if point.clause not in document.text():
                raise ValueError(f"deadly_points.{i}.clause: {point.clause} is not in {point.document}")
        return self


class NoticeEntry(Contract):
    """A text that belongs to no product, as ``notices.yaml`` lists it."""

    code: Slug
    title: Label
    kind: DocumentKind
    file: Annotated[str, Field(pattern=r"^documents/[a-z0-9_-]+\.md$")]
    version: Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.-]{0,31}$")]
    clause_code: Label
    stage: Literal["entry", "identity", "payment"]
    """Where it is put before the customer."""
    act: Literal["acknowledge", "consent"]
    required: bool
    """False: refusing it never ends the journey (I8), only the thing it would allow."""
    ask: Label
    """The words of the button by which the customer agrees; always an act of its own (I9)."""


class NoticesSource(Contract):
    version: str
    insurer: Insurer
    notices: Annotated[tuple[NoticeEntry, ...], Field(min_length=1)]


class Notice(Contract):
    """A notice or consent text with the act it asks for."""

    stage: Literal["entry", "identity", "payment"]
    act: Literal["acknowledge", "consent"]
    required: bool
    ask: Label
    insurer: Insurer
    document: Document
