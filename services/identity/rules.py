"""What identity knows of one journey and what it decides by it. Pure: time, ids and answers are arguments."""

from __future__ import annotations

import hmac
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal

from contracts.commands.identity import IdentityView
from contracts.facts.base import Fact
from contracts.facts.identity import (
    BankCardChecked,
    ConsentDeclined,
    ConsentGiven,
    DeviceKey,
    FaceChecked,
    FaceStarted,
    IdentityVerified,
    Method,
    Mode,
    ModeChosen,
    NoticeRef,
    OtpVerified,
    Purpose,
    RealNameChecked,
    RecordingAcknowledged,
    ReproofRequired,
    SessionOpened,
    SessionVoided,
)
from contracts.facts.issuance import JourneyIssued
from contracts.facts.payment import OrderClosed, OrderPlaced, PaymentConfirmed, RefundRequested
from contracts.facts.proposal import JourneyOpened
from contracts.facts.signing import FormsSigned, ReviewClosed, ReviewRequested
from contracts.problems import FieldFault, Refuse
from contracts.progress import Progress
from contracts.values import Contract, Instant, sha256_hex
from products import Notice
from products.party_check import CHINA, age_on, id_birthday, id_check_character
from servicekit.journeys import JourneyState

RECORDING: Final = "recording"
PRIVACY: Final = "privacy"
FACE: Final = "face_consent"
ACCOUNT_CHECK: Final = "account_check"

FULL_AGE: Final = 18
"""Years of age from which a person has full capacity (Civil Code art. 17)."""
FACE_RESULT_VALID: Final = timedelta(minutes=15)
"""How long a platform's face result may be taken over (DOMAIN §1.6)."""
OTP_VALID: Final = timedelta(minutes=5)
OTP_TRIES: Final = 5
OTP_PAUSE: Final = timedelta(seconds=60)
OTP_AN_HOUR: Final = 5
FAILURES_AN_HOUR: Final = 5
HOUR: Final = timedelta(hours=1)
PERSONS_OF_A_PHONE: Final = 3
"""One phone serves at most three persons (DOMAIN §1.8)."""
BANDS_THAT_PASS: Final = ("high", "medium")
UNCHECKED_IDS: Final = ("passport", "travel_permit")
"""Identity documents whose number holds neither a check character nor a date of birth."""

CLOCKS_DIFFER: Final = timedelta(minutes=1)
"""By no more do the clocks of two processes that are right."""
LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)

Ended = Literal["device_changed", "person_changed", "absolute_limit"]


class Session(Contract):
    """One device session and what was proven in it."""

    attempt: int
    thumbprint: str
    device_key: DeviceKey
    opened_at: Instant
    absolute_limit: Instant
    ended: Ended | None = None
    recording: bool = False
    consents: dict[str, bool] = {}
    real_name: bool = False
    otp_verified: tuple[Purpose, ...] = ()
    face: Literal["none", "started", "passed", "failed"] = "none"
    face_session: str | None = None
    method: Method | None = None
    verified_at: Instant | None = None
    """When identity was last proven; kept while it must be proven again."""
    mode: Mode = "standard"
    waited: timedelta = timedelta(0)
    """How long the journey waited for us or for the payment channel: no clock runs meanwhile (DESIGN §5)."""

    def proving_again(self) -> Session:
        """What identity must show anew; acknowledgement and consents stay (I12)."""
        return self._with(real_name=False, otp_verified=(), face="none", face_session=None)

    def _with(self, **changes: object) -> Session:
        return self.model_copy(update=changes)


class IdentityState(JourneyState):
    progress: Progress = Progress()
    session: Session | None = None
    former: dict[int, Session] = {}
    """Sessions before this one, by attempt: a signature that was on its way may yet be heard of one of them."""
    waiting_since: Instant | None = None
    wait_ended: Instant | None = None


def evolve(state: IdentityState, fact: Fact) -> IdentityState:
    """The state once ``fact`` is heard; a fact of no consequence here leaves it as it is."""
    state = state.model_copy(update={"progress": state.progress.after(fact)})
    match fact:
        case ReviewRequested():
            # The customer has done their part and waits for the people who look at it.
            return state.model_copy(update={"waiting_since": state.waiting_since or fact.at})
        case ReviewClosed() | FormsSigned():
            return _waiting_ended(state, fact.at)
        case OrderPlaced():
            return state.model_copy(update={"waiting_since": state.waiting_since or fact.at})
        case OrderClosed() if not state.progress.order_open and state.progress.paid is None:
            return _waiting_ended(state, fact.at)
        case PaymentConfirmed():
            # Paid and not yet issued, it is the customer who waits for us.
            return state.model_copy(update={"waiting_since": state.waiting_since or fact.at})
        case JourneyIssued() | RefundRequested():
            return _waiting_ended(state, fact.at)
        case SessionOpened():
            return _opened(state, fact)
        case _:
            session = _session_after(state.session, fact)
            return state if session is state.session else state.model_copy(update={"session": session})


