"""Value types shared by facts and commands."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue


class Contract(BaseModel):
    """What we emit: frozen, and a field nobody declared is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_timedelta="iso8601")


def _utc(value: datetime) -> datetime:
    if value.utcoffset() is None:
        raise ValueError("a time needs a zone")
    if value.utcoffset() != timedelta(0):
        raise ValueError("times are UTC")
    return value


Instant = Annotated[datetime, AfterValidator(_utc)]
"""A moment in UTC. Paper and pages show it in Asia/Shanghai."""

Fen = Annotated[int, Field(ge=0, le=10_000_000_000_00)]
"""Money in integer fen (1/100 yuan)."""

Ulid = Annotated[str, Field(pattern=r"^[0-9A-HJKMNP-TV-Z]{26}$")]
JourneyId = Ulid
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Token = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_-]+$")]
"""A name safe in a subject: a channel id, a salesperson's number."""

Heads = dict[Slug, Annotated[int, Field(ge=0)]]
"""How far each service's facts of one journey are known: service → sequence."""


class Committed(Contract):
    """A personal value that does not travel: its commitment and the sealed blob that holds it.

    ``commitment`` is SHA-256(16 random bytes ‖ value); ``blob`` is the SHA-256 of the sealed bytes.
    """

    commitment: Sha256
    blob: Sha256


class CommittedFile(Committed):
    """A committed file. ``size`` is that of the file itself, in bytes."""

    media_type: str
    size: Annotated[int, Field(ge=0)]


class Role(StrEnum):
    """In which capacity somebody acts."""

    POLICYHOLDER = "policyholder"


class Signatory(Contract):
    """Who acts. A journey may have several; today the policyholder is the one."""

    role: Role = Role.POLICYHOLDER
    index: Annotated[int, Field(ge=0)] = 0


class Proof(Contract):
    """The proof of possession (RFC 9449) that came with a request, with what it must be checked against."""

    jws: Annotated[str, Field(max_length=4096)]
    method: Annotated[str, Field(pattern=r"^[A-Z]{3,7}$")]
    url: Annotated[str, Field(max_length=512)]


class ActProof(Contract):
    """The customer's own hand under an act: the proof and the very body it covers.

    The proof's ``bh`` claim is the hash of the body's bytes, so whoever may open ``body`` can check that
    this device sent exactly this.
    """

    proof: Proof
    body: Committed
    attempt: Annotated[int, Field(ge=1)]
    """Which device session of the journey acted; a new device begins a new attempt (I12)."""


class Attestation(Contract):
    """Evidence's signed word that it holds every fact up to ``heads`` (DESIGN §3, I33)."""

    head: Sha256
    count: Annotated[int, Field(ge=1)]
    heads: Heads
    at: Instant
    signature: str
    """Detached ES256 JWS (compact, RFC 7515) over the canonical JSON of the other fields and the journey id."""
    token: Sha256
    """Blob of the RFC 3161 token over ``head``."""


class DocumentRef(Contract):
    """One document a customer must read, as published in a release."""

    product: Slug
    document: Slug
    version: str
    sha256: Sha256


class PremiumLine(Contract):
    """One line of what is paid: a product's premium or a tax collected with it (I17)."""

    product: Slug
    kind: Slug
    fen: Fen


def canonical_json(value: JsonValue | dict[str, Any]) -> bytes:
    """Sorted keys, no spaces, UTF-8: what is hashed or signed as a structure."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
