"""Requests to services/proposal."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.commands.base import Act, Command, CommandId, Query, Request
from contracts.facts.proposal import Party, ProductTerms
from contracts.values import Committed, Contract, Fen, Instant, JourneyId, Sha256, Slug, Token


class SubmitProposal(Request):
    """A channel's proposal. ``body`` holds the JSON as sent, sealed under the key of a new journey.

    A repeat with the same ``command_id`` of the same channel is answered with the first one's journey.
    """

    service = "proposal"
    verb = "submit"

    command_id: CommandId
    journey_id: JourneyId
    channel_id: Token
    intermediary: str | None = None
    body: Committed


class ProposalAccepted(Contract):
    journey_id: JourneyId
    proposal_no: str
    link: str
    """What the SMS carries and a QR code may show. The part after # never reaches a server's log."""
    expires_at: Instant


SubmitProposal.reply = ProposalAccepted


class Salesperson(Contract):
    """Who sold it, as the channel says or as they signed in."""

    name: Annotated[str, Field(min_length=2, max_length=20)]
    licence_no: Annotated[str, Field(min_length=4, max_length=40, pattern=r"^[0-9A-Za-z-]+$")]
    phone: Annotated[str, Field(pattern=r"^1[3-9][0-9]{9}$")]


class NameRelease(Request):
    """Which release of the products new journeys are opened on."""

    service = "proposal"
    verb = "release"


class ReleaseNamed(Contract):
    release: Sha256


NameRelease.reply = ReleaseNamed


class WithdrawProposal(Command):
    service = "proposal"
    verb = "withdraw"

    channel_id: Token
    seller: Sha256 | None = None
    """Blind index of a salesperson's phone: only what they sold themselves. None: the whole channel's."""
    reason: Literal["channel_request", "customer_request", "wrong_data"] = "channel_request"


class ResendLink(Command):
    """Sends the link once more, by SMS only."""

    service = "proposal"
    verb = "resend_link"

    channel_id: Token
    seller: Sha256 | None = None


class ShowLink(Query):
    """The link once more, to show as a QR code while the journey is alive."""

    service = "proposal"
    verb = "link"

    channel_id: Token
    seller: Sha256 | None = None


class LinkShown(Contract):
    link: str
    expires_at: Instant


ShowLink.reply = LinkShown


class ListProposals(Query):
    """A channel's own proposals with their state only, never the customer's answers.

    ``journey_id`` is the cursor: those after it in the order asked for.
    """

    service = "proposal"
    verb = "list"

    channel_id: Token
    seller: Sha256 | None = None
    """Blind index of a salesperson's phone: what they sold. None: the whole channel's."""
    order: Literal["oldest", "newest"] = "oldest"
    limit: Annotated[int, Field(ge=1, le=100)] = 50


class ProposalState(Contract):
    journey_id: JourneyId
    proposal_no: str
    channel_reference: Token | None
    state: Literal["open", "confirmed", "signed", "ordered", "paid", "issued", "withdrawn", "expired"]
    products: tuple[Slug, ...]
    opened_at: Instant
    expires_at: Instant


class ProposalStates(Contract):
    proposals: tuple[ProposalState, ...]


ListProposals.reply = ProposalStates


class TermsOfProduct(Contract):
    product: Slug
    lock: Sha256


class ProductOnly(Contract):
    product: Slug


class Locks(Contract):
    locks: Annotated[dict[Slug, Sha256], Field(min_length=1)]


class ChooseProduct(Act):
    service = "proposal"
    verb = "choose_product"
    arguments = TermsOfProduct


class DropProduct(Act):
    service = "proposal"
    verb = "drop_product"
    arguments = ProductOnly


class ConfirmTerms(Act):
    """Confirms every product chosen at that moment, each by its lock."""

    service = "proposal"
    verb = "confirm_terms"
    arguments = Locks


class ViewProposal(Query):
    service = "proposal"
    verb = "view"


class ProposalView(Contract):
    journey_id: JourneyId
    proposal_no: str
    release: Sha256
    channel_id: Token
    intermediary: str | None
    state: Literal["open", "confirmed", "signed", "ordered", "paid", "issued", "withdrawn", "expired"]
    policyholder: Party
    insured: Party | None
    subject: dict[Slug, Committed]
    products: tuple[ProductTerms, ...]
    chosen: tuple[Slug, ...]
    """Products in the purchase now; optional ones only if the customer ticked them (I4)."""
    confirmed: tuple[Slug, ...]
    total_fen: Fen
    expires_at: Instant


ViewProposal.reply = ProposalView
