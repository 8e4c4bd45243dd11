"""What must be signed, and when it may be. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from contracts.commands.signing import FormOffered, Refused
from contracts.facts import signing as facts
from contracts.facts.base import Fact
from contracts.facts.proposal import ProductTerms
from contracts.facts.signing import FormPrepared, InkCheck, Reading, ReviewRequested, SignedItem
from contracts.problems import Refuse
from contracts.progress import Progress
from contracts.values import Contract, Instant, sha256_hex
from products import Product
from servicekit.journeys import JourneyState

FORM = "application_form"
FORM_VERSION = "2026.2"
"""Of the layout. What is not yet signed is drawn anew when it changes."""


TRIES: Final = 3
"""Writings not taken after which the pad shows one box at a time, with the printed character beside it."""
REVIEWERS: Final = 2
"""People who must both find it legible (I11)."""
MOST_REVIEWS: Final = 3
"""Of a journey: who was not legible to people so often must not get through by asking more of them (I11)."""
FOR_PEOPLE: Final = frozenset({"ink_too_few_strokes", "ink_too_many_strokes"})
"""What somebody may fail for however carefully they write: a count of strokes is a table's word, not a reader's."""


class Review(Contract):
    """A signature that people look at."""

    requested: ReviewRequested
    legible: tuple[str, ...] = ()
    """Who has found it so."""
    moved_at: Instant
    """When anything last happened in the journey: since then it is due, if it is."""


class SigningState(JourneyState):
    progress: Progress = Progress()
    tries: int = 0
    """Writings that were not taken, or not at once."""
    readings: int = 0
    """How many of them the check of legibility read: its limits rise with each (I11)."""
    refused: Refused | None = None
    """Why the last one was not taken."""
    reviews: int = 0
    review: Review | None = None
    sealed_forms: dict[str, FormOffered] = {}
    pending_forms: dict[str, str] = {}
    """Product → what its signed form waits for."""


FINDINGS: Final = frozenset({"handwriting_unclear", "handwriting_another_name"})
"""What people may find that do not take a signature."""


def evolve(state: SigningState, fact: Fact) -> SigningState:
    changes: dict[str, object] = {"progress": state.progress.after(fact)}
    match fact:
        case facts.InkRejected():
            changes["tries"] = fact.attempt_no
            changes["readings"] = state.readings + (fact.reading is not None)
            changes["refused"] = Refused(code=fact.reason, box=None if fact.box is None else fact.box + 1)
        case facts.ReviewRequested():
            changes["tries"] = fact.attempt_no
            changes["readings"] = state.readings + (fact.reading is not None)
            changes["reviews"] = fact.review_no
            changes["review"] = Review(requested=fact, moved_at=fact.at)
        case facts.ReviewDecided() if fact.finding == "legible" and state.review is not None:
            seen = (*state.review.legible, fact.reviewer)
            changes["review"] = state.review.model_copy(update={"legible": seen})
        case facts.ReviewClosed():
            changes["review"] = None
            changes["refused"] = Refused(code=fact.reason, box=None) if fact.reason in FINDINGS else None
        case facts.FormsSigned():
            changes["review"] = changes["refused"] = None
        case facts.FormSealed():
            offered = FormOffered(
                product=fact.product,
                form_no=fact.form_no,
                form_version=FORM_VERSION,
                form=fact.form,
                reviewed=True,
            )
            changes["sealed_forms"] = {**state.sealed_forms, fact.product: offered}
            changes["pending_forms"] = {p: why for p, why in state.pending_forms.items() if p != fact.product}
        case facts.FormPending():
            changes["pending_forms"] = {**state.pending_forms, fact.product: fact.reason}
        case _:
            pass
    state = state.model_copy(update=changes)
    if state.review is None:
        return state
    return state.model_copy(update={"review": state.review.model_copy(update={"moved_at": fact.at})})


def check_ready(state: SigningState, attempt: int, now: datetime) -> None:
    """Identity proven, terms confirmed, everything read: nothing is drawn or signed before (I1, I7). And nothing
    while people look at what was written.
    """
    progress = state.progress
    progress.check_alive()
    progress.check_identity(attempt, now)
    if progress.signed is not None:
        raise Refuse("already_signed")
    if state.review is not None:
        raise Refuse("review_pending")
    progress.check_confirmed()
    progress.check_disclosed()


def answers_commitment(progress: Progress, product: str) -> str | None:
    """Of the answers to the insurer's questions as they stand; none where none were given."""
    given = progress.confirmations.answers.get(product)
    return None if given is None else given.commitment


def current_form(progress: Progress, terms: ProductTerms) -> FormPrepared | None:
    """The product's form, if it says what is confirmed and answered now; unsigned, only in the layout of now."""
    form = progress.confirmations.forms.get(terms.product)
    if form is None or form.lock != terms.lock or form.answers != answers_commitment(progress, terms.product):
        return None
    if progress.signed is None and form.form_version != FORM_VERSION:
        return None
    return form


def current_forms(progress: Progress) -> tuple[FormPrepared, ...]:
    """The form of each product in the purchase. Raises ``Refuse`` unless every one is drawn on the terms and answers
    of now.
    """
    forms: list[FormPrepared] = []
    for terms in progress.chosen():
        form = current_form(progress, terms)
        if form is None:
            raise Refuse("forms_not_prepared", product=terms.product)
        forms.append(form)
    return tuple(forms)


