"""Facts of evidence: what was anchored and what was handed out (services/evidence)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.facts.base import Fact
from contracts.values import Heads, Sha256


class HeadAnchored(Fact):
    """The chain's head was signed and timestamped outside (RFC 3161, I19)."""

    service = "evidence"
    name = "head_anchored"

    head: Sha256
    count: Annotated[int, Field(ge=1)]
    heads: Heads
    token: Sha256
    signature: str | None = None
    """As in the attestation given out with this head (``contracts.values.Attestation``)."""


class PackExported(Fact):
    """A pack left the house: what it covers and why."""

    service = "evidence"
    name = "pack_exported"

    scope: Literal["journey", "policy"]
    policy_no: str | None
    masked: bool
    reason: str
    manifest_sha256: Sha256
