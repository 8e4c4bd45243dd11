"""Facts of issuance: policy numbers and policies (services/issuance)."""

from __future__ import annotations

from pydantic import Field

from contracts.facts.base import Attested, Fact, Refusal
from contracts.values import CommittedFile, Contract, Fen, Instant, Sha256, Slug, Token, Ulid


class NumberedPolicy(Contract):
    product: Slug
    policy_no: str
    lock: Sha256


class PoliciesNumbered(Attested):
    """One policy number per paid product, exactly once, from a confirmed full payment (I16, I19)."""

    service = "issuance"
    name = "policies_numbered"

    order_no: Token
    policies: tuple[NumberedPolicy, ...] = Field(min_length=1)


class PolicyIssued(Fact):
    """One policy exists: sealed, timestamped, verifiable by number and code or by its bytes (I23)."""

    service = "issuance"
    name = "policy_issued"

    product: Slug
    policy_no: str
    policy: CommittedFile
    lock: Sha256
    premium_fen: Fen
    taxes_fen: Fen
    period_from: Instant
    period_to: Instant
    retain_until: Instant
    """Not deleted before (I22)."""
    payment_confirmed_at: Instant
    channel_id: Token
    channel_reference: Token | None
    proposal_no: str


class JourneyIssued(Fact):
    """All policies of the journey are out."""

    service = "issuance"
    name = "journey_issued"

    policies: tuple[str, ...]
    products: tuple[Slug, ...]
    channel_id: Token
    customer_id: Ulid


class Refused(Refusal):
    """Paid and not issued: the whole order (``order_no``), or one policy that cannot be drawn (``product``)."""

    service = "issuance"
    name = "refused"

    order_no: Token | None = None
    product: Slug | None = None
