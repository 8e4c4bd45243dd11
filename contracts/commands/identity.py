"""Requests to services/identity."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.commands.base import Act, Command, Query, Request
from contracts.facts.identity import DeviceKey, Method, Mode, NoticeRef, Purpose
from contracts.values import Contract, Instant, JourneyId, Proof, Sha256, Slug, Ulid


class IssueNonce(Request):
    """A server nonce for a proof of possession (RFC 9449 §8). Nonces from before a restart are refused."""

    service = "identity"
    verb = "issue_nonce"


class Nonce(Contract):
    nonce: str


IssueNonce.reply = Nonce


class JudgeProof(Query):
    """Is this request from the journey's own device, now? Asked for every customer request.

    ``purpose`` "act" and "read" need a live session; "open" binds nothing yet; "identity" is allowed while
    the session waits to be proven again.
    """

    service = "identity"
    verb = "judge_proof"

    proof: Proof
    body_sha256: Sha256
    session: Sha256 | None
    purpose: Literal["open", "identity", "act", "read"]
    moving: bool = True
    """False for what shows nobody at work (a still page's heartbeat): the idle clock runs on."""


class Judgement(Contract):
    attempt: Annotated[int, Field(ge=1)]
    thumbprint: str
    device_key: DeviceKey
    jti: str
    verified: bool
    """Identity is proven and still valid in this attempt."""
    nonce: str
    """For the next request."""


JudgeProof.reply = Judgement


class LinkSecret(Contract):
    link_secret: Annotated[str, Field(min_length=16, max_length=64)]


class OpenSession(Act):
    """The tap on the link's page: binds the device key (I12)."""

    service = "identity"
    verb = "open_session"
    purpose = "open"
    arguments = LinkSecret


class SessionToken(Contract):
    session_token: str
    attempt: Annotated[int, Field(ge=1)]
    absolute_limit: Instant


OpenSession.reply = SessionToken


class AcknowledgeRecording(Act):
    service = "identity"
    verb = "acknowledge_recording"
    purpose = "identity"
    arguments = NoticeRef


class ModeOnly(Contract):
    mode: Mode


class ChooseMode(Act):
    """The pages as usual, or in elder mode: at any time, and again (I26)."""

    service = "identity"
    verb = "choose_mode"
    purpose = "identity"
    arguments = ModeOnly


class GiveConsent(Act):
    """One consent an act (I9)."""

    service = "identity"
    verb = "give_consent"
    purpose = "identity"
    arguments = NoticeRef


class DeclineConsent(Act):
    """Declines a consent or withdraws one given (I8, I25)."""

    service = "identity"
    verb = "decline_consent"
    purpose = "identity"
    arguments = NoticeRef


class PurposeOnly(Contract):
    purpose: Purpose


class CodeForPurpose(Contract):
    purpose: Purpose
    code: Annotated[str, Field(pattern=r"^[0-9]{6}$")]


class SendOtp(Act):
    service = "identity"
    verb = "send_otp"
    purpose = "identity"
    arguments = PurposeOnly


class OtpOnItsWay(Contract):
    expires_at: Instant
    phone_masked: str
    """As 138****1234."""


SendOtp.reply = OtpOnItsWay


class VerifyOtp(Act):
    service = "identity"
    verb = "verify_otp"
    purpose = "identity"
    arguments = CodeForPurpose


class NameAndIdNumber(Contract):
    name: Annotated[str, Field(min_length=2, max_length=40)]
    id_number: Annotated[str, Field(min_length=15, max_length=18)]


class CheckRealName(Act):
    """Name and ID number as the customer types them: the policyholder's, and the platform agrees (I7)."""

    service = "identity"
    verb = "check_real_name"
    purpose = "identity"
    arguments = NameAndIdNumber


class StartFace(Act):
    """Needs the separate face consent (I9)."""

    service = "identity"
    verb = "start_face"
    purpose = "identity"


class FaceRedirect(Contract):
    redirect_url: str


StartFace.reply = FaceRedirect


class FinishFace(Act):
    """The customer is back from the platform; the result is fetched server to server (I7)."""

    service = "identity"
    verb = "finish_face"
    purpose = "identity"


class IdentityResult(Contract):
    verified: bool
    valid_until: Instant | None = None


FinishFace.reply = IdentityResult


class CardNumber(Contract):
    card_number: Annotated[str, Field(pattern=r"^[0-9]{13,19}$")]


class CheckBankCard(Act):
    """The equal path without face, after an SMS code (I8)."""

    service = "identity"
    verb = "check_bank_card"
    purpose = "identity"
    arguments = CardNumber
    reply = IdentityResult


class StepOnly(Contract):
    step: Slug


class RequestHelp(Act):
    """One tap reaches a human (I27)."""

    service = "identity"
    verb = "request_help"
    purpose = "identity"
    arguments = StepOnly


class HelpOffered(Contract):
    hotline: str
    hours: str


RequestHelp.reply = HelpOffered


class RecordIntrusion(Command):
    """Somebody who is not the customer called a customer's endpoint (I13); refused and kept."""

    service = "identity"
    verb = "record_intrusion"

    actor: Literal["channel", "staff", "partner", "nobody"]
    attempted: Slug


class ViewIdentity(Query):
    service = "identity"
    verb = "view"


class IdentityView(Contract):
    attempt: Annotated[int, Field(ge=0)]
    recording_acknowledged: bool
    consents: dict[Slug, Literal["given", "declined"]]
    real_name_matched: bool
    otp_verified: tuple[Purpose, ...]
    face: Literal["none", "started", "passed", "failed"]
    verified: bool
    method: Method | None
    valid_until: Instant | None
    reproof_required: bool
    absolute_limit: Instant | None
    mode: Mode = "standard"


ViewIdentity.reply = IdentityView


class FindCustomers(Request):
    """The insurer's customers by blind index of name, phone or ID number: for renewal."""

    service = "identity"
    verb = "find_customers"

    kind: Literal["name", "phone", "id_number"]
    index: Sha256


class Customer(Contract):
    customer_id: Ulid
    journeys: tuple[JourneyId, ...]
    first_seen: Instant
    last_seen: Instant


class Customers(Contract):
    customers: tuple[Customer, ...]


FindCustomers.reply = Customers
