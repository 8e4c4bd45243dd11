"""A corrupt gateway: whatever it says on ``cmd.*``, each service refuses by itself what the facts do not allow.

Every request of ``contracts.commands`` stands in one of the tables below; one that does not fails the first test.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest
import pytest_asyncio

from contracts import subjects
from contracts.commands import (
    appdownload,
    disclosure,
    evidence,
    identity,
    issuance,
    notify,
    nps,
    payment,
    proposal,
    signing,
)
from contracts.commands.base import Act, Request, request_types
from contracts.facts import payment as payment_facts
from contracts.facts import proposal as proposal_facts
from contracts.facts.base import Refusal
from contracts.problems import KINDS
from contracts.values import Committed, Proof, sha256_hex
from deploy.local.ports import SERVICES
from deploy.simulator.customer import Customer, Habits
from deploy.simulator.device import Device
from servicekit.bus import Bus
from servicekit.runner import new_ulid
from servicekit.settings import Settings
from servicekit.telemetry.metrics import Metrics
from tests.desk import stored
from tests.hostile.corrupt import (
    MARKER,
    MISLED,
    NOT_THIS_PHONE,
    SOUND_NO_MORE,
    CorruptGateway,
    Shot,
    corrupt_gateway,
)
from tests.journey.bicycles import bicycle
from tests.journey.whole import Whole

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

NOWHERE = "0" * 64
DOCUMENT = {"product": "motor_compulsory", "document": "clauses", "version": "2026.1", "sha256": NOWHERE}
NOTICE = {"notice": "privacy", "version": "2026.1", "sha256": NOWHERE}
POINT = {"product": "motor_compulsory", "point": "none_such", "sha256": NOWHERE}
LOCKS = {"motor_compulsory": NOWHERE}
INK: dict[str, Any] = {"boxes": []}
ITEM = {"product": "motor_compulsory", "kind": "form", "document": "form", "version": "1", "hash": NOWHERE}
DISCLOSED = "identity_missing"


@dataclass(frozen=True)
class Early:
    """One act, sent by the customer's own phone as soon as the link is open."""

    body: dict[str, Any]
    code: str | None
    """What it is refused with; none for what may be done at any time."""


OURS = {subject: kind for subject, kind in request_types().items() if kind.__module__.startswith("contracts.")}
"""Other tests of the same process make up requests of their own."""

ACTS: dict[type[Act], Early] = {
    disclosure.OpenDocument: Early(DOCUMENT, DISCLOSED),
    disclosure.ReportReading: Early({"document": DOCUMENT, "at_end": True}, DISCLOSED),
    disclosure.ConfirmDocument: Early(DOCUMENT, DISCLOSED),
    disclosure.AnswerNeeds: Early({"product": "motor_compulsory", "answers": {}}, DISCLOSED),
    disclosure.ContinueOfOwnWill: Early({"product": "motor_compulsory", "advice": []}, DISCLOSED),
    disclosure.AnswerQuestions: Early({"product": "motor_compulsory", "answers": {}}, DISCLOSED),
    disclosure.ShowPoint: Early(POINT, DISCLOSED),
    disclosure.AcknowledgePoint: Early(POINT, DISCLOSED),
    identity.OpenSession: Early({"link_secret": "x" * 32}, "link_invalid"),
    identity.AcknowledgeRecording: Early(NOTICE, "notice_changed"),
    identity.ChooseMode: Early({"mode": "standard"}, None),
    identity.GiveConsent: Early(NOTICE, "recording_not_acknowledged"),
    identity.DeclineConsent: Early(NOTICE, "notice_changed"),
    identity.SendOtp: Early({"purpose": "alternative_path"}, "recording_not_acknowledged"),
    identity.VerifyOtp: Early({"purpose": "alternative_path", "code": "000000"}, "recording_not_acknowledged"),
    identity.CheckRealName: Early({"name": "某某", "id_number": "11010119900307001X"}, "recording_not_acknowledged"),
    identity.StartFace: Early({}, "recording_not_acknowledged"),
    identity.FinishFace: Early({}, "recording_not_acknowledged"),
    identity.CheckBankCard: Early({"card_number": "6222020000000000"}, "recording_not_acknowledged"),
    identity.RequestHelp: Early({"step": "recording"}, None),
    nps.AnswerSurvey: Early({"score": 10}, "survey_not_open"),
    nps.SkipSurvey: Early({}, "survey_not_open"),
    payment.PlaceOrder: Early({"total_fen": 1, "locks": LOCKS}, "identity_missing"),
    payment.CancelOrder: Early({"order_no": "TB1"}, "order_unknown"),
    proposal.ChooseProduct: Early({"product": "driver_passenger_accident", "lock": NOWHERE}, "identity_missing"),
    proposal.DropProduct: Early({"product": "motor_compulsory"}, "identity_missing"),
    proposal.ConfirmTerms: Early({"locks": LOCKS}, "identity_missing"),
    signing.PrepareForms: Early({}, "identity_missing"),
    signing.ReviewForm: Early({"product": "motor_compulsory", "form_commitment": NOWHERE}, "identity_missing"),
    signing.CopyPhrase: Early({"phrase": NOWHERE, "handwriting": INK}, "identity_missing"),
    signing.SaveDraft: Early(INK, "identity_missing"),
    signing.SignForms: Early(
        {"items": [ITEM], "declaration_sha256": NOWHERE, "handwriting": INK}, "identity_missing"
    ),
}  # fmt: skip
every_act = pytest.mark.parametrize("kind", ACTS, ids=lambda kind: f"{kind.service}.{kind.verb}")


@pytest_asyncio.fixture(scope="module", loop_scope="session", autouse=True)
async def began(whole: Whole) -> dict[str, int]:
    """How long each log was when it began."""
    return {name: len(whole.run.log(name).read_text("utf-8")) for name in (*SERVICES, "gateway")}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def gateway(whole: Whole) -> AsyncIterator[CorruptGateway]:
    async with corrupt_gateway(whole) as speaking:
        yield speaking


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def victim(whole: Whole) -> Customer:
    """Somebody whose identity is proven: their session lives, and everything is said about it here."""
    customer = await whole.customer(Habits(score=None, use_app=False))
    await customer.until("needs")
    return customer


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def newcomer(whole: Whole) -> Customer:
    """Somebody who has tapped the link and nothing else."""
    customer = await whole.customer(extra=False)
    await customer.until("recording")
    return customer


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def bought(whole: Whole) -> Customer:
    """Somebody who has their policy."""
    customer = await whole.customer(Habits(score=None, use_app=False), body=bicycle)
    await customer.turn(await customer.until("policies"))
    return customer


