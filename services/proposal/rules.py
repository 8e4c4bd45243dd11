"""What may be proposed, chosen, dropped and confirmed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, JsonValue

from contracts.commands.proposal import Salesperson
from contracts.facts import proposal as facts
from contracts.facts.base import Fact
from contracts.facts.proposal import CoverTerms, Party, ProductTerms, terms_lock
from contracts.problems import MOST_FAULTS, FieldFault, Refuse
from contracts.progress import Progress
from contracts.values import Committed, Contract, DocumentRef, Fen, PremiumLine, Slug, Token
from products import Product, Release, check_proposal
from servicekit.journeys import JourneyState

PAPER = ZoneInfo("Asia/Shanghai")


class ProposalState(JourneyState):
    progress: Progress = Progress()
    link_sent: bool = False

    @property
    def stage(self) -> Literal["open", "confirmed", "signed", "ordered", "paid", "issued", "withdrawn", "expired"]:
        at = self.progress
        if at.issued:
            # Also where a withdrawal came when the policies were already being made: they are in force.
            return "issued"
        if at.ended is not None:
            return at.ended
        if at.paid is not None:
            return "paid"
        if at.order_open:
            return "ordered"
        if at.signed is not None:
            return "signed"
        return "confirmed" if at.confirmations.locks else "open"


def evolve(state: ProposalState, fact: Fact) -> ProposalState:
    changes: dict[str, object] = {"progress": state.progress.after(fact)}
    if isinstance(fact, facts.LinkSent):
        changes["link_sent"] = True
    return state.model_copy(update=changes)


# -- intake --------------------------------------------------------------------------------------------------


class SubmittedParty(Contract):
    name: str
    id_type: Slug
    id_number: str
    phone: str
    address: str


class SubmittedCover(Contract):
    cover: Slug
    sum_fen: Fen
    premium_fen: Fen


class SubmittedTax(Contract):
    tax: Slug
    fen: Fen


class SubmittedPeriod(Contract):
    from_: Annotated[datetime, Field(alias="from")]
    to: datetime


class SubmittedProduct(Contract):
    product: Slug
    covers: Annotated[tuple[SubmittedCover, ...], Field(max_length=100)]
    premium_fen: Fen
    taxes: Annotated[tuple[SubmittedTax, ...], Field(max_length=20)] = ()
    period: SubmittedPeriod
    fields: dict[Slug, str | int | bool] = {}


class Submitted(Contract):
    """A proposal as a channel sends it. The products' data says what may stand in it."""

    channel_reference: Token | None = None
    salesperson: Salesperson | None = None
    policyholder: SubmittedParty
    insured: SubmittedParty | None = None
    subject: dict[Slug, str | int | bool]
    products: Annotated[tuple[SubmittedProduct, ...], Field(min_length=1, max_length=10)]


def check_submitted(release: Release, body: JsonValue, now: datetime) -> tuple[FieldFault, ...]:
    """Every fault of the proposal, each named by its field (RFC 6901); empty when it can be taken.

    Raises ``Refuse("preselected")`` where the channel tries to tick something for the customer (I4).
    """
    if isinstance(body, dict):
        parts = body.get("products")
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict) and {"selected", "chosen", "checked", "auto_renewal"} & part.keys():
                raise Refuse("preselected")
    faults = [
        FieldFault(pointer=error.pointer, code=error.code, detail=error.message)
        for error in check_proposal(release.products, body, now=now)
    ]
    if isinstance(body, dict):
        seller, holder = body.get("salesperson"), body.get("policyholder")
        if isinstance(seller, dict) and isinstance(holder, dict):
            phone = seller.get("phone")
            if phone is not None and phone == holder.get("phone"):
                faults.append(
                    FieldFault(
                        pointer="/policyholder/phone",
                        code="phone_of_salesperson",
                        detail="投保人手机号不能是业务员的手机号。",
                    )
                )
    return tuple(faults[:MOST_FAULTS])


