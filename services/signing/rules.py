"""What must be signed, and when it may be. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from contracts.commands.signing import FormOffered
from contracts.facts import signing as facts
from contracts.facts.base import Fact
from contracts.facts.proposal import ProductTerms
from contracts.facts.signing import FormPrepared, SignedItem
from contracts.problems import Refuse
from contracts.progress import Progress
from contracts.values import sha256_hex
from products import Product
from servicekit.journeys import JourneyState

FORM = "application_form"
FORM_VERSION = "2026.2"
"""Of the layout. What is not yet signed is drawn anew when it changes."""


class SigningState(JourneyState):
    progress: Progress = Progress()
    tries: int = 0
    """Signatures that could not be taken."""
    sealed_forms: dict[str, FormOffered] = {}
    pending_forms: dict[str, str] = {}
    """Product → what its signed form waits for."""


def evolve(state: SigningState, fact: Fact) -> SigningState:
    changes: dict[str, object] = {"progress": state.progress.after(fact)}
    match fact:
        case facts.InkRejected():
            changes["tries"] = fact.attempt_no
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
    return state.model_copy(update=changes)


def check_ready(progress: Progress, attempt: int, now: datetime) -> None:
    """Identity proven, terms confirmed, everything read: nothing is drawn or signed before (I1, I7)."""
    progress.check_alive()
    progress.check_identity(attempt, now)
    if progress.signed is not None:
        raise Refuse("already_signed")
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