async def test_every_request_there_is_has_its_hostile_case() -> None:
    assert set(ACTS) | set(OTHERS) == set(OURS.values())


async def shot(whole: Whole, gateway: CorruptGateway, customer: Customer, kind: type[Act]) -> Shot:
    return Shot(
        kind=kind,
        phone=customer.phone,
        body=json.dumps(ACTS[kind].body).encode(),
        nonce=await gateway.nonce(),
        thief=Device(),
        key_hash=sha256_hex(whole.run.api_key("harbour_motors").encode()),
    )


def refusals(whole: Whole, journey_id: str) -> set[str]:
    return {fact.code for fact in whole.facts(journey_id) if isinstance(fact, Refusal)}


async def on_record(whole: Whole, journey_id: str, codes: set[str]) -> None:
    """Every one of them that is a fact of the journey has become one."""
    wanted = {code for code in codes if KINDS[code].recorded}
    await whole.until_told(lambda: wanted <= refusals(whole, journey_id))


# -- proofs ----------------------------------------------------------------------------------------------------


@every_act
async def test_no_act_is_taken_on_a_proof_that_is_not_of_it(
    whole: Whole, gateway: CorruptGateway, victim: Customer, kind: type[Act]
) -> None:
    this = await shot(whole, gateway, victim, kind)
    cases: dict[str, tuple[str, dict[str, Any]]] = {
        name: (code, {"jws": forge(this)}) for name, (code, forge) in SOUND_NO_MORE.items()
    }
    cases |= {name: (code, change(this)) for name, (code, change) in MISLED.items()}
    if kind.purpose != "open":
        cases |= {name: (code, change(this)) for name, (code, change) in NOT_THIS_PHONE.items()}
    came = await asyncio.gather(*(gateway.act(kind, this.phone, this.body, **how) for _, how in cases.values()))
    assert {name: answered.code for name, answered in zip(cases, came, strict=True)} == {
        name: code for name, (code, _) in cases.items()
    }
    await on_record(whole, this.phone.session.journey_id, {code for code, _ in cases.values()})


@every_act
async def test_no_act_is_taken_on_a_proof_that_was_used(
    whole: Whole, gateway: CorruptGateway, victim: Customer, kind: type[Act]
) -> None:
    """Somebody between phone and service has it judged first; it is worth nothing afterwards."""
    this = await shot(whole, gateway, victim, kind)
    jws, token = this.proof(), this.phone.session.token
    assert token is not None
    first = await gateway.ask(
        identity.JudgeProof(
            journey_id=this.phone.session.journey_id,
            proof=Proof(jws=jws, method="POST", url=this.url),
            body_sha256=sha256_hex(this.body),
            session=sha256_hex(token.encode()),
            purpose="open" if kind.purpose == "open" else "read",
        )
    )
    assert first.code is None
    assert (await gateway.act(kind, this.phone, this.body, jws=jws)).code == "proof_replayed"