def items(progress: Progress, forms: Iterable[FormPrepared]) -> tuple[SignedItem, ...]:
    """The list one act of signing covers: each product's form, and each document its customer had to read."""
    by_product = {form.product: form for form in forms}
    listed: list[SignedItem] = []
    for terms in progress.chosen():
        form = by_product[terms.product]
        listed.append(
            SignedItem(
                product=terms.product,
                kind="form",
                document=FORM,
                version=form.form_version,
                hash=form.form.commitment,
            )
        )
        listed += [
            SignedItem(product=d.product, kind="document", document=d.document, version=d.version, hash=d.sha256)
            for d in terms.documents
        ]
    return tuple(listed)


def declaration(products: Sequence[Product]) -> str:
    """What is declared, product by product: the printed statement, then the sentence affirmed (DOMAIN §2.3)."""
    return "\n\n".join(f"{p.name}\n{p.declaration.statement}\n{p.declaration.sentence}" for p in products)


def check_signature(
    progress: Progress, signed: Sequence[SignedItem], declaration_sha256: str, declared: str
) -> tuple[FormPrepared, ...]:
    """The act lists exactly what must be signed, each form was reviewed, the declaration is the one shown."""
    forms = current_forms(progress)
    if missing := [form.product for form in forms if form.product not in progress.confirmations.reviewed]:
        raise Refuse("forms_unreviewed", products=missing)
    if declaration_sha256 != sha256_hex(declared.encode()):
        raise Refuse("declaration_changed")
    wanted = items(progress, forms)
    if len(signed) != len(wanted) or set(signed) != set(wanted):
        raise Refuse("items_incomplete")
    return forms


# -- a writing that is not taken at once -------------------------------------------------------------------


def one_by_one(state: SigningState) -> bool:
    """Whether the pad shows one large box at a time: after ``TRIES`` writings that were not taken."""
    return state.tries >= TRIES


def is_read(state: SigningState, failed: InkCheck | None) -> bool:
    """Whether what the ink checks found is asked for legibility: all that is handwriting, and what people may yet
    have to look at.
    """
    return failed is None or (one_by_one(state) and failed.code in FOR_PEOPLE)


def refusal(state: SigningState, failed: InkCheck | None, reading: Reading | None) -> Refused | None:
    """Why a writing is not taken; None when it is: every check passed (I11)."""
    if failed is not None:
        return Refused(code=failed.code, box=None if failed.box is None else failed.box + 1)
    if reading is None:
        raise ValueError("nothing is taken unread")
    if reading.outcome == "pass":
        return None
    if reading.outcome == "manual" and state.reviews >= MOST_REVIEWS:
        return Refused(code="reviews_exhausted", box=None)
    # The whole name is wrong, or one box of it.
    where = None if reading.reason == "handwriting_another_name" else _first_failed(reading)
    return Refused(code=reading.reason or "handwriting_unclear", box=where)


def for_people(state: SigningState, reading: Reading | None) -> bool:
    """Whether people look at a writing that is not taken: at once where the reader does not know a character, else
    once single boxes did not help either. Never without handwriting, and not for ever (I11).
    """
    if reading is None or state.reviews >= MOST_REVIEWS:
        return False
    return reading.outcome == "manual" or one_by_one(state)


def _first_failed(reading: Reading) -> int | None:
    return next((read.box + 1 for read in reading.characters if not read.ok), None)


def check_review(state: SigningState, review_no: int, reviewer: str) -> Review:
    """It waits for somebody, and not for one who has found it legible already. Raises ``Refuse``."""
    review = state.review
    if review is None or review.requested.review_no != review_no or overtaken(state) is not None:
        raise Refuse("review_over")
    if reviewer in review.legible:
        raise Refuse("review_decided")
    if len(review.legible) >= REVIEWERS:
        raise Refuse("review_over")
    return review


def overtaken(state: SigningState) -> str | None:
    """Why a review has lost its object: what was signed is not what would be bought now, or not in this session
    (I12). None while it has one.
    """
    review, progress = state.review, state.progress
    if review is None:
        return None
    if progress.ended is not None:
        return "journey_ended"
    if progress.attempt != review.requested.attempt or progress.voided >= review.requested.attempt:
        return "session_voided"
    try:
        same = set(items(progress, current_forms(progress))) == set(review.requested.items)
    except Refuse:
        same = False
    return None if same else "terms_changed"


def review_settled(state: SigningState) -> bool:
    """Whether what follows from a review is due."""
    review = state.review
    return review is not None and (len(review.legible) >= REVIEWERS or overtaken(state) is not None)


# -- what was signed ---------------------------------------------------------------------------------------


def to_seal(state: SigningState) -> tuple[FormPrepared, ...]:
    """Signed forms that are not yet sealed files."""
    signed = state.progress.signed
    if signed is None:
        return ()
    session = state.progress.sessions.get(signed.attempt)
    covered = {(item.product, item.hash) for item in signed.items if item.kind == "form"}
    forms = () if session is None else session.forms.values()
    return tuple(
        form
        for form in forms
        if (form.product, form.form.commitment) in covered and form.product not in state.sealed_forms
    )
