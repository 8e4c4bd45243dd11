"""Facts of the proposal: what is being bought (services/proposal)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.facts.base import Fact, Refusal
from contracts.values import (
    ActProof,
    Committed,
    Contract,
    DocumentRef,
    Fen,
    Instant,
    PremiumLine,
    Sha256,
    Signatory,
    Slug,
    Token,
    canonical_json,
    sha256_hex,
)


class Party(Contract):
    """A policyholder or an insured. Values are committed; only the kind of document is plain."""

    name: Committed
    id_type: Slug
    id_number: Committed
    phone: Committed
    address: Committed


class CoverTerms(Contract):
    """One cover (险种/责任) with its sum insured and its premium. ``sum_fen`` 0: the cover has no sum."""

    cover: Slug
    sum_fen: Fen
    premium_fen: Fen


class ProductTerms(Contract):
    """What one product of the journey is bought on.

    ``lock`` is the terms lock: confirmation, order, payment and issuance each check it (I17, I18).
    """

    product: Slug
    product_version: str
    optional: bool
    covers: tuple[CoverTerms, ...]
    premium_fen: Fen
    taxes: tuple[PremiumLine, ...] = ()
    period_from: Instant
    period_to: Instant
    fields: dict[Slug, Committed] = {}
    documents: tuple[DocumentRef, ...]
    """The mandatory documents of this product, none inherited from another (I6)."""
    points: tuple[Slug, ...]
    """Deadly points shown as pop-ups."""
    questions: tuple[Slug, ...] = ()
    lock: Sha256


class JourneyOpened(Fact):
    """A channel's proposal was accepted; the journey exists and the customer has not begun."""

    service = "proposal"
    name = "journey_opened"

    release: Sha256
    """The product release that everything later is read from (I20)."""
    channel_id: Token
    channel_reference: Token | None = None
    intermediary: str | None = None
    salesperson: Committed | None = None
    """JSON object with the salesperson's name and licence number."""
    salesperson_phone_index: Sha256 | None = None
    proposal_no: str
    policyholder: Party
    insured: Party | None
    """None where no product names one (seat-bound cover)."""
    subject: dict[Slug, Committed]
    products: Annotated[tuple[ProductTerms, ...], Field(min_length=1)]
    link_hash: Sha256
    expires_at: Instant


class LinkSent(Fact):
    """The link went to the policyholder's phone by SMS."""

    service = "proposal"
    name = "link_sent"

    message_id: Token


class ProductChosen(Fact):
    """The customer ticked an optional product, seeing its terms (I4)."""

    service = "proposal"
    name = "product_chosen"

    product: Slug
    lock: Sha256
    signatory: Signatory = Signatory()
    proof: ActProof


class ProductDropped(Fact):
    """The customer removed an optional product; the others stand as they are (I5)."""

    service = "proposal"
    name = "product_dropped"

    product: Slug
    signatory: Signatory = Signatory()
    proof: ActProof


class TermsConfirmed(Fact):
    """The customer confirmed who, what and how much, by the lock of each product (I18)."""

    service = "proposal"
    name = "terms_confirmed"

    locks: dict[Slug, Sha256]
    signatory: Signatory = Signatory()
    proof: ActProof


class ProposalWithdrawn(Fact):
    """The channel took the proposal back. Final."""

    service = "proposal"
    name = "proposal_withdrawn"

    reason: Literal["channel_request", "customer_request", "wrong_data"]


class ProposalExpired(Fact):
    """The link's time ran out before the journey was paid. Final."""

    service = "proposal"
    name = "proposal_expired"


class Refused(Refusal):
    service = "proposal"
    name = "refused"


def terms_lock(policyholder: Party, insured: Party | None, subject: dict[str, Committed], terms: ProductTerms) -> str:
    """The hash over everything the customer confirms of one product (I17, I18).

    Personal values enter by their commitments, so the lock says nothing about them and yet changes with
    any of them.
    """

    def party(who: Party) -> dict[str, str]:
        return {
            "id_type": who.id_type,
            **{key: getattr(who, key).commitment for key in ("name", "id_number", "phone", "address")},
        }

    return sha256_hex(
        canonical_json(
            {
                "policyholder": party(policyholder),
                "insured": None if insured is None else party(insured),
                "subject": {key: value.commitment for key, value in subject.items()},
                "product": terms.product,
                "product_version": terms.product_version,
                "covers": [[c.cover, c.sum_fen, c.premium_fen] for c in terms.covers],
                "premium_fen": terms.premium_fen,
                "taxes": [[t.kind, t.fen] for t in terms.taxes],
                "period": [terms.period_from.isoformat(), terms.period_to.isoformat()],
                "fields": {key: value.commitment for key, value in terms.fields.items()},
            }
        )
    )