@every_act
async def test_no_act_is_taken_with_a_body_nobody_can_read(
    whole: Whole, gateway: CorruptGateway, victim: Customer, kind: type[Act]
) -> None:
    this = await shot(whole, gateway, victim, kind)
    elsewhere = await gateway.vault.seal(new_ulid(), this.body)
    mine = await gateway.vault.seal(this.phone.session.journey_id, this.body)
    bodies: dict[str, tuple[str, bytes | Committed]] = {
        "sealed for another journey": ("malformed", elsewhere),
        "that is nowhere": ("malformed", Committed(commitment=NOWHERE, blob=NOWHERE)),
        "with another's commitment": ("malformed", mine.model_copy(update={"commitment": elsewhere.commitment})),
        "not UTF-8": ("malformed", b'{"a": "\xff\xfe"}'),
        "half": ("malformed", this.body[:-1]),
        "two": ("malformed", this.body * 2),
        "with a name twice": ("malformed", b'{"x": 1, "x": 2}'),
        "not a number": ("malformed", b'{"x": NaN}'),
        "deep": ("malformed", b'{"x": ' + b"[" * 30_000),
        "deep and whole": ("malformed", b'{"x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}"),
        "no object": ("invalid_fields", json.dumps([MARKER]).encode()),
        "with more than was asked": ("invalid_fields", json.dumps({**ACTS[kind].body, MARKER: MARKER}).encode()),
        "too large": ("body_too_large", b'{"x": "' + b"x" * kind.largest_body + b'"}'),
        "of nothing but faults": ("invalid_fields", json.dumps({f"x{n}": MARKER for n in range(1500)}).encode()),
    }
    # Read before the proof is judged: one that is used nowhere does for all.
    came = await asyncio.gather(
        *(gateway.act(kind, this.phone, this.body, jws=this.proof(), sealed=body) for _, body in bodies.values())
    )
    assert {name: answered.code for name, answered in zip(bodies, came, strict=True)} == {
        name: code for name, (code, _) in bodies.items()
    }


async def test_the_phones_clock_decides_nothing(whole: Whole, gateway: CorruptGateway, victim: Customer) -> None:
    """Fresh is what carries a nonce of ours; a phone whose clock is years off is as good as any."""
    this = await shot(whole, gateway, victim, identity.RequestHelp)
    for iat in (0, 4_102_444_800):
        answered = await gateway.act(identity.RequestHelp, this.phone, this.body, jws=this.proof(iat=iat))
        assert answered.reply["hotline"]


async def test_a_command_may_not_borrow_anothers_id(whole: Whole, gateway: CorruptGateway, victim: Customer) -> None:
    """Nor repeat its own with other words; the same words are answered the same and decided once."""
    key, phone = new_ulid(), victim.phone
    first = await gateway.act(identity.RequestHelp, phone, {"step": "needs"}, command_id=key)
    again = await gateway.act(identity.RequestHelp, phone, {"step": "needs"}, command_id=key)
    assert first.raw == again.raw
    for kind, body in ((identity.RequestHelp, {"step": "terms"}), (identity.ChooseMode, {"mode": "elder"})):
        assert (await gateway.act(kind, phone, body, command_id=key)).code == "idempotency_key_reused"
    # Without the phone's key not even the answer given before is to be had.
    this = await shot(whole, gateway, victim, identity.RequestHelp)
    stolen = await gateway.act(
        identity.RequestHelp, phone, this.body, command_id=key, jws=this.proof(this.thief, body=this.body)
    )
    assert stolen.code == "proof_key_changed"


async def test_after_can_make_a_service_wait_and_nothing_else(gateway: CorruptGateway, newcomer: Customer) -> None:
    kinds = [kind for kind in ACTS if kind.service != "nps"]
    ahead = dict.fromkeys(subjects.JOURNEY_SERVICES, 10000)
    came = await asyncio.gather(
        *(gateway.act(kind, newcomer.phone, ACTS[kind].body, after={**ahead, "nobody": 1}) for kind in kinds)
    )
    assert {answered.code for answered in came} == {"premise_pending"}
    # What nobody listens to is nobody's business: it persuades of nothing.
    order = payment.PlaceOrder
    answered = await gateway.act(order, newcomer.phone, ACTS[order].body, after={"nobody": 10_000})
    assert answered.code == ACTS[order].code


# -- every act before its time ---------------------------------------------------------------------------------


@every_act
async def test_nothing_is_taken_before_its_time(
    whole: Whole, gateway: CorruptGateway, newcomer: Customer, kind: type[Act]
) -> None:
    """The customer's own hand, led past every page."""
    early = ACTS[kind]
    answered = await gateway.act(kind, newcomer.phone, early.body)
    assert answered.code == early.code
    if early.code is not None:
        await on_record(whole, newcomer.phone.session.journey_id, {early.code})


# -- what is no act --------------------------------------------------------------------------------------------


@dataclass
class Scene:
    """What a corrupt gateway has before it: somebody at work, somebody who bought, and a channel of its own."""

    whole: Whole
    gateway: CorruptGateway
    victim: Customer
    bought: Customer

    @property
    def journey(self) -> str:
        return self.victim.phone.session.journey_id

    @property
    def issued(self) -> str:
        return self.bought.phone.session.journey_id

    def order_no(self) -> str:
        (order,) = self.whole.facts(self.issued, "payment.order_placed")
        assert isinstance(order, payment_facts.OrderPlaced)
        return order.order_no

    def command(self, journey_id: str) -> dict[str, Any]:
        return {"command_id": new_ulid(), "journey_id": journey_id}

    async def codes(self, *requests: Request) -> list[str | None]:
        return [answered.code for answered in [await self.gateway.ask(request) for request in requests]]

    async def replies(self, *requests: Request) -> list[dict[str, Any]]:
        return [(await self.gateway.ask(request)).reply for request in requests]


Try = Callable[[Scene], Awaitable[None]]


async def _submit(s: Scene) -> None:
    """No journey is opened on words nobody can read, and none that is open is opened again on other terms."""
    own = {"command_id": new_ulid(), "channel_id": "harbour_motors"}
    nothing, again = [await s.gateway.vault.seal(journey, b"{}") for journey in (s.journey, s.issued)]
    fresh = new_ulid()
    deep = await s.gateway.vault.seal(fresh, b"[" * 50_000)
    lost = Committed(commitment=NOWHERE, blob=NOWHERE)
    assert await s.codes(
        proposal.SubmitProposal(**own, journey_id=s.journey, body=nothing),
        proposal.SubmitProposal(**own, journey_id=s.issued, body=again),
        proposal.SubmitProposal(**own, journey_id=s.issued, body=nothing),
        proposal.SubmitProposal(**own, journey_id=new_ulid(), body=lost),
        proposal.SubmitProposal(**own, journey_id=fresh, body=deep),
    ) == ["not_yours", "not_yours", "malformed", "malformed", "malformed"]
    opened = s.whole.facts(s.journey, "proposal.journey_opened")
    assert len(opened) == 1


async def _withdraw(s: Scene) -> None:
    def of(journey: str, channel: str) -> Request:
        return proposal.WithdrawProposal(**s.command(journey), channel_id=channel)

    assert await s.codes(
        of(s.journey, "north_agency"), of(new_ulid(), "harbour_motors"), of(s.issued, "harbour_motors")
    ) == ["not_yours", "not_yours", "journey_issued"]


async def _resend(s: Scene) -> None:
    def of(journey: str, channel: str, seller: str | None = None) -> Request:
        return proposal.ResendLink(**s.command(journey), channel_id=channel, seller=seller)

    assert await s.codes(
        of(s.journey, "north_agency"),
        of(s.journey, "harbour_motors", NOWHERE),
        of(new_ulid(), "harbour_motors"),
        of(s.issued, "harbour_motors"),
    ) == ["not_yours", "not_yours", "not_yours", "journey_issued"]


async def _link(s: Scene) -> None:
    def of(journey: str, channel: str, seller: str | None = None) -> Request:
        return proposal.ShowLink(journey_id=journey, channel_id=channel, seller=seller)

    assert await s.codes(
        of(s.journey, "north_agency"),
        of(s.journey, "harbour_motors", NOWHERE),
        of(new_ulid(), "harbour_motors"),
        of(s.issued, "harbour_motors"),
    ) == ["not_yours", "not_yours", "not_yours", "journey_issued"]


async def _list(s: Scene) -> None:
    (theirs,) = await s.replies(proposal.ListProposals(journey_id="0" * 26, channel_id="north_agency"))
    assert theirs["proposals"] == []


async def _release(s: Scene) -> None:
    (named,) = await s.replies(proposal.NameRelease())
    assert named == {"release": s.whole.run.place.release}


def looks(kind: type[Any], code: str | None) -> Try:
    """A look into a journey nobody knows."""

    async def try_it(s: Scene) -> None:
        assert await s.codes(kind(journey_id=new_ulid())) == [code]

    return try_it


async def _nonce(s: Scene) -> None:
    """Each its own, and none says anything to who holds no key."""
    one, other = await s.replies(identity.IssueNonce(), identity.IssueNonce())
    assert set(one) == set(other) == {"nonce"}


async def _judge(s: Scene) -> None:
    """Identity says nothing of the session to who has not its key."""
    phone, thief = s.victim.phone, Device()
    token = phone.session.token
    assert token is not None
    url = f"{phone.base}{phone.journey}"

    async def judged(device: Device, purpose: Any, **changed: Any) -> str | None:
        jws = device.proof("GET", url, b"", nonce=await s.gateway.nonce(), token=token)
        given: dict[str, Any] = {
            "journey_id": s.journey,
            "proof": Proof(jws=jws, method="GET", url=url),
            "body_sha256": sha256_hex(b""),
            "session": sha256_hex(token.encode()),
            "purpose": purpose,
        }
        return (await s.gateway.ask(identity.JudgeProof(**(given | changed)))).code

    for purpose in ("act", "read", "identity"):
        assert await judged(thief, purpose) == "proof_key_changed"
    assert await judged(thief, "open", journey_id=new_ulid()) == "journey_unknown"
    assert await judged(phone.device, "act", session=None) == "session_not_open"
    assert await judged(phone.device, "act", session=NOWHERE) == "proof_token"
    assert await judged(phone.device, "act", body_sha256=NOWHERE) == "proof_body"
    # A session of another journey is no session of this.
    assert await judged(phone.device, "read", journey_id=s.issued) == "proof_key_changed"


async def _intrude(s: Scene) -> None:
    """It is a refusal and nothing else, whatever is said of whom (I13)."""
    for actor in ("channel", "staff", "partner", "nobody"):
        tried = identity.RecordIntrusion(**s.command(s.journey), actor=actor, attempted="sign_forms")
        assert await s.codes(tried) == ["not_the_customer"]
    await s.whole.until_told(
        lambda: (
            {f"sign_forms_by_{actor}" for actor in ("channel", "staff", "partner", "nobody")}
            <= {fact.command for fact in s.whole.facts(s.journey, "identity.refused") if isinstance(fact, Refusal)}
        )
    )


async def _customers(s: Scene) -> None:
    """By the index of the very value alone, which takes the vault's key."""
    found = await s.replies(*(identity.FindCustomers(kind=k, index=NOWHERE) for k in ("name", "phone", "id_number")))
    assert all(each["customers"] == [] for each in found)


async def _reviews(s: Scene) -> None:
    """Journeys and reasons, nothing personal; and nobody's who is not waiting."""
    (found,) = await s.replies(signing.ListReviews())
    assert not {s.journey, s.issued} & {each["journey_id"] for each in found["reviews"]}


async def _decide(s: Scene) -> None:
    """Nobody finds legible what nobody was asked to look at (I11)."""
    for finding in ("legible", "handwriting_unclear"):
        decided = {"review_no": 1, "reviewer": "clerk", "finding": finding}
        assert await s.codes(
            signing.DecideReview(**s.command(s.journey), **decided),
            signing.DecideReview(**s.command(s.issued), **decided),
            signing.DecideReview(**s.command(new_ulid()), **decided),
        ) == ["review_over", "review_over", "journey_unknown"]


async def _renounce(s: Scene) -> None:
    """Policies that are numbered stand."""
    order = s.order_no()
    assert await s.codes(issuance.RenounceOrder(**s.command(s.issued), order_no=order)) == ["journey_issued"]
    view = (await s.replies(issuance.ViewIssuance(journey_id=s.issued)))[0]
    assert view["state"] == "issued"


async def _verify(s: Scene) -> None:
    number = next(iter(s.bought.passage.policies))
    for code in ("", "0", "0" * 40):
        if code:
            (said,) = await s.replies(issuance.VerifyPolicy(policy_no=number, code=code))
            assert said["outcome"] == "unknown"
    assert await s.codes(issuance.VerifyPolicy.model_construct(policy_no=number)) == ["malformed"]


async def _gaps(s: Scene) -> None:
    """Numbers are issuance's own: nobody can ask for one, only for those never used."""
    (said,) = await s.replies(issuance.ListGaps(line="NONE", year=2026))
    assert said == {"serials": []}


async def _refund(s: Scene) -> None:
    """Only what was taken and bought nothing goes back."""
    assert await s.codes(
        payment.RefundOrder(**s.command(s.issued), order_no=s.order_no()),
        payment.RefundOrder(**s.command(s.journey), order_no=s.order_no()),
        payment.RefundOrder(**s.command(s.journey), order_no="TB1"),
    ) == ["journey_issued", "order_unknown", "order_unknown"]
    assert not s.whole.facts(s.issued, "payment.refund_requested")


async def _notification(s: Scene) -> None:
    """Without the channel's signature no word of it is believed (more in test_payment_notifications.py)."""
    assert await s.codes(payment.TakeNotification(channel="alipay", headers={}, body_base64="")) == ["not_found"]
    for body in ("", "!", "e30="):
        (said,) = await s.replies(payment.TakeNotification(channel="wechat", headers={}, body_base64=body))
        assert said["status"] == 401


async def _reconcile(s: Scene) -> None:
    """Asks the channel's own books, again and again, with the same result."""
    before = s.whole.facts(s.issued, "payment")
    await s.replies(payment.ReconcileNow(), payment.ReconcileNow())
    assert s.whole.facts(s.issued, "payment") == before


async def _attest(s: Scene) -> None:
    """Evidence signs what it holds and names what it doesn't."""
    assert await s.codes(
        evidence.Attest(journey_id=new_ulid(), heads={}), evidence.Attest(journey_id=s.journey, heads={"payment": 99})
    ) == ["journey_unknown", "evidence_incomplete"]


async def _pack(s: Scene) -> None:
    def of(journey: str, **more: Any) -> Request:
        return evidence.BuildPack(**s.command(journey), reason="a hostile test", **more)

    number = next(iter(s.bought.passage.policies))
    assert await s.codes(
        of(new_ulid()), of(s.issued, scope="policy", policy_no="NONE"), of(s.journey, scope="policy", policy_no=number)
    ) == ["journey_unknown", "policy_unknown", "policy_unknown"]


async def _registered(s: Scene) -> None:
    found = await s.replies(
        *(evidence.FindJourneys(kind=kind, key=MARKER) for kind in ("proposal_no", "policy_no", "phone"))
    )
    assert all(each["journeys"] == [] for each in found)


async def _listed(s: Scene) -> None:
    """Without a personal value, whoever asks."""
    (listed,) = await s.replies(evidence.ListJourneys(limit=100))
    people = {value for who in s.whole.people for value in (who.name, who.id_number, who.phone)}
    assert listed["journeys"]
    assert not any(value in json.dumps(listed, ensure_ascii=False) for value in people)


async def _live(s: Scene) -> None:
    (said,) = await s.replies(evidence.ViewLive())
    people = {value for who in s.whole.people for value in (who.name, who.id_number, who.phone)}
    assert not any(value in json.dumps(said, ensure_ascii=False) for value in people)


async def _message(s: Scene) -> None:
    """No words but our templates', to nobody whose number was not sealed for this very journey."""
    elsewhere = await s.gateway.vault.seal(s.issued, "13800000000")
    (phone,) = (f.policyholder.phone for f in s.whole.facts(s.journey, "proposal.journey_opened")
                if isinstance(f, proposal_facts.JourneyOpened))  # fmt: skip
    values = await s.gateway.vault.seal(s.journey, b"{}")
    assert await s.codes(
        notify.SendMessage(**s.command(s.journey), template="free_text", phone=phone, values=values),
        notify.SendMessage(**s.command(s.journey), template="otp", phone=elsewhere, values=values),
        notify.SendMessage(**s.command(s.journey), template="otp", phone=phone, values=elsewhere),
        notify.SendMessage(**s.command(s.issued), template="otp", phone=phone, values=values),
    ) == ["invalid_fields", "malformed", "malformed", "malformed"]


async def _report(s: Scene) -> None:
    assert await s.codes(appdownload.TakeReport(token="0" * 32, step="login")) == ["referral_unknown"]


async def _referrals(s: Scene) -> None:
    (counts,) = await s.replies(appdownload.ReferralReport())
    assert set(counts) == {"offered", "click", "install", "register_", "login"}


async def _scores(s: Scene) -> None:
    (said,) = await s.replies(nps.ScoreReport(channel_id="nobody"))
    assert all(score["answered"] == 0 for score in said["scores"])


OTHERS: dict[type[Request], Try] = {
    proposal.SubmitProposal: _submit,
    proposal.WithdrawProposal: _withdraw,
    proposal.ResendLink: _resend,
    proposal.ShowLink: _link,
    proposal.ListProposals: _list,
    proposal.NameRelease: _release,
    proposal.ViewProposal: looks(proposal.ViewProposal, "journey_unknown"),
    identity.IssueNonce: _nonce,
    identity.JudgeProof: _judge,
    identity.RecordIntrusion: _intrude,
    identity.ViewIdentity: looks(identity.ViewIdentity, None),
    identity.FindCustomers: _customers,
    disclosure.ViewDisclosure: looks(disclosure.ViewDisclosure, None),
    signing.ViewSigning: looks(signing.ViewSigning, "journey_unknown"),
    signing.ListReviews: _reviews,
    signing.ViewReview: looks(signing.ViewReview, "journey_unknown"),
    signing.DecideReview: _decide,
    payment.TakeNotification: _notification,
    payment.RefundOrder: _refund,
    payment.ReconcileNow: _reconcile,
    payment.ViewPayment: looks(payment.ViewPayment, None),
    issuance.RenounceOrder: _renounce,
    issuance.VerifyPolicy: _verify,
    issuance.ListGaps: _gaps,
    issuance.ViewIssuance: looks(issuance.ViewIssuance, None),
    evidence.Attest: _attest,
    evidence.BuildPack: _pack,
    evidence.ViewChain: looks(evidence.ViewChain, None),
    evidence.ViewFile: looks(evidence.ViewFile, "journey_unknown"),
    evidence.ViewTimeline: looks(evidence.ViewTimeline, "journey_unknown"),
    evidence.ListJourneys: _listed,
    evidence.FindJourneys: _registered,
    evidence.ViewLive: _live,
    notify.SendMessage: _message,
    nps.ScoreReport: _scores,
    nps.ViewSurvey: looks(nps.ViewSurvey, None),
    appdownload.TakeReport: _report,
    appdownload.ReferralReport: _referrals,
    appdownload.ViewReferral: looks(appdownload.ViewReferral, None),
}


@pytest.mark.parametrize("kind", OTHERS, ids=lambda kind: f"{kind.service}.{kind.verb}")
async def test_nobody_is_talked_into_anything(
    whole: Whole, gateway: CorruptGateway, victim: Customer, bought: Customer, kind: type[Request]
) -> None:
    await OTHERS[kind](Scene(whole, gateway, victim, bought))


# -- messages that are none ------------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", OURS)
async def test_whatever_is_no_request_is_answered_and_nothing_else_happens(
    gateway: CorruptGateway, subject: str
) -> None:
    kind = OURS[subject]
    wrong = {
        "nothing": b"",
        "not UTF-8": b'{"x": "\xff\xfe\xfd"}',
        "half": b'{"journey_id": "',
        "no object": json.dumps([MARKER]).encode(),
        "null": b"null",
        "deep": b"[" * 200_000,
        "deep and whole": b'{"x":' * 50_000 + b"1" + b"}" * 50_000,
        "large": b'"' + b"x" * 900_000 + b'"',
        "more than is asked": json.dumps({MARKER: MARKER}).encode(),
        "of other types": json.dumps({**{name: [MARKER] for name in kind.model_fields}, MARKER: 1}).encode(),
        "paths": json.dumps({**dict.fromkeys(kind.model_fields, f"../../{MARKER}"), MARKER: 1}).encode(),
    }
    came = [await gateway.send(subject, data) for data in wrong.values()]
    assert {name: answered.code for name, answered in zip(wrong, came, strict=True)} == dict.fromkeys(
        wrong, "malformed"
    )


# -- step by step ----------------------------------------------------------------------------------------------


@dataclass
class Led:
    """The customer's own hand, led by the gateway: sends acts that are not due, and keeps what they came to."""

    gateway: CorruptGateway
    customer: Customer
    met: set[str]

    async def refused(self, kind: type[Act], body: Any, code: str, **changed: Any) -> None:
        answered = await self.gateway.act(kind, self.customer.phone, body, **changed)
        assert answered.code == code, (kind.verb, answered.code, code)
        self.met.add(code)

    async def taken(self, kind: type[Act], body: Any) -> dict[str, Any]:
        return (await self.gateway.act(kind, self.customer.phone, body)).reply

    async def runs_ahead(self, view: dict[str, Any], code: str) -> None:
        """Whatever comes later is refused for the very thing that is missing now."""
        order = {"total_fen": view["card"]["total_fen"], "locks": locks_of(view)}
        await self.refused(signing.PrepareForms, {}, code)
        await self.refused(signing.SaveDraft, INK, code)
        await self.refused(signing.ReviewForm, ACTS[signing.ReviewForm].body, code)
        await self.refused(signing.SignForms, ACTS[signing.SignForms].body, code)
        await self.refused(payment.PlaceOrder, order, code)


def locks_of(view: dict[str, Any]) -> dict[str, str]:
    return {p["product"]: p["lock"] for p in view["card"]["products"] if p["chosen"] or not p["optional"]}


async def test_terms_are_confirmed_as_they_stand_or_not_at_all(
    whole: Whole, gateway: CorruptGateway, newcomer: Customer
) -> None:
    view = await newcomer.until("terms")
    led, locks = Led(gateway, newcomer, set()), locks_of(view)
    some = dict(list(locks.items())[:1])
    await led.refused(proposal.ConfirmTerms, {"locks": dict.fromkeys(locks, NOWHERE)}, "terms_changed")
    await led.refused(proposal.ConfirmTerms, {"locks": some}, "terms_not_confirmed")
    await led.refused(proposal.ConfirmTerms, {"locks": {**locks, "bicycle_theft": NOWHERE}}, "product_not_offered")
    await led.refused(proposal.ChooseProduct, {"product": "motor_compulsory", "lock": NOWHERE}, "product_not_optional")
    await led.refused(proposal.ChooseProduct, {"product": "bicycle_theft", "lock": NOWHERE}, "product_not_offered")
    await led.refused(proposal.DropProduct, {"product": "motor_compulsory"}, "product_not_optional")
    await led.runs_ahead(view, "terms_not_confirmed")
    await led.refused(disclosure.OpenDocument, DOCUMENT, "terms_not_confirmed")
    await on_record(whole, newcomer.phone.session.journey_id, led.met)
    # Nothing of it stands in the way.
    await newcomer.until("needs")


async def test_step_by_step_nothing_is_taken_out_of_turn_and_all_of_it_ends_in_one_purchase(
    whole: Whole, gateway: CorruptGateway, victim: Customer, tmp_path: Path
) -> None:
    led, journey = Led(gateway, victim, set()), victim.phone.session.journey_id
    await _at_needs(led, await victim.until("needs"))
    await _at_documents(led, await victim.until("documents"))
    await _at_points(led, await victim.until("points"))
    await _at_forms(led, await victim.until("forms"))
    await _at_signature(led, await victim.until("signature"))
    await _at_payment(whole, led, await victim.until("payment"))
    await victim.turn(await victim.until("policies"))
    passage = victim.passage
    for act, code in (
        (proposal.ConfirmTerms, "journey_issued"),
        (payment.PlaceOrder, "journey_issued"),
        (signing.SignForms, "already_signed"),
        (disclosure.OpenDocument, "already_signed"),
    ):
        await led.refused(act, ACTS[act].body, code)
    # Ink that was not taken has a fact of its own.
    await on_record(whole, journey, led.met - {"ink_empty"})
    assert len(whole.facts(journey, "signing.ink_rejected")) == 1
    assert len(passage.policies) == 3
    for once in ("signing.forms_signed", "payment.order_placed", "payment.payment_confirmed",
                 "issuance.policies_numbered", "issuance.journey_issued"):  # fmt: skip
        assert len(whole.facts(journey, once)) == 1, once
    assert not whole.facts(journey, "payment.refund_requested")
    _, findings = await whole.verdict(await whole.pack(journey, tmp_path))
    assert all("dwell_scale" in doubt for doubt in findings["doubts"]), findings["doubts"]


async def _at_needs(led: Led, view: dict[str, Any]) -> None:
    product = view["disclosure"]["needs_open"][0]
    await led.runs_ahead(view, "needs_unanswered")
    await led.refused(disclosure.AnswerNeeds, {"product": product, "answers": {"made_up": "yes"}}, "question_unknown")
    await led.refused(disclosure.AnswerNeeds, {"product": "bicycle_theft", "answers": {}}, "product_not_offered")
    await led.refused(disclosure.ContinueOfOwnWill, {"product": product, "advice": []}, "already_done")


async def _at_documents(led: Led, view: dict[str, Any]) -> None:
    await led.runs_ahead(view, "reading_incomplete")
    documents = [each["document"] for each in view["disclosure"]["documents"]]
    first, second = documents[:2]
    # Not another version, not another text, not one of another's, not two at once (I2).
    for kind in (disclosure.OpenDocument, disclosure.ConfirmDocument):
        await led.refused(kind, {**first, "version": "2025.1"}, "document_changed")
        await led.refused(kind, {**first, "sha256": second["sha256"]}, "document_changed")
        await led.refused(kind, {**first, "product": "bicycle_theft"}, "document_unknown")
        await led.refused(kind, [first, second], "invalid_fields")
        await led.refused(kind, {**first, "documents": [first, second]}, "invalid_fields")
    await led.refused(disclosure.ConfirmDocument, first, "document_not_opened")
    await led.refused(disclosure.ReportReading, {"document": first, "at_end": True}, "document_not_opened")
    # The pop-ups come afterwards.
    point = view["disclosure"]["points_open"][0]
    await led.refused(disclosure.ShowPoint, point, "point_not_ready")
    await led.refused(disclosure.AcknowledgePoint, point, "point_not_ready")
    await _too_soon(led, documents)


async def _too_soon(led: Led, documents: list[dict[str, Any]]) -> None:
    """A page that hides as soon as it is open counts no time: by the server's clock it is always too soon (I3)."""
    opened = {json.dumps(d): (await led.taken(disclosure.OpenDocument, d))["minimum_dwell_ms"] for d in documents}
    longest = json.loads(max(opened, key=lambda each: opened[each]))
    text = await led.customer.phone.get(f"/documents/{longest['sha256']}")
    paragraphs = [block["id"] for block in text["blocks"]]

    async def beat(shown: list[str], *, at_end: bool = False) -> dict[str, Any]:
        page = {"document": longest, "paragraphs": shown, "at_end": at_end, "visible": False}
        return await led.taken(disclosure.ReportReading, page)

    await led.taken(disclosure.OpenDocument, longest)
    await beat(paragraphs[:1])
    await led.refused(disclosure.ConfirmDocument, longest, "reading_not_at_end")
    await beat([*paragraphs[:-1], "made_up"], at_end=True)
    await led.refused(disclosure.ConfirmDocument, longest, "paragraphs_unread")
    seen = await beat(paragraphs)
    assert seen["paragraphs_seen"] == seen["paragraphs_total"]
    assert seen["remaining_ms"] > 0, "the longest document was open for all its time"
    await led.refused(disclosure.ConfirmDocument, longest, "reading_too_short")


async def _at_points(led: Led, view: dict[str, Any]) -> None:
    await led.runs_ahead(view, "points_unacknowledged")
    point, *_ = view["disclosure"]["points_open"]
    await led.refused(disclosure.AcknowledgePoint, point, "point_not_ready")
    await led.refused(disclosure.AcknowledgePoint, {**point, "sha256": NOWHERE}, "document_changed")
    await led.refused(disclosure.AcknowledgePoint, {**point, "point": "none_such"}, "point_unknown")
    await led.refused(disclosure.AcknowledgePoint, view["disclosure"]["points_open"], "invalid_fields")


async def _at_forms(led: Led, view: dict[str, Any]) -> None:
    order = {"total_fen": view["card"]["total_fen"], "locks": locks_of(view)}
    review = {"product": "motor_compulsory", "form_commitment": NOWHERE}
    await led.refused(signing.ReviewForm, review, "forms_not_prepared")
    await led.refused(signing.SignForms, ACTS[signing.SignForms].body, "forms_not_prepared")
    await led.refused(payment.PlaceOrder, order, "not_signed")
    offered = (await led.taken(signing.PrepareForms, {}))["forms"]
    await led.refused(signing.ReviewForm, review, "form_changed")
    other = {"product": offered[0]["product"], "form_commitment": offered[1]["form"]["commitment"]}
    await led.refused(signing.ReviewForm, other, "form_changed")
    await led.refused(signing.SignForms, ACTS[signing.SignForms].body, "forms_unreviewed")


async def _at_signature(led: Led, view: dict[str, Any]) -> None:
    order = {"total_fen": view["card"]["total_fen"], "locks": locks_of(view)}
    await led.refused(payment.PlaceOrder, order, "not_signed")
    items, declared = view["signing"]["items"], view["signing"]["declaration_sha256"]
    sound = {"items": items, "declaration_sha256": declared, "handwriting": INK}
    for others in (items[1:], [*items, items[0]], [{**items[0], "hash": NOWHERE}, *items[1:]],
                   [{**items[0], "product": "bicycle_theft"}, *items[1:]]):  # fmt: skip
        await led.refused(signing.SignForms, {**sound, "items": others}, "items_incomplete")
    await led.refused(signing.SignForms, {**sound, "declaration_sha256": NOWHERE}, "declaration_changed")
    await led.refused(signing.SignForms, sound, "ink_empty")
    point = {"x": 1.0, "y": 1.0, "t": 0}
    wild = {"width": 10, "height": 10, "strokes": [[{**point, "x": "NaN"}]]}
    await led.refused(signing.SaveDraft, {"boxes": [wild]}, "invalid_fields")
    await led.refused(signing.SaveDraft, {"boxes": [{**wild, "strokes": [[point] * 2001]}]}, "invalid_fields")


async def _at_payment(whole: Whole, led: Led, view: dict[str, Any]) -> None:
    customer, total, locks = led.customer, view["card"]["total_fen"], locks_of(view)
    await led.refused(payment.PlaceOrder, {"total_fen": total, "locks": locks}, "consent_missing")
    await customer.consent("payment_authorisation")
    for wrong in (total - 1, total + 1, 1):
        await led.refused(payment.PlaceOrder, {"total_fen": wrong, "locks": locks}, "amount_mismatch")
    for other in (dict.fromkeys(locks, NOWHERE), dict(list(locks.items())[1:]), {**locks, "bicycle_theft": NOWHERE}):
        await led.refused(payment.PlaceOrder, {"total_fen": total, "locks": other}, "terms_changed")
    await led.refused(payment.PlaceOrder, {"total_fen": total, "locks": locks, "channel": "alipay"}, "not_found")
    await led.refused(payment.PlaceOrder, {"total_fen": 0, "locks": locks}, "invalid_fields")
    # What was signed is read, answered, confirmed and signed once.
    documents = [each["document"] for each in view["disclosure"]["documents"]]
    for kind, body in (
        (proposal.ConfirmTerms, {"locks": locks}),
        (disclosure.OpenDocument, documents[0]),
        (disclosure.ConfirmDocument, documents[0]),
        (disclosure.AnswerNeeds, {"product": "motor_compulsory", "answers": {}}),
        (disclosure.AcknowledgePoint, view["disclosure"]["points"][0]),
        (signing.PrepareForms, {}),
        (signing.SignForms, ACTS[signing.SignForms].body),
    ):
        await led.refused(kind, body, "already_signed")
    # The journey is this phone's now: the link in other hands is worth nothing (I12).
    thief = whole.other_phone(customer)
    secret = {"link_secret": customer.phone.session.link_secret}
    assert (await led.gateway.act(identity.OpenSession, thief, secret)).code == "device_bound"
    thief.session.token = customer.phone.session.token
    order = {"total_fen": total, "locks": locks}
    assert (await led.gateway.act(payment.PlaceOrder, thief, order)).code == "proof_key_changed"
    led.met |= {"device_bound", "proof_key_changed"}
    await led.refused(payment.CancelOrder, {"order_no": "TB1"}, "order_unknown")


# -- terms changed after they were confirmed -------------------------------------------------------------------


async def _forge_terms(whole: Whole, customer: Customer) -> dict[str, int]:
    """Proposal itself gone over to the forger: a confirmation, in its own name and number, of other terms. Returns
    how far proposal's facts reach now.
    """
    journey = customer.phone.session.journey_id
    confirmed = whole.facts(journey, "proposal.terms_confirmed")[-1]
    assert isinstance(confirmed, proposal_facts.TermsConfirmed)
    forged = confirmed.model_copy(update={"locks": dict.fromkeys(confirmed.locks, NOWHERE)})
    at = customer.phone.session.heads["proposal"] + 1
    settings = Settings(nats_url=whole.run.nats_url, nats_seed_file=whole.run.place.seed_of("proposal"))
    bus = await Bus.connect(settings, "proposal", Metrics("proposal", "1.0.0"))
    try:
        await bus.publish(subjects.journey_fact(journey, "proposal", forged.name), stored(journey, forged, at))
    finally:
        await bus.close()
    return {"proposal": at}


async def _somebody_at(whole: Whole, step: str) -> Customer:
    customer = await whole.customer(Habits(score=None, use_app=False), body=bicycle)
    await customer.until(step)
    return customer


async def test_I18_terms_changed_before_the_signature_are_neither_read_nor_signed(
    whole: Whole, gateway: CorruptGateway
) -> None:
    customer = await _somebody_at(whole, "signature")
    view, phone = await customer.look(), customer.phone
    document = view["disclosure"]["documents"][0]["document"]
    after = await _forge_terms(whole, customer)
    signature = {
        "items": view["signing"]["items"],
        "declaration_sha256": view["signing"]["declaration_sha256"],
        "handwriting": INK,
    }
    for kind, body in (
        (disclosure.OpenDocument, document),
        (disclosure.ConfirmDocument, document),
        (signing.PrepareForms, {}),
        (signing.SaveDraft, INK),
        (signing.SignForms, signature),
        (payment.PlaceOrder, {"total_fen": view["card"]["total_fen"], "locks": locks_of(view)}),
    ):
        assert (await gateway.act(kind, phone, body, after=after)).code == "terms_changed", kind.verb
    await on_record(whole, phone.session.journey_id, {"terms_changed"})


async def test_I18_terms_changed_after_the_signature_are_neither_paid_for_nor_issued(
    whole: Whole, gateway: CorruptGateway
) -> None:
    unpaid, paying = await asyncio.gather(*(_somebody_at(whole, "payment") for _ in range(2)))
    view = await unpaid.look()
    await unpaid.consent("payment_authorisation")
    after = await _forge_terms(whole, unpaid)
    order = {"total_fen": view["card"]["total_fen"], "locks": locks_of(view)}
    assert (await gateway.act(payment.PlaceOrder, unpaid.phone, order, after=after)).code == "terms_changed"
    assert not whole.facts(unpaid.phone.session.journey_id, "payment.order_placed")
    # With the order out already, it is issuance that refuses, and the money goes back (I14).
    journey = paying.phone.session.journey_id
    await paying.consent("payment_authorisation")
    placed = await paying.order(await paying.look())
    await _forge_terms(whole, paying)
    await paying.pay(placed["pay_url"])
    await whole.until_told(lambda: whole.facts(journey, "payment.refunded"))
    (back,) = whole.facts(journey, "payment.refund_requested")
    assert isinstance(back, payment_facts.RefundRequested)
    assert (back.reason, back.fen) == ("terms_changed", placed["total_fen"])
    assert "terms_changed" in {f.code for f in whole.facts(journey, "issuance.refused") if isinstance(f, Refusal)}
    assert not whole.facts(journey, "issuance.policies_numbered")


# -- the bus itself --------------------------------------------------------------------------------------------


async def test_the_gateways_own_user_can_neither_make_facts_nor_ask_what_services_ask(
    whole: Whole, victim: Customer
) -> None:
    """So far everything was said with the right of all services; the gateway's own is far less: what it publishes
    reaches no stream, and nobody hears what it asks.
    """
    journey = victim.phone.session.journey_id
    before = whole.facts(journey)
    client = await nats.connect(
        whole.run.nats_url,
        nkeys_seed=str(whole.run.place.seed_of("gateway")),
        inbox_prefix="_INBOX.gateway",
        error_cb=_pass_over,
    )
    try:
        for fact in before:
            await client.publish(
                subjects.journey_fact(journey, fact.service, fact.name), fact.model_dump_json().encode()
            )
        order = issuance.RenounceOrder(command_id=new_ulid(), journey_id=journey, order_no="TB1")
        for request in (order, evidence.Attest(journey_id=journey, heads={})):
            with pytest.raises((nats.errors.TimeoutError, nats.errors.NoRespondersError)):
                await client.request(request.subject(), request.model_dump_json().encode(), timeout=0.3)
        await client.flush()
    finally:
        await client.close()
    assert whole.facts(journey) == before


async def _pass_over(_: Exception) -> None:
    """What the server would not let it do."""


# -- and then (last: it restarts identity for whoever follows, and looks back on all of it) ----------------------


async def test_no_proof_outlives_a_restart_of_identity(
    whole: Whole, gateway: CorruptGateway, newcomer: Customer
) -> None:
    """Its memory of used proofs is gone, and so is every nonce they could pass with."""
    kind = identity.RequestHelp
    this = await shot(whole, gateway, newcomer, kind)
    used, fresh = this.proof(), this.proof()
    assert (await gateway.act(kind, this.phone, this.body, jws=used)).code is None
    await whole.run.restart("identity")
    for jws in (used, fresh):
        assert (await gateway.act(kind, this.phone, this.body, jws=jws)).code == "use_dpop_nonce"
    await newcomer.until("documents")


async def test_nothing_broke_nothing_was_lost_and_nothing_was_said_again(
    whole: Whole, gateway: CorruptGateway, began: dict[str, int]
) -> None:
    assert len(gateway.answers) > 1500
    assert "internal" not in {answered.code for answered in gateway.answers}
    for name in (*SERVICES, "gateway"):
        text = whole.run.log(name).read_text("utf-8")[began[name] :]
        assert MARKER not in text
        assert json.dumps(MARKER)[1:-1] not in text
        for line in text.splitlines():
            assert json.loads(line)["level"] != "ERROR", line
    assert [told.subject for told in whole.told if told.subject.startswith("dead.")] == []
    assert not any(MARKER.encode() in told.data for told in whole.told if told.subject.startswith("journey."))