def as_text(value: str | float | bool) -> str:
    """A submitted value as it is committed: text, whatever it was in JSON."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def terms_of(
    product: Product,
    part: SubmittedProduct,
    policyholder: Party,
    insured: Party | None,
    subject: Mapping[str, Committed],
    fields: Mapping[str, Committed],
) -> ProductTerms:
    """The terms of one product with their lock; the whole subject enters it, also what only another product asks."""
    covers = {cover.cover for cover in part.covers}
    unlocked = ProductTerms(
        product=product.code,
        product_version=product.version,
        optional=product.optional,
        covers=tuple(CoverTerms(cover=c.cover, sum_fen=c.sum_fen, premium_fen=c.premium_fen) for c in part.covers),
        premium_fen=part.premium_fen,
        taxes=tuple(PremiumLine(product=product.code, kind=tax.tax, fen=tax.fen) for tax in part.taxes),
        period_from=part.period.from_.astimezone(UTC),
        period_to=part.period.to.astimezone(UTC),
        fields=dict(fields),
        documents=tuple(
            DocumentRef(product=product.code, document=d.code, version=d.version, sha256=d.sha256)
            for d in product.documents
            if d.mandatory
        ),
        points=tuple(p.code for p in product.deadly_points if not p.covers or covers & set(p.covers)),
        questions=tuple(question.code for question in product.disclosure_questions),
        lock="0" * 64,
    )
    lock = terms_lock(policyholder, insured, dict(subject), unlocked)
    return unlocked.model_copy(update={"lock": lock})


def proposal_no(journey_id: str, day: date) -> str:
    """投保单号: never a policy number's shape (DOMAIN §2.6)."""
    return f"TB{day:%Y%m%d}{journey_id[-10:]}"


# -- the customer's choice -----------------------------------------------------------------------------------


def check_changeable(progress: Progress, attempt: int, now: datetime) -> None:
    progress.check_alive()
    progress.check_identity(attempt, now)
    if progress.paid is not None:
        raise Refuse("order_paid")


def check_choice(progress: Progress, product: str, lock: str) -> ProductTerms:
    """An optional product may be ticked until the signature, on the terms shown (I4)."""
    terms = progress.offered(product)
    if terms is None:
        raise Refuse("product_not_offered")
    if not terms.optional:
        raise Refuse("product_not_optional")
    if progress.signed is not None:
        raise Refuse("already_signed")
    if product in progress.confirmations.chosen_optional:
        raise Refuse("already_done")
    if lock != terms.lock:
        raise Refuse("terms_changed", product=product)
    return terms


def check_drop(progress: Progress, product: str) -> ProductTerms:
    """An optional product may be removed any time before payment (I5)."""
    terms = progress.offered(product)
    if terms is None:
        raise Refuse("product_not_offered")
    if not terms.optional:
        raise Refuse("product_not_optional")
    if progress.order_open:
        raise Refuse("order_open")
    if product not in progress.confirmations.chosen_optional:
        raise Refuse("already_done")
    return terms


def check_confirmation(progress: Progress, locks: Mapping[str, str]) -> None:
    """What is confirmed is exactly what is in the purchase, each product by the lock of its terms (I18)."""
    if progress.signed is not None:
        raise Refuse("already_signed")
    chosen = {terms.product: terms.lock for terms in progress.chosen()}
    for product in locks:
        if product not in chosen:
            raise Refuse("product_not_offered")
    for product, lock in chosen.items():
        if product not in locks:
            raise Refuse("terms_not_confirmed", product=product)
        if locks[product] != lock:
            raise Refuse("terms_changed", product=product)


def expires(state: ProposalState) -> datetime | None:
    """When the journey ends by itself; never while a payment is under way or done."""
    progress = state.progress
    if progress.opened is None or progress.ended or progress.order_open or progress.paid or progress.issued:
        return None
    return progress.opened.expires_at