def _opened(state: IdentityState, fact: SessionOpened) -> IdentityState:
    last = state.session
    former = state.former if last is None else {**state.former, last.attempt: last}
    session = Session(
        attempt=fact.attempt,
        thumbprint=fact.thumbprint,
        device_key=fact.device_key,
        opened_at=fact.at,
        absolute_limit=fact.absolute_limit,
    )
    if (before := former.get(fact.attempt)) is not None:
        # The device that signed comes back: what it signed stands, identity must be proven.
        session = session.model_copy(
            update={
                "recording": before.recording,
                "consents": before.consents,
                "mode": before.mode,
                "verified_at": before.verified_at,
            }
        )
    return state.model_copy(update={"session": session, "former": former})


def _session_after(session: Session | None, fact: Fact) -> Session | None:
    if session is None:
        return None
    changes: dict[str, object]
    match fact:
        case SessionVoided() if fact.attempt == session.attempt:
            changes = {"ended": fact.reason}
        case RecordingAcknowledged():
            changes = {"recording": True}
        case ConsentGiven():
            changes = {"consents": {**session.consents, fact.notice.notice: True}}
        case ConsentDeclined():
            changes = {"consents": {**session.consents, fact.notice.notice: False}}
        case ModeChosen():
            changes = {"mode": fact.mode}
        case RealNameChecked():
            changes = {"real_name": fact.matched}
        case OtpVerified():
            changes = {"otp_verified": tuple(dict.fromkeys((*session.otp_verified, fact.purpose)))}
        case FaceStarted():
            changes = {"face": "started", "face_session": fact.provider_ref}
        case FaceChecked():
            changes = {"face": "passed" if fact.passed else "failed", "face_session": None}
        case BankCardChecked() if not fact.matched:
            # A code allows one card; the next guess costs a new code.
            changes = {"otp_verified": tuple(p for p in session.otp_verified if p != "alternative_path")}
        case IdentityVerified():
            changes = {"method": fact.method, "verified_at": fact.at}
        case ReproofRequired():
            return session.proving_again()
        case _:
            return session
    return session.model_copy(update=changes)


def _waiting_ended(state: IdentityState, at: datetime) -> IdentityState:
    if state.waiting_since is None:
        return state
    changes: dict[str, object] = {"waiting_since": None, "wait_ended": at}
    session = state.session
    if session is not None:
        since = max(state.waiting_since, session.opened_at)
        waited = session.waited + max(at - since, timedelta(0))
        changes["session"] = session.model_copy(update={"waited": waited})
    return state.model_copy(update=changes)


# -- the session and its clocks ----------------------------------------------------------------------------


def absolute_limit(session: Session) -> datetime:
    """When the session ends whatever happens; later by the time it stood still."""
    return session.absolute_limit + session.waited


def over_absolute_limit(state: IdentityState, now: datetime) -> bool:
    session = state.session
    return session is not None and state.waiting_since is None and now > absolute_limit(session)


def verified(state: IdentityState, now: datetime) -> bool:
    """Identity is proven in this session and still holds (I7)."""
    session, proven = state.session, state.progress.verified
    return (
        session is not None
        and session.ended is None
        and proven is not None
        and proven.attempt == session.attempt
        and not state.progress.reproof_required
        and state.progress.still_valid(proven, now)
    )


def idle_since(state: IdentityState, moved_at: datetime | None, now: datetime) -> datetime | None:
    """The last sign of the customer at work; None while no idle clock runs.

    It runs only once identity is proven in this session: before, there is no proof that could grow old. It
    stands still while the journey waits for a payment or for us. A sign of the future, kept while the clock was wrong,
    says nothing of how long ago it was: where there is no other, the longest ago there is.
    """
    session = state.session
    if session is None or state.waiting_since is not None or state.progress.verified is None:
        return None
    if state.progress.verified.attempt != session.attempt or state.progress.reproof_required:
        return None
    signs = (moved_at, session.opened_at, session.verified_at, state.wait_ended)
    return max((sign for sign in signs if sign is not None and sign <= now + CLOCKS_DIFFER), default=LONG_AGO)


