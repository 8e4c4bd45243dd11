"""Facts of identity: who is this, and on which device (services/identity)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.facts.base import Fact, Refusal
from contracts.values import ActProof, Contract, Instant, Sha256, Signatory, Slug, Token, Ulid


class NoticeRef(Contract):
    """A notice or consent text as published: its code, version and hash."""

    notice: Slug
    version: str
    sha256: Sha256


class DeviceKey(Contract):
    """The public half of the device's P-256 key (RFC 7517). The private half never leaves the phone."""

    kty: Literal["EC"] = "EC"
    crv: Literal["P-256"] = "P-256"
    x: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$")]
    y: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$")]


Purpose = Literal["identity", "alternative_path"]
Method = Literal["face", "bank_card"]
Mode = Literal["standard", "elder"]
"""How the pages are shown: elder has large type and longer times, never shorter ones (I26)."""


class SessionOpened(Fact):
    """A device took up the journey by the link. ``attempt`` counts devices; a new one voids what the last
    had not signed (I12).
    """

    service = "identity"
    name = "session_opened"

    attempt: Annotated[int, Field(ge=1)]
    device_key: DeviceKey
    thumbprint: str
    """RFC 7638 thumbprint of the device key."""
    absolute_limit: Instant
    signatory: Signatory = Signatory()
    proof: ActProof


class SessionVoided(Fact):
    """Everything the attempt had not signed is void (I12)."""

    service = "identity"
    name = "session_voided"

    attempt: Annotated[int, Field(ge=1)]
    reason: Literal["device_changed", "person_changed", "absolute_limit"]


class RecordingAcknowledged(Fact):
    """The customer was told that the process is recorded, and went on."""

    service = "identity"
    name = "recording_acknowledged"

    notice: NoticeRef
    signatory: Signatory = Signatory()
    proof: ActProof


class ModeChosen(Fact):
    """The customer chose how the pages are shown. In elder mode the idle clock runs longer (I26, DOMAIN §7.1)."""

    service = "identity"
    name = "mode_chosen"

    mode: Mode
    signatory: Signatory = Signatory()
    proof: ActProof


class ConsentGiven(Fact):
    """One consent, by an act of its own (I9)."""

    service = "identity"
    name = "consent_given"

    notice: NoticeRef
    signatory: Signatory = Signatory()
    proof: ActProof


class ConsentDeclined(Fact):
    """A consent was declined, or withdrawn after it was given (I8, I25)."""

    service = "identity"
    name = "consent_declined"

    notice: NoticeRef
    withdrawn: bool
    signatory: Signatory = Signatory()
    proof: ActProof


class OtpSent(Fact):
    """A one-time code went to the policyholder's phone. The code itself is nowhere but hashed."""

    service = "identity"
    name = "otp_sent"

    purpose: Purpose
    message_id: Token
    expires_at: Instant
    proof: ActProof


class OtpVerified(Fact):
    """The code sent to this phone came back, within its time and tries and for the purpose it was sent for."""

    service = "identity"
    name = "otp_verified"

    purpose: Purpose
    signatory: Signatory = Signatory()
    proof: ActProof


class RealNameChecked(Fact):
    """The platform compared name and ID number; asked server to server (I7)."""

    service = "identity"
    name = "real_name_checked"

    matched: bool
    provider_ref: Token
    signatory: Signatory = Signatory()
    proof: ActProof


class FaceStarted(Fact):
    """The customer was sent to the platform's own page. No image passes through us (I10)."""

    service = "identity"
    name = "face_started"

    provider_ref: Token
    signatory: Signatory = Signatory()
    proof: ActProof


class FaceChecked(Fact):
    """The platform's result, fetched server to server. Result, reference and time are all that is kept (I10)."""

    service = "identity"
    name = "face_checked"

    passed: bool
    provider_ref: Token
    score_band: Literal["high", "medium", "low", "none"]
    checked_at: Instant
    signatory: Signatory = Signatory()
    proof: ActProof


class BankCardChecked(Fact):
    """The equal path without face: name, ID number, card and phone agree with the bank (I8)."""

    service = "identity"
    name = "bank_card_checked"

    matched: bool
    provider_ref: Token
    signatory: Signatory = Signatory()
    proof: ActProof


class IdentityVerified(Fact):
    """The policyholder is who they say. Signing requires it, within ``valid_until`` (I7)."""

    service = "identity"
    name = "identity_verified"

    attempt: Annotated[int, Field(ge=1)]
    method: Method
    customer_id: Ulid
    """The insurer's own customer record; opaque."""
    valid_until: Instant
    reproof: bool
    """True when an idle session was proven again: confirmations given before are kept (I12)."""


class ReproofRequired(Fact):
    """The session lay idle beyond the limit; identity is needed again (I12)."""

    service = "identity"
    name = "reproof_required"

    attempt: Annotated[int, Field(ge=1)]
    idle_seconds: Annotated[int, Field(ge=0)]


class HelpRequested(Fact):
    """The customer tapped for a human (I27)."""

    service = "identity"
    name = "help_requested"

    step: Slug
    proof: ActProof


class Refused(Refusal):
    service = "identity"
    name = "refused"
