"""Identity at work: proofs judged, sessions opened, notices taken, the person proven."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import secrets
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Final, NoReturn

from pydantic import Field

from contracts.commands.base import Act, Answer, Command, Done
from contracts.commands.identity import (
    AcknowledgeRecording,
    CardNumber,
    CheckBankCard,
    CheckRealName,
    ChooseMode,
    CodeForPurpose,
    DeclineConsent,
    FaceRedirect,
    FindCustomers,
    FinishFace,
    GiveConsent,
    HelpOffered,
    IdentityResult,
    IdentityView,
    IssueNonce,
    Judgement,
    JudgeProof,
    LinkSecret,
    ModeOnly,
    NameAndIdNumber,
    Nonce,
    OpenSession,
    OtpOnItsWay,
    PurposeOnly,
    RecordIntrusion,
    RequestHelp,
    SendOtp,
    SessionToken,
    StartFace,
    StepOnly,
    VerifyOtp,
    ViewIdentity,
)
from contracts.commands.identity import (
    Customers as FoundCustomers,
)
from contracts.commands.notify import MessageTaken, SendMessage
from contracts.commands.signing import SigningView, ViewSigning
from contracts.facts.base import Fact
from contracts.facts.identity import (
    BankCardChecked,
    ConsentDeclined,
    ConsentGiven,
    DeviceKey,
    FaceChecked,
    FaceStarted,
    HelpRequested,
    IdentityVerified,
    Method,
    ModeChosen,
    NoticeRef,
    OtpSent,
    OtpVerified,
    RealNameChecked,
    RecordingAcknowledged,
    ReproofRequired,
    SessionOpened,
    SessionVoided,
)
from contracts.facts.proposal import JourneyOpened
from contracts.problems import Refuse
from contracts.values import ActProof, Contract, sha256_hex
from products import Notice, Release, load_release
from servicekit.blobs import write_whole
from servicekit.bus import BusUnavailable
from servicekit.journeys import Decided
from servicekit.proof import Claims, Nonces, ProofRefused, SeenProofs, verify_proof
from servicekit.service import Admitted, Ground, Handler, Service, answers
from servicekit.settings import Settings
from servicekit.store import Document
from services.identity import rules
from services.identity.codes import Codes
from services.identity.customers import INDEXES, Customers
from services.identity.platform import Platform
from services.identity.rules import IdentityState, Session

log = logging.getLogger(__name__)

KEY_BYTES: Final = 32
GRAIN: Final = timedelta(seconds=1)
"""The last sign of activity is written at most this often; the idle clock is that coarse."""
HELP_HOURS: Final = "每天24小时"
INTRUSION: Final = "not_the_customer"
FAILURES: Final = frozenset({"person_mismatch", "underage", "real_name_failed", "face_failed", "bank_card_failed"})


class IdentitySettings(Settings):
    service: ClassVar[str] = "identity"

    identity_public_url: str = "http://127.0.0.1:8080"
    """Where customers reach us: the platform sends them back there."""
    identity_platform_url: str = "http://127.0.0.1:9102"
    identity_platform_client_id: str = "toubao"
    identity_platform_key_file: Path = Path("var/sandbox/keys/face-platform.key")
    identity_idle_seconds: int = Field(default=600, gt=0)
    identity_elder_idle_seconds: int = Field(default=1800, gt=0)
    """The same in elder mode; a shorter time than the other is never taken (I26)."""
    identity_absolute_seconds: int = Field(default=7200, gt=0)
    identity_nonce_seconds: int = Field(default=300, gt=0)


class Identity(Service[IdentityState, IdentitySettings]):
    name = "identity"
    state = IdentityState
    hears: ClassVar[tuple[str, ...]] = ("proposal", "signing", "payment", "issuance")
    settings: ClassVar[type[Settings]] = IdentitySettings

    def __init__(self, ground: Ground[IdentitySettings]) -> None:
        super().__init__(ground)
        lifetime = timedelta(seconds=self.set.identity_nonce_seconds)
        self.nonces = Nonces(lifetime)
        self.seen = SeenProofs(lifetime)
        self.activity = ground.store.collection("activity")
        self.failures = ground.store.collection("failures")
        self.customers = Customers(
            ground.store.collection("customers", INDEXES), ground.store.collection("phones"), self.new_id
        )
        self._key = b""
        self._codes: Codes | None = None
        self._platform: Platform | None = None
        self._releases: dict[str, Release] = {}

    async def open(self) -> None:
        self._key = await asyncio.to_thread(_secret, self.set.data_dir)
        self._codes = Codes(self.ground.store.collection("codes"), self.ground.store.collection("code_pace"), self._key)
        platform_key = await asyncio.to_thread(self.set.identity_platform_key_file.read_bytes)
        self._platform = Platform(
            self.set.identity_platform_url,
            self.set.identity_platform_client_id,
            platform_key.strip(),
            self.now,
            self.metrics.outside("face"),
        )
        await self._platform.open()

    async def close(self) -> None:
        if self._platform is not None:
            await self._platform.close()

    @property
    def platform(self) -> Platform:
        assert self._platform is not None, "open() comes first"
        return self._platform

    @property
    def codes(self) -> Codes:
        assert self._codes is not None, "open() comes first"
        return self._codes

    def evolve(self, state: IdentityState, fact: Fact) -> IdentityState:
        return rules.evolve(state, fact)

    # -- proofs of possession (I12) ------------------------------------------------------------------------

    @answers(IssueNonce)
    async def issue_nonce(self, _: IssueNonce) -> Nonce:
        return Nonce(nonce=self.nonces.issue(self.now()))

    @answers(JudgeProof)
    async def judge_proof(self, request: JudgeProof) -> Judgement:
        return await self._judged(request, "judge_proof")

    async def judge(self, act: Act, arguments: Contract, body_sha256: str) -> Judgement:
        """Its own acts identity judges itself."""
        request = JudgeProof(
            journey_id=act.journey_id,
            proof=act.proof,
            body_sha256=body_sha256,
            session=act.session,
            purpose=act.purpose,
            moving=self.moving(arguments),
        )
        return await self._judged(request, act.verb)

    async def _judged(self, request: JudgeProof, verb: str) -> Judgement:
        try:
            return await self._judge(request)
        except Refuse as refusal:
            if refusal.kind.recorded:
                await self.journeys.record_refusal(request.journey_id, verb, refusal.code)
            raise

    async def _judge(self, request: JudgeProof) -> Judgement:
        now = self.now()
        claims = self._fresh(request, now)
        state = await self.journeys.state(request.journey_id)
        if request.purpose == "open":
            if state.progress.opened is None:
                raise Refuse("journey_unknown")
            self._first_use(claims, now)
            # Nothing is bound yet; which attempt it becomes is decided with the link's secret in hand.
            return self._judgement(state, claims, 1 if state.session is None else state.session.attempt, now)
        session = rules.check_device(state, claims.thumbprint)
        self._check_token(request, claims, session)
        self._first_use(claims, now)
        rules.check_live(session)
        await self._check_clocks(request, state, session, now)
        withdrawn = session.verified_at is not None and session.consents.get(rules.PRIVACY) is False
        if request.purpose == "act" and withdrawn:
            # Withdrawn consent stops everything but keeping what the law orders kept (I25).
            raise Refuse("consent_missing", notice=rules.PRIVACY)
        return self._judgement(state, claims, session.attempt, now)

    def _fresh(self, request: JudgeProof, now: datetime) -> Claims:
        """The proof is sound over this very request and its nonce is ours and young."""
        try:
            claims = verify_proof(
                request.proof.jws,
                method=request.proof.method,
                url=request.proof.url,
                body_sha256=request.body_sha256,
            )
        except ProofRefused as refused:
            if refused.code == "proof_nonce_missing":
                self._use_nonce(now)
            raise Refuse(refused.code) from None
        if self.nonces.check(claims.nonce, now) != "ok":
            self._use_nonce(now)
        return claims

    def _use_nonce(self, now: datetime) -> NoReturn:
        raise Refuse("use_dpop_nonce", nonce=self.nonces.issue(now)) from None

    def _first_use(self, claims: Claims, now: datetime) -> None:
        if self.seen.check(claims, now) != "ok":
            raise Refuse("proof_replayed")

    def _check_token(self, request: JudgeProof, claims: Claims, session: Session) -> None:
        """The session token came along and the proof names it (RFC 9449 §7)."""
        if request.session is None:
            raise Refuse("session_not_open")
        digest = hashlib.sha256(self._token(request.journey_id, session).encode()).digest()
        ath = base64.urlsafe_b64encode(digest).rstrip(b"=")
        held = hmac.compare_digest(digest.hex(), request.session)
        named = hmac.compare_digest(ath, (claims.ath or "").encode())
        if not (held and named):
            raise Refuse("proof_token")

    async def _check_clocks(self, request: JudgeProof, state: IdentityState, session: Session, now: datetime) -> None:
        """Absolute and idle limit; what runs out becomes a fact the first time somebody comes back to it."""
        journey_id = request.journey_id
        if rules.over_absolute_limit(state, now):

            async def end(state: IdentityState) -> list[Fact]:
                live = state.session is not None and state.session.ended is None
                if not live or state.session is None or not rules.over_absolute_limit(state, now):
                    return []
                return [SessionVoided(at=now, attempt=state.session.attempt, reason="absolute_limit")]

            await self.journeys.append(journey_id, end)
            raise Refuse("session_expired")

        moved_at = await self._moved_at(journey_id, session.attempt)
        standard = timedelta(seconds=self.set.identity_idle_seconds)
        elder = timedelta(seconds=self.set.identity_elder_idle_seconds)

        def idle(state: IdentityState) -> timedelta:
            since = rules.idle_since(state, moved_at, now)
            return timedelta(0) if since is None else now - since

        def too_long(state: IdentityState) -> bool:
            return idle(state) > rules.idle_limit(state, standard=standard, elder=elder)

        if too_long(state):

            async def ask(state: IdentityState) -> list[Fact]:
                if state.session is None or not too_long(state):
                    return []
                seconds = int(idle(state).total_seconds())
                return [ReproofRequired(at=now, attempt=state.session.attempt, idle_seconds=seconds)]

            state = await self.journeys.append(journey_id, ask)
        if state.progress.reproof_required and request.purpose != "identity":
            raise Refuse("reproof_required")
        if request.moving and (moved_at is None or abs(now - moved_at) >= GRAIN):
            moved = Document(journey_id, state={"attempt": session.attempt, "at": now.isoformat()})
            await self.activity.put_many([moved])

    async def _moved_at(self, journey_id: str, attempt: int) -> datetime | None:
        document = await self.activity.get(journey_id)
        if document is None or document.state["attempt"] != attempt:
            return None
        return datetime.fromisoformat(document.state["at"])

    def _judgement(self, state: IdentityState, claims: Claims, attempt: int, now: datetime) -> Judgement:
        return Judgement(
            attempt=attempt,
            thumbprint=claims.thumbprint,
            device_key=DeviceKey.model_validate(claims.jwk),
            jti=claims.jti,
            verified=rules.verified(state, now),
            nonce=self.nonces.issue(now),
        )

    def _token(self, journey_id: str, session: Session) -> str:
        """Derived, so that no token is kept anywhere. A session opened anew gets another."""
        named = f"{journey_id}|{session.attempt}|{session.thumbprint}|{session.absolute_limit.isoformat()}"
        mac = hmac.digest(self._key, b"session\0" + named.encode(), "sha256")
        return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()

    # -- the session ---------------------------------------------------------------------------------------

    async def _answer_act(self, handler: Handler, act: Act) -> Answer[Any]:
        answer = await super()._answer_act(handler, act)
        if not isinstance(act, OpenSession) or answer.problem is not None:
            return answer
        # The token joins the reply here: what is remembered for a repeat is kept in the store, and it is not.
        session = (await self.journeys.state(act.journey_id)).session
        kept = answer.reply.model_dump() if isinstance(answer.reply, Contract) else answer.reply
        reply = SessionToken.model_validate(kept)
        body = await self.vault.open(act.journey_id, act.body)
        claims = verify_proof(act.proof.jws, method=act.proof.method, url=act.proof.url, body_sha256=sha256_hex(body))
        if session is None or session.attempt != reply.attempt:
            return self._problem(Refuse("session_not_open").problem)
        if session.thumbprint != claims.thumbprint:
            # The same words from another device under a key that was used: no repeat, and no token for it.
            return self._problem(Refuse("idempotency_key_reused").problem)
        token = self._token(act.journey_id, session)
        return answer.model_copy(update={"reply": reply.model_copy(update={"session_token": token})})

    @answers(OpenSession)
    async def open_session(self, act: Admitted[LinkSecret], state: IdentityState) -> Decided:
        thumbprint = act.judgement.thumbprint
        opening = rules.decide_opening(state, thumbprint, act.arguments.link_secret, act.at)
        if not opening.new and state.session is not None:
            return Decided(reply=_session_reply(opening.attempt, rules.absolute_limit(state.session)))
        other = state.session is not None and not hmac.compare_digest(state.session.thumbprint, thumbprint)
        if other and state.progress.signed is None and await self._signed(act.journey_id):
            # Whether it was this very device that signed shows as soon as the signature is heard of here.
            known = any(each.thumbprint == thumbprint for each in state.former.values())
            raise Refuse("premise_pending", retry_after=1) if known else Refuse("device_bound")
        facts: list[Fact] = []
        if opening.void is not None and state.session is not None:
            facts.append(SessionVoided(at=act.at, attempt=state.session.attempt, reason=opening.void))
        limit = act.at + timedelta(seconds=self.set.identity_absolute_seconds)
        facts.append(
            SessionOpened(
                at=act.at,
                attempt=opening.attempt,
                device_key=act.judgement.device_key,
                thumbprint=thumbprint,
                absolute_limit=limit,
                proof=ActProof(proof=act.proof.proof, body=act.proof.body, attempt=opening.attempt),
            )
        )
        return Decided(facts, _session_reply(opening.attempt, limit))

    async def _signed(self, journey_id: str) -> bool:
        """Whether signing holds a signature we may not have heard of yet: the name just written on one phone binds
        the journey to it before another can take it up. When nobody answers, what was heard decides.
        """
        try:
            view, _ = await self.bus.request(ViewSigning(journey_id=journey_id), SigningView)
        except (BusUnavailable, Refuse):
            return False
        return view.signed_at is not None

    # -- notices and consents (I9) -------------------------------------------------------------------------

    @answers(AcknowledgeRecording)
    async def acknowledge_recording(self, act: Admitted[NoticeRef], state: IdentityState) -> Decided:
        session = self._session(act, state)
        rules.check_notice(await self._notices(state), act.arguments, "acknowledge")
        if session.recording:
            return Decided()
        return Decided([RecordingAcknowledged(at=act.at, notice=act.arguments, proof=act.proof)])

    @answers(ChooseMode)
    async def choose_mode(self, act: Admitted[ModeOnly], state: IdentityState) -> Decided:
        # No condition but the session: the switch stands on the very first page.
        if self._session(act, state).mode == act.arguments.mode:
            return Decided()
        return Decided([ModeChosen(at=act.at, mode=act.arguments.mode, proof=act.proof)])

    @answers(GiveConsent)
    async def give_consent(self, act: Admitted[NoticeRef], state: IdentityState) -> Decided:
        session = self._session(act, state)
        rules.check_may_consent(state, session)
        rules.check_notice(await self._notices(state), act.arguments, "consent")
        if session.consents.get(act.arguments.notice) is True:
            return Decided()
        return Decided([ConsentGiven(at=act.at, notice=act.arguments, proof=act.proof)])

    @answers(DeclineConsent)
    async def decline_consent(self, act: Admitted[NoticeRef], state: IdentityState) -> Decided:
        session = self._session(act, state)
        rules.check_notice(await self._notices(state), act.arguments, "consent")
        given = session.consents.get(act.arguments.notice)
        if given is False:
            return Decided()
        withdrawn = given is True
        return Decided([ConsentDeclined(at=act.at, notice=act.arguments, withdrawn=withdrawn, proof=act.proof)])

    # -- the person (I7) -----------------------------------------------------------------------------------

    @answers(CheckRealName)
    async def check_real_name(self, act: Admitted[NameAndIdNumber], state: IdentityState) -> Decided:
        opened = rules.check_may_prove(state, self._session(act, state), act.at)
        await self._check_failures(act)
        name, id_number, phone = await self._person(act.journey_id, opened)
        try:
            rules.check_person(
                id_type=opened.policyholder.id_type,
                typed=(act.arguments.name, act.arguments.id_number),
                policyholder=(name, id_number),
                today=rules.china_date(act.at),
            )
        except Refuse as refusal:
            return await self._failed(act, state, [], refusal)
        await self._check_phone(opened, phone, id_number)
        checked = await self.platform.check_real_name(name, id_number)
        matched = checked.result == "match"
        fact = RealNameChecked(at=act.at, matched=matched, provider_ref=checked.provider_ref, proof=act.proof)
        if not matched:
            return await self._failed(act, state, [fact], Refuse("real_name_failed"))
        return Decided([fact])

    @answers(StartFace)
    async def start_face(self, act: Admitted[Done], state: IdentityState) -> Decided:
        session = self._session(act, state)
        opened = rules.check_may_prove(state, session, act.at, rules.FACE)
        if not session.real_name:
            raise Refuse("real_name_missing")
        await self._check_failures(act)
        name, id_number, _ = await self._person(act.journey_id, opened)
        started = await self.platform.start_face(name, id_number, f"{self.set.identity_public_url}/j")
        fact = FaceStarted(at=act.at, provider_ref=started.session_id, proof=act.proof)
        return Decided([fact], FaceRedirect(redirect_url=started.redirect_url))

    @answers(FinishFace)
    async def finish_face(self, act: Admitted[Done], state: IdentityState) -> Decided:
        session = self._session(act, state)
        opened = rules.check_may_prove(state, session, act.at, rules.FACE)
        if not session.real_name:
            raise Refuse("real_name_missing")
        if session.face_session is None:
            raise Refuse("face_not_started")
        await self._check_failures(act)
        # The client only says that somebody is back; what came of it the platform is asked itself.
        result = await self.platform.face_result(session.face_session)
        if result.status == "pending":
            raise Refuse("face_pending", retry_after=2)
        completed = result.completed_at or act.at
        in_time = act.at - completed <= rules.FACE_RESULT_VALID
        passed = result.status == "passed" and result.score_band in rules.BANDS_THAT_PASS and in_time
        fact = FaceChecked(
            at=act.at,
            passed=passed,
            provider_ref=result.provider_ref or session.face_session,
            score_band=result.score_band or "none",
            checked_at=completed,
            proof=act.proof,
        )
        if not passed:
            counts = result.reason == "not_the_same_person"
            return await self._failed(act, state, [fact], Refuse("face_failed"), counts=counts)
        return await self._verified(act, state, opened, fact, "face")

    # -- the equal path without face (I8) ------------------------------------------------------------------

    @answers(SendOtp)
    async def send_otp(self, act: Admitted[PurposeOnly], state: IdentityState) -> Decided:
        session = self._session(act, state)
        opened = rules.check_may_prove(state, session, act.at)
        purpose = act.arguments.purpose
        _, id_number, phone = await self._person(act.journey_id, opened)
        await self._check_phone(opened, phone, id_number)
        phone_index = self.vault.blind_index("phone", phone)
        made = await self.codes.make(
            act.journey_id,
            purpose,
            phone_index=phone_index,
            attempt=session.attempt,
            command_id=act.command_id,
            now=act.at,
        )
        message_id = self.new_id()
        if isinstance(made, tuple):
            digits, code = made
            minutes = int(rules.OTP_VALID.total_seconds()) // 60
            insurer = next(iter((await self._notices(state)).values())).insurer.name
            values = json.dumps(
                {
                    "insurer": insurer,
                    "code": digits,
                    "minutes": str(minutes),
                    "expires_at": code.expires_at.isoformat(),
                }
            )
            try:
                taken, _ = await self.bus.request(
                    SendMessage(
                        command_id=message_id,
                        journey_id=act.journey_id,
                        template="otp",
                        phone=opened.policyholder.phone,
                        values=await self.vault.seal(act.journey_id, values),
                    ),
                    MessageTaken,
                )
            except Refuse as refusal:
                log.warning("code not sent", extra={"code": refusal.code})
                raise Refuse("unavailable", retry_after=5) from None
            message_id = taken.message_id
            await self.codes.sent(act.journey_id, purpose, phone_index=phone_index, now=act.at)
        else:
            code = made
        fact = OtpSent(at=act.at, purpose=purpose, message_id=message_id, expires_at=code.expires_at, proof=act.proof)
        return Decided([fact], OtpOnItsWay(expires_at=code.expires_at, phone_masked=""))

    async def recorded(self, act: Act, answer: Answer[Any]) -> Answer[Any]:
        if not isinstance(act, SendOtp) or answer.reply is None:
            return answer
        # What is remembered for a repeat is kept in the store, and no part of a phone number is.
        opened = (await self.journeys.state(act.journey_id)).progress.check_opened()
        phone = await self.vault.open_text(act.journey_id, opened.policyholder.phone)
        reply = OtpOnItsWay.model_validate(answer.reply, from_attributes=True)
        return answer.model_copy(update={"reply": reply.model_copy(update={"phone_masked": rules.masked_phone(phone)})})

    @answers(VerifyOtp)
    async def verify_otp(self, act: Admitted[CodeForPurpose], state: IdentityState) -> Decided:
        session = self._session(act, state)
        opened = rules.check_may_prove(state, session, act.at)
        _, _, phone = await self._person(act.journey_id, opened)
        await self.codes.check(
            act.journey_id,
            act.arguments.purpose,
            act.arguments.code,
            phone_index=self.vault.blind_index("phone", phone),
            attempt=session.attempt,
            command_id=act.command_id,
            now=act.at,
        )
        return Decided([OtpVerified(at=act.at, purpose=act.arguments.purpose, proof=act.proof)])

    @answers(CheckBankCard)
    async def check_bank_card(self, act: Admitted[CardNumber], state: IdentityState) -> Decided:
        session = self._session(act, state)
        opened = rules.check_may_prove(state, session, act.at, rules.ACCOUNT_CHECK)
        if not session.real_name:
            raise Refuse("real_name_missing")
        if "alternative_path" not in session.otp_verified:
            raise Refuse("otp_not_sent")
        await self._check_failures(act)
        name, id_number, phone = await self._person(act.journey_id, opened)
        checked = await self.platform.check_bank_card(name, id_number, act.arguments.card_number, phone)
        matched = checked.result == "match"
        fact = BankCardChecked(at=act.at, matched=matched, provider_ref=checked.provider_ref, proof=act.proof)
        if not matched:
            return await self._failed(act, state, [fact], Refuse("bank_card_failed"))
        return await self._verified(act, state, opened, fact, "bank_card")

    async def _verified(
        self, act: Admitted[Any], state: IdentityState, opened: JourneyOpened, fact: Fact, method: Method
    ) -> Decided:
        session = self._session(act, state)
        name, id_number, phone = await self._person(act.journey_id, opened)
        try:
            await self._check_phone(opened, phone, id_number)
            customer_id = await self.customers.verified(
                name_index=self.vault.blind_index("name", rules.normal_name(name)),
                phone_index=self.vault.blind_index("phone", phone),
                id_index=self.vault.blind_index("id_number", rules.normal_id_number(id_number)),
                journey_id=act.journey_id,
                now=act.at,
            )
        except Refuse as refusal:
            return Decided([fact], refusal=refusal)
        valid_until = rules.absolute_limit(session)
        done = IdentityVerified(
            at=act.at,
            attempt=session.attempt,
            method=method,
            customer_id=customer_id,
            valid_until=valid_until,
            reproof=session.verified_at is not None,
        )
        await self.failures.delete(act.journey_id)
        return Decided([fact, done], IdentityResult(verified=True, valid_until=valid_until))

    async def _check_phone(self, opened: JourneyOpened, phone: str, id_number: str) -> None:
        """It is not the salesperson's, and serves at most three persons. Raises ``Refuse``."""
        phone_index = self.vault.blind_index("phone", phone)
        if opened.salesperson_phone_index is not None and hmac.compare_digest(
            phone_index, opened.salesperson_phone_index
        ):
            raise Refuse("phone_of_salesperson")
        id_index = self.vault.blind_index("id_number", rules.normal_id_number(id_number))
        await self.customers.check_phone(phone_index, id_index)

    # -- failed attempts -----------------------------------------------------------------------------------

    async def _check_failures(self, act: Admitted[Any]) -> None:
        times = _failure_times(await self.failures.get(act.journey_id), {act.command_id})
        rules.check_pace(times, act.at, most=rules.FAILURES_AN_HOUR, code="identity_attempts")

    async def _failed(
        self,
        act: Admitted[Any],
        state: IdentityState,
        facts: list[Fact],
        refusal: Refuse,
        *,
        counts: bool = True,
    ) -> Decided:
        """Counts the failure, and refuses with whatever the platform's answer leaves on record.

        Whoever cannot prove again, try after try, to be the person of before is taken for another: then what was
        not signed is void (I12).
        """
        if refusal.code not in FAILURES:
            raise refusal
        if counts:
            document = await self.failures.get(act.journey_id) or Document(act.journey_id)
            tries: list[list[str]] = [each for each in document.state.get("tries", []) if each[0] != act.command_id]
            tries = [*tries, [act.command_id, act.at.isoformat()]][-2 * rules.FAILURES_AN_HOUR :]
            document.state = {"tries": tries}
            await self.failures.save(document)
            recent = [at for at in _failure_times(document) if at > act.at - rules.HOUR]
            session = self._session(act, state)
            if len(recent) >= rules.FAILURES_AN_HOUR and state.progress.reproof_required:
                facts = [*facts, SessionVoided(at=act.at, attempt=session.attempt, reason="person_changed")]
        if not facts:
            raise refusal
        return Decided(facts, refusal=refusal)

    # -- help, intruders, views ----------------------------------------------------------------------------

    @answers(RequestHelp)
    async def request_help(self, act: Admitted[StepOnly], state: IdentityState) -> Decided:
        notices = await self._notices(state)
        hotline = next(iter(notices.values())).insurer.hotline
        fact = HelpRequested(at=act.at, step=act.arguments.step, proof=act.proof)
        return Decided([fact], HelpOffered(hotline=hotline, hours=HELP_HOURS))

    @answers(RecordIntrusion)
    async def record_intrusion(self, _: RecordIntrusion, _state: IdentityState) -> Decided:
        raise Refuse(INTRUSION)

    async def _answer_command(self, handler: Handler, command: Command) -> Answer[Any]:
        if not isinstance(command, RecordIntrusion):
            return await super()._answer_command(handler, command)
        # What is kept names who tried what (I13). No answer is remembered: intruders must not push out the customer's.
        tried = f"{command.attempted[:50]}_by_{command.actor}"
        await self.journeys.record_refusal(command.journey_id, tried, INTRUSION)
        return self._problem(Refuse(INTRUSION).problem)

    @answers(ViewIdentity)
    async def view(self, query: ViewIdentity) -> IdentityView:
        return rules.view(await self.journeys.state(query.journey_id), self.now())

    @answers(FindCustomers)
    async def find_customers(self, request: FindCustomers) -> FoundCustomers:
        return FoundCustomers(customers=await self.customers.find(request.kind, request.index))

    # -- what handlers share -------------------------------------------------------------------------------

    def _session(self, act: Admitted[Any], state: IdentityState) -> Session:
        """The session the act was judged in, still the one now. Raises ``Refuse``."""
        session = rules.check_device(state, act.judgement.thumbprint)
        rules.check_live(session)
        if session.attempt != act.judgement.attempt:
            raise Refuse("proof_key_changed")
        return session

    async def _notices(self, state: IdentityState) -> dict[str, Notice]:
        opened = state.progress.opened
        if opened is None:
            raise Refuse("journey_unknown")
        release = self._releases.get(opened.release)
        if release is None:
            release = await asyncio.to_thread(load_release, opened.release, self.set.releases_dir)
            self._releases[opened.release] = release
        return dict(release.notices)

    async def _person(self, journey_id: str, opened: JourneyOpened) -> tuple[str, str, str]:
        """Name, ID number and phone of the policyholder, opened. They go no further than the platform."""
        party = opened.policyholder
        values = [await self.vault.open_text(journey_id, v) for v in (party.name, party.id_number, party.phone)]
        return values[0], values[1], values[2]


def _session_reply(attempt: int, limit: datetime) -> SessionToken:
    """Without its token, which is never kept."""
    return SessionToken(session_token="", attempt=attempt, absolute_limit=limit)


def _failure_times(document: Document | None, besides: set[str] | None = None) -> tuple[datetime, ...]:
    tries: list[list[str]] = [] if document is None else document.state["tries"]
    return tuple(datetime.fromisoformat(at) for command, at in tries if command not in (besides or ()))


def _secret(folder: Path) -> bytes:
    """The key that tokens and hashes of codes are derived by; made when missing. Blocks."""
    path = folder / "identity.key"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            write_whole(path, secrets.token_hex(KEY_BYTES).encode() + b"\n", folder, fresh=True)
    return bytes.fromhex(path.read_text("ascii").strip())