def idle_limit(state: IdentityState, *, standard: timedelta, elder: timedelta) -> timedelta:
    """How long the customer may be away before identity is asked for again; never shorter in elder mode (I26)."""
    elderly = state.session is not None and state.session.mode == "elder"
    return max(standard, elder) if elderly else standard


def signing_session(state: IdentityState) -> Session | None:
    """The session the forms were signed in; none before they are. It need not be the session now: another may have
    been opened while the signature was on its way. The signature stands, and the journey is its session's (I12).
    """
    signed, session = state.progress.signed, state.session
    if signed is None or session is None:
        return None
    return session if session.attempt == signed.attempt else state.former.get(signed.attempt)


def check_device(state: IdentityState, thumbprint: str) -> Session:
    """The proof is by the device key of the session now (I12). Raises ``Refuse``."""
    if state.progress.opened is None:
        raise Refuse("journey_unknown")
    if state.session is None:
        raise Refuse("session_not_open")
    signer = signing_session(state)
    if signer is not None and signer.attempt != state.session.attempt:
        # The device that signed taps the link again and goes on; the other one cannot.
        same = hmac.compare_digest(signer.thumbprint, thumbprint)
        raise Refuse("session_not_open" if same else "device_bound")
    if not hmac.compare_digest(state.session.thumbprint, thumbprint):
        raise Refuse("proof_key_changed")
    return state.session


def check_live(session: Session) -> None:
    """The session was not ended. Raises ``Refuse``."""
    if session.ended == "absolute_limit":
        raise Refuse("session_expired")
    if session.ended is not None:
        raise Refuse("session_not_open")


@dataclass(frozen=True)
class Opening:
    """How a tap on the link is taken."""

    attempt: int
    void: Ended | None = None
    """Why the session before ends now; None when it goes on or had ended."""
    new: bool = True
    """False for a reload: the session goes on as it is."""


def decide_opening(state: IdentityState, thumbprint: str, link_secret: str, now: datetime) -> Opening:
    """What a tap on the link does: first device, reload, the device that signed back again, or another one (I12).

    Raises ``Refuse``: ``link_invalid``, ``journey_withdrawn``, ``journey_expired``, ``device_bound``.
    """
    opened = state.progress.opened
    if opened is None:
        raise Refuse("journey_unknown")
    if not hmac.compare_digest(sha256_hex(link_secret.encode()), opened.link_hash):
        raise Refuse("link_invalid")
    if state.progress.ended is not None:
        raise Refuse(f"journey_{state.progress.ended}")
    if now > opened.expires_at and state.progress.paid is None:
        raise Refuse("journey_expired")
    session = state.session
    if session is None:
        return Opening(attempt=1)
    expired = over_absolute_limit(state, now)
    signer = signing_session(state)
    if signer is not None and not hmac.compare_digest(signer.thumbprint, thumbprint):
        raise Refuse("device_bound")
    if signer is not None and signer.attempt != session.attempt:
        return Opening(attempt=signer.attempt, void="device_changed" if session.ended is None else None)
    if hmac.compare_digest(session.thumbprint, thumbprint):
        if session.ended is None and not expired:
            return Opening(attempt=session.attempt, new=False)
        void: Ended | None = "absolute_limit" if session.ended is None else None
        return Opening(attempt=session.attempt + 1 if signer is None else signer.attempt, void=void)
    return Opening(attempt=session.attempt + 1, void="device_changed" if session.ended is None else None)


# -- notices and consents ----------------------------------------------------------------------------------


def check_notice(notices: Mapping[str, Notice], ref: NoticeRef, act: Literal["acknowledge", "consent"]) -> Notice:
    """The text the customer saw is the release's (I20). Raises ``Refuse("notice_changed")``."""
    notice = notices.get(ref.notice)
    if (
        notice is None
        or notice.act != act
        or notice.document.version != ref.version
        or not hmac.compare_digest(notice.document.sha256, ref.sha256)
    ):
        raise Refuse("notice_changed")
    return notice


def check_may_consent(state: IdentityState, session: Session) -> None:
    """First the notice that the process is recorded, then consents. Raises ``Refuse``."""
    if not session.recording:
        raise Refuse("recording_not_acknowledged")
    if state.progress.ended is not None:
        raise Refuse(f"journey_{state.progress.ended}")


