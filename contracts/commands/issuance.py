"""Requests to services/issuance."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from contracts.commands.base import Command, Query, Request
from contracts.values import CommittedFile, Contract, Instant, Sha256, Slug, Token


class ViewIssuance(Query):
    service = "issuance"
    verb = "view"


class IssuedPolicy(Contract):
    product: Slug
    policy_no: str
    policy: CommittedFile
    issued_at: Instant


class IssuanceView(Contract):
    state: Literal["none", "waiting", "issuing", "issued"]
    policies: tuple[IssuedPolicy, ...]
    problem: Slug | None = None
    """Why a paid journey does not move, a code of ``contracts.problems``."""


ViewIssuance.reply = IssuanceView


class RenounceOrder(Command):
    """Asked before money that was taken as payment goes back: from now on no policy is numbered for this order (I16).

    Refused with ``journey_issued`` where policies are numbered already: the contracts stand, and the way back is
    their cancellation.
    """

    service = "issuance"
    verb = "renounce_order"

    order_no: Token


class VerifyPolicy(Request):
    """The public check: by number and code, or by the hash of a file (I23)."""

    service = "issuance"
    verb = "verify"

    policy_no: Annotated[str, Field(max_length=40)] | None = None
    code: Annotated[str, Field(max_length=40)] | None = None
    file_sha256: Sha256 | None = None

    @model_validator(mode="after")
    def _one_way(self) -> VerifyPolicy:
        if self.file_sha256 is None and not (self.policy_no and self.code):
            raise ValueError("a policy number with its code, or the hash of a file")
        return self


class Verification(Contract):
    """``altered``: the number and code are real, the file is not the one issued under them."""

    outcome: Literal["authentic", "altered", "unknown"]
    policy_no: str | None = None
    product: Slug | None = None
    issued_at: Instant | None = None
    period_from: Instant | None = None
    period_to: Instant | None = None
    file_sha256: Sha256 | None = None


VerifyPolicy.reply = Verification


class ListGaps(Request):
    """Serial numbers drawn and never used. Allowed, but accounted for."""

    service = "issuance"
    verb = "list_gaps"

    line: Annotated[str, Field(pattern=r"^[A-Z0-9]{4}$")]
    year: Annotated[int, Field(ge=2020, le=2200)]


class Gaps(Contract):
    serials: tuple[int, ...]


ListGaps.reply = Gaps