def check_consent(session: Session, *notices: str) -> None:
    """Each of these consents was given by an act of its own and stands (I9). Raises ``Refuse``."""
    for notice in notices:
        if session.consents.get(notice) is not True:
            raise Refuse("consent_missing", notice=notice)


def check_may_prove(state: IdentityState, session: Session, now: datetime, *consents: str) -> JourneyOpened:
    """Identity may be proven now, with these consents beside that to the privacy notice. Raises ``Refuse``."""
    if state.progress.ended is not None:
        raise Refuse(f"journey_{state.progress.ended}")
    if state.progress.opened is None:
        raise Refuse("journey_unknown")
    if not session.recording:
        raise Refuse("recording_not_acknowledged")
    check_consent(session, PRIVACY, *consents)
    if verified(state, now):
        raise Refuse("already_done")
    return state.progress.opened


# -- the person --------------------------------------------------------------------------------------------

_MIDDLE_DOTS: Final = re.compile("[·•‧∙⋅・･●．.]")
_SPACES: Final = re.compile(r"\s+")


def normal_name(name: str) -> str:
    """A name as it is compared: NFKC, no spaces, one kind of middle dot, Latin letters in upper case."""
    return _MIDDLE_DOTS.sub("·", _SPACES.sub("", unicodedata.normalize("NFKC", name))).upper()


def normal_id_number(number: str) -> str:
    """An ID number as it is compared: NFKC, no spaces, upper case; 15 old digits become 18 (GB 11643-1999)."""
    number = _SPACES.sub("", unicodedata.normalize("NFKC", number)).upper()
    if len(number) == 15 and number.isascii() and number.isdigit():
        seventeen = f"{number[:6]}19{number[6:]}"
        return seventeen + id_check_character(seventeen)
    return number


def check_person(*, id_type: str, typed: tuple[str, str], policyholder: tuple[str, str], today: date) -> None:
    """The typed name and number are the policyholder's, and of full age. Raises ``Refuse``.

    ``invalid_fields`` for a number that cannot be one, ``person_mismatch``, ``underage``.
    """
    name, number = normal_name(typed[0]), normal_id_number(typed[1])
    birthday = id_birthday(number)
    if id_type not in UNCHECKED_IDS and (birthday is None or birthday > today):
        fault = FieldFault(pointer="/id_number", code="checksum", detail="身份证号码不正确，请逐位核对。")
        raise Refuse("invalid_fields", errors=(fault,))
    # Both are compared whatever the first says, so that time tells nothing.
    same_name = hmac.compare_digest(name.encode(), normal_name(policyholder[0]).encode())
    same_number = hmac.compare_digest(number.encode(), normal_id_number(policyholder[1]).encode())
    if not (same_name and same_number):
        raise Refuse("person_mismatch")
    if birthday is not None and id_type not in UNCHECKED_IDS and age_on(birthday, today) < FULL_AGE:
        raise Refuse("underage")


def china_date(now: datetime) -> date:
    return now.astimezone(CHINA).date()


def masked_phone(phone: str) -> str:
    return f"{phone[:3]}****{phone[-4:]}"


def check_pace(times: Sequence[datetime], now: datetime, *, most: int, code: str) -> tuple[datetime, ...]:
    """Fewer than ``most`` within the last hour; returns those. Raises ``Refuse`` with when to come back."""
    recent = tuple(sorted(at for at in times if at > now - HOUR))
    if len(recent) >= most:
        wait = recent[-most] + HOUR - now
        raise Refuse(code, retry_after=max(1, int(wait.total_seconds()) + 1))
    return recent


def view(state: IdentityState, now: datetime) -> IdentityView:
    session = state.session
    if session is None or session.ended is not None:
        return IdentityView(
            attempt=0 if session is None else session.attempt,
            recording_acknowledged=False,
            consents={},
            real_name_matched=False,
            otp_verified=(),
            face="none",
            verified=False,
            method=None,
            valid_until=None,
            reproof_required=False,
            absolute_limit=None,
        )
    proven = verified(state, now)
    return IdentityView(
        attempt=session.attempt,
        recording_acknowledged=session.recording,
        consents={code: "given" if given else "declined" for code, given in session.consents.items()},
        real_name_matched=session.real_name,
        otp_verified=session.otp_verified,
        face=session.face,
        verified=proven,
        method=session.method if proven else None,
        valid_until=state.progress.verified.valid_until if proven and state.progress.verified else None,
        reproof_required=state.progress.reproof_required,
        absolute_limit=absolute_limit(session),
        mode=session.mode,
    )
