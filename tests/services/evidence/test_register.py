"""The register: the fold by example and over every interleaving of services; the projection on a real store."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.commands.evidence import Attest, FindJourneys, ListJourneys, Live, ViewFile, ViewLive, ViewTimeline
from contracts.facts import disclosure, evidence, identity, issuance, notify, payment, proposal, signing
from contracts.facts.base import Fact, HeardFact
from contracts.problems import Refuse
from contracts.values import (
    ActProof,
    Attestation,
    Committed,
    CommittedFile,
    DocumentRef,
    PremiumLine,
    Proof,
)
from deploy.simulator.device import Device
from servicekit.runner import new_ulid
from servicekit.store import Document, StoreUnavailable
from services.evidence.register import MAKE, Register, Row, moment_of
from services.evidence.service import Evidence
from tests import readings
from tests.desk import Clock, Desk, desk, stored
from tests.nats_server import NatsServer
from tests.purchase import published
from tests.services.evidence.journey import PERSON, PRODUCTS, Journey
from tests.services.evidence.parties import Parties

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
SEALED = Committed(commitment="a" * 64, blob="b" * 64)
FILE = CommittedFile(commitment="a" * 64, blob="b" * 64, media_type="application/pdf", size=1)
HELD = Attestation(head="a" * 64, count=1, heads={}, at=NOW, signature="s", token="a" * 64)
NOTICE = identity.NoticeRef(notice="privacy", version="1", sha256="a" * 64)
TEXT = DocumentRef(product="motor", document="clauses", version="1", sha256="c" * 64)
KEY = identity.DeviceKey.model_validate(Device().jwk)
LINES = (PremiumLine(product="motor", kind="premium", fen=100),)


def proof(attempt: int = 1) -> ActProof:
    return ActProof(proof=Proof(jws="x.y.z", method="POST", url="https://x.test/"), body=SEALED, attempt=attempt)


def opened(at: datetime = NOW) -> proposal.JourneyOpened:
    party = proposal.Party(name=SEALED, id_type="id_card", id_number=SEALED, phone=SEALED, address=SEALED)
    terms = proposal.ProductTerms(
        product="motor", product_version="1", optional=False, covers=(), premium_fen=100, period_from=NOW,
        period_to=NOW + timedelta(days=365), documents=(TEXT,), points=(), lock="d" * 64,
    )  # fmt: skip
    return proposal.JourneyOpened(
        at=at, release="e" * 64, channel_id="harbour", proposal_no="TB1", policyholder=party, insured=None,
        subject={}, products=(terms,), link_hash="f" * 64, expires_at=NOW + timedelta(days=3),
    )  # fmt: skip


def session(attempt: int = 1, at: datetime = NOW) -> identity.SessionOpened:
    return identity.SessionOpened(
        at=at, attempt=attempt, device_key=KEY, thumbprint="t", absolute_limit=at, proof=proof(attempt)
    )


def verified(attempt: int = 1, at: datetime = NOW) -> identity.IdentityVerified:
    return identity.IdentityVerified(
        at=at, attempt=attempt, method="face", customer_id="0" * 26, valid_until=at, reproof=False
    )


def confirmed(attempt: int = 1, at: datetime = NOW) -> proposal.TermsConfirmed:
    return proposal.TermsConfirmed(at=at, locks={"motor": "d" * 64}, proof=proof(attempt))


def signed(attempt: int = 1, at: datetime = NOW) -> signing.FormsSigned:
    item = signing.SignedItem(product="motor", kind="form", document="form", version="1", hash="a" * 64)
    return signing.FormsSigned(
        at=at, attestation=HELD, attempt=attempt, items=(item,), declaration_sha256="a" * 64, strokes=FILE, image=FILE,
        vector=FILE, strokes_rendered_by="1", ink_checks=(), legibility="pass",
        reading=readings.passed("王小明"), signed_at=at, proof=proof(attempt),
    )  # fmt: skip


def review_asked(attempt: int = 1, at: datetime = NOW) -> signing.ReviewRequested:
    act = signed(attempt, at)
    written = {name: getattr(act, name) for name in signing.Written.model_fields}
    return signing.ReviewRequested(at=at, review_no=1, attempt_no=4, reason="handwriting_unclear", **written)


def review_closed(reason: str = "handwriting_unclear", at: datetime = NOW) -> signing.ReviewClosed:
    return signing.ReviewClosed(at=at, review_no=1, attempt=1, reason=reason)


def ordered(at: datetime = NOW, order_no: str = "O1") -> payment.OrderPlaced:
    return payment.OrderPlaced(
        at=at, attestation=HELD, order_no=order_no, channel="wechat", lines=LINES, total_fen=100, locks={},
        payer_name=SEALED, payer_id_number=SEALED, expires_at=at, proof=proof(),
    )  # fmt: skip


def paid(at: datetime = NOW) -> payment.PaymentConfirmed:
    return payment.PaymentConfirmed(
        at=at, order_no="O1", transaction_id="T1", total_fen=100, lines=LINES, locks={}, paid_at=at,
        heard_by="notification", receipt=SEALED,
    )  # fmt: skip


def refund(transaction: str | None = None, at: datetime = NOW) -> payment.RefundRequested:
    return payment.RefundRequested(
        at=at, order_no="O1", refund_no="R1", transaction_id=transaction, fen=100, reason="not_issued"
    )


def policy(number: str = "P1", at: datetime = NOW) -> issuance.PolicyIssued:
    return issuance.PolicyIssued(
        at=at, product="motor", policy_no=number, policy=FILE, lock="d" * 64, premium_fen=100, taxes_fen=0,
        period_from=at, period_to=at, retain_until=at, payment_confirmed_at=at, channel_id="harbour",
        channel_reference=None, proposal_no="TB1",
    )  # fmt: skip


def issued(at: datetime = NOW) -> issuance.JourneyIssued:
    return issuance.JourneyIssued(
        at=at, policies=("P1",), products=("motor",), channel_id="harbour", customer_id="0" * 26
    )


def refused(at: datetime = NOW, code: str = "otp_wrong") -> identity.Refused:
    return identity.Refused(at=at, command="verify_otp", code=code, occurrence=1)


def row(*facts: Fact) -> Row:
    made = Row()
    for fact in facts:
        made = made.after(fact)
    return made


# -- the fold ----------------------------------------------------------------------------------------------


def told(*facts: Fact) -> tuple[str, str]:
    made = row(*facts)
    return made.stage, made.step


def test_the_furthest_step_by_the_facts_heard() -> None:
    consent = identity.ConsentGiven(at=NOW, notice=NOTICE, proof=proof())
    recording = identity.RecordingAcknowledged(at=NOW, notice=NOTICE, proof=proof())
    checked = identity.RealNameChecked(at=NOW, matched=True, provider_ref="r", proof=proof())
    read = disclosure.DocumentOpened(at=NOW, document=TEXT, attempt=1, proof=proof())
    form = signing.FormPrepared(
        at=NOW, attempt=1, product="motor", form_no="F1", form_version="1", form=FILE, lock="d" * 64
    )
    steps = [
        (opened(), ("open", "recording")), (session(), ("open", "recording")), (recording, ("open", "consents")),
        (consent, ("open", "consents")), (checked, ("open", "identity")), (verified(), ("open", "terms")),
        (confirmed(), ("confirmed", "reading")), (read, ("confirmed", "reading")), (form, ("confirmed", "signature")),
        (signed(), ("signed", "payment")), (ordered(), ("ordered", "payment")), (paid(), ("paid", "issuance")),
        (policy(), ("paid", "issuance")), (issued(), ("issued", "done")),
    ]  # fmt: skip
    facts: list[Fact] = []
    for fact, expected in steps:
        facts.append(fact)
        assert told(*facts) == expected, fact
    assert not row(*facts).alive


def test_I12_another_device_begins_anew_and_what_was_signed_stands() -> None:
    before = (opened(), session(), verified(), confirmed())
    void = identity.SessionVoided(at=NOW, attempt=1, reason="device_changed")
    assert told(*before, void, session(2)) == ("open", "recording")
    assert told(*before, signed(), void, session(2)) == ("signed", "payment")
    assert row(*before, void, session(2)).attempt == 2


def test_how_a_journey_ends() -> None:
    withdrawn = proposal.ProposalWithdrawn(at=NOW, reason="wrong_data")
    assert told(opened(), withdrawn) == ("withdrawn", "ended")
    assert told(opened(), proposal.ProposalExpired(at=NOW)) == ("expired", "ended")
    assert told(opened(), ordered(), paid(), refund("T1")) == ("paid", "ended")
    assert told(opened(), ordered(), paid(), refund()) == ("paid", "ended")
    assert told(opened(), ordered(), paid(), refund("T2")) == ("paid", "issuance")
    assert told(opened(), issued(), withdrawn) == ("issued", "done")
    closed = payment.OrderClosed(at=NOW, order_no="O1", reason="cancelled")
    assert told(opened(), signed(), ordered(), closed) == ("signed", "payment")
    assert told(opened(), signed(), ordered(), closed, ordered(order_no="O2"), closed) == ("ordered", "payment")


def test_refusals_are_counted_also_where_another_fact_is_their_record() -> None:
    ink = signing.InkRejected(at=NOW, attempt_no=1, reason="ink_dot", checks=(), strokes=FILE, proof=proof())
    unlike = identity.RealNameChecked(at=NOW, matched=False, provider_ref="r", proof=proof())
    alike = identity.RealNameChecked(at=NOW, matched=True, provider_ref="r", proof=proof())
    assert row(opened(), refused(), ink, unlike, alike).refusals == 3
    assert row(opened(), review_asked(), review_closed("handwriting_another_name")).refusals == 1
    assert row(opened(), review_asked(), review_closed("terms_changed")).refusals == 0
    assert [moment_of(fact) for fact in (refused(), ink, unlike, alike, opened(), issued(), policy())] == [
        "20261123T02/refused/otp_wrong", "20261123T02/refused/ink_dot", "20261123T02/refused/real_name_failed",
        None, "20261123T02/opened", "20261123T02/issued", None,
    ]  # fmt: skip


def test_a_review_is_of_the_signature_and_counts_as_a_try_once_it_ended_without_one() -> None:
    before = (opened(), session(), verified(), confirmed())
    asked = review_asked()
    legible = signing.ReviewDecided(at=NOW, review_no=1, reviewer="li", finding="legible")
    assert told(*before, asked, legible) == ("confirmed", "signature")
    assert row(*before, asked, legible).ink_rejected == 0
    for reason in ("handwriting_unclear", "terms_changed"):
        over = row(*before, asked, review_closed(reason))
        assert (over.step, over.ink_rejected) == ("signature", 1)
    assert told(*before, asked, legible, signed()) == ("signed", "payment")
    assert row(*before, asked, legible, signed()).ink_rejected == 0


def test_evidences_own_facts_and_unknown_ones_move_nothing() -> None:
    later = NOW + timedelta(hours=1)
    export = evidence.PackExported(
        at=later, scope="journey", policy_no=None, masked=True, reason="法院", manifest_sha256="a" * 64
    )
    assert row(opened(), export, HeardFact(at=later)) == row(opened())
    assert moment_of(HeardFact(at=later)) is None


AT = st.integers(0, 7200).map(lambda seconds: NOW + timedelta(seconds=seconds))
ATTEMPT = st.integers(1, 3)
OF_A_SERVICE: dict[str, st.SearchStrategy[Fact]] = {
    "proposal": st.one_of(
        st.builds(opened, AT),
        st.builds(confirmed, ATTEMPT, AT),
        st.builds(proposal.ProposalExpired, at=AT),
        st.builds(proposal.ProposalWithdrawn, at=AT, reason=st.just("wrong_data")),
    ),
    "identity": st.one_of(
        st.builds(session, ATTEMPT, AT),
        st.builds(verified, ATTEMPT, AT),
        st.builds(refused, AT),
        st.builds(identity.SessionVoided, at=AT, attempt=ATTEMPT, reason=st.just("device_changed")),
        st.builds(identity.ConsentGiven, at=AT, notice=st.just(NOTICE), proof=ATTEMPT.map(proof)),
        st.builds(
            identity.FaceChecked, at=AT, passed=st.booleans(), provider_ref=st.just("r"), score_band=st.just("low"),
            checked_at=AT, proof=ATTEMPT.map(proof),
        ),
    ),
    "disclosure": st.builds(
        disclosure.DocumentOpened, at=AT, document=st.just(TEXT), attempt=ATTEMPT, proof=ATTEMPT.map(proof)
    ),
    "signing": st.one_of(
        st.builds(signed, ATTEMPT, AT),
        st.builds(review_asked, ATTEMPT, AT),
        st.builds(
            signing.ReviewDecided, at=AT, review_no=st.just(1), reviewer=st.just("li"), finding=st.just("legible")
        ),
        st.builds(review_closed, st.sampled_from(["handwriting_unclear", "terms_changed"]), AT),
    ),
    "payment": st.one_of(
        st.builds(ordered, AT, st.sampled_from(["O1", "O2"])),
        st.builds(paid, AT),
        st.builds(refund, st.sampled_from([None, "T1", "T2"]), AT),
        st.builds(payment.OrderClosed, at=AT, order_no=st.sampled_from(["O1", "O2"]), reason=st.just("expired")),
    ),
    "issuance": st.one_of(st.builds(policy, st.sampled_from(["P1", "P2"]), AT), st.builds(issued, AT)),
    "notify": st.builds(
        notify.MessageSent, at=AT, message_id=st.just("m"), template=st.just("otp"), provider_ref=st.just("r")
    ),
}  # fmt: skip
STREAMS = st.fixed_dictionaries({name: st.lists(facts, max_size=4) for name, facts in OF_A_SERVICE.items()})


@given(STREAMS, st.data())
def test_any_order_between_services_gives_the_same_row(streams: dict[str, list[Fact]], data: st.DataObject) -> None:
    turns = [name for name, facts in streams.items() for _ in facts]
    rows: list[Row] = []
    for _ in range(2):
        waiting = {name: list(facts) for name, facts in streams.items()}
        rows.append(row(*(waiting[name].pop(0) for name in data.draw(st.permutations(turns)))))
    assert rows[0] == rows[1]
    assert rows[0].model_dump_json() == rows[1].model_dump_json()
    assert Row.model_validate_json(rows[0].model_dump_json()) == rows[0]


# -- the projection ----------------------------------------------------------------------------------------


@pytest.fixture
async def at(tmp_path: Path, nats: NatsServer, parties: Parties, tsa: str) -> Any:
    published(tmp_path / "releases")
    async with desk(
        Evidence, tmp_path, nats, clock=Clock(now()), play_evidence=False, **parties.settings(tsa)
    ) as found:
        yield found


def now() -> datetime:
    """Authorities stamp by their own clock."""
    return datetime.now(UTC) - timedelta(seconds=300)


async def passed(at: Desk, parties: Parties, tsa: str) -> Journey:
    from products import Releases

    folder = at.folder / "releases"
    (name,) = [path.name for path in folder.iterdir() if len(path.name) == 64]
    journey = Journey(at, Releases(folder).get(name), parties, tsa)
    await journey.pass_through()
    await followed(at, journey.id)
    return journey


async def followed(at: Desk, journey_id: str, register: Register | None = None) -> Row:
    return await (register or at.service.register).follow(journey_id)


async def found(at: Desk, kind: str, key: str) -> list[str]:
    reply = await at.ask(FindJourneys(kind=kind, key=key))  # type: ignore[arg-type]
    return [journey.journey_id for journey in reply.journeys]


def counts(live: Live) -> tuple[int, int, int]:
    return sum(h.opened for h in live.hours), sum(h.issued for h in live.hours), sum(h.refused for h in live.hours)


async def test_a_journey_is_found_by_any_of_its_numbers_and_by_its_phone(at: Desk, parties: Parties, tsa: str) -> None:
    journey = await passed(at, parties, tsa)
    phone = at.vault.blind_index("phone", PERSON["phone"])
    for kind, key in (
        ("proposal_no", "TB2026001"),
        ("phone", phone),
        *(("policy_no", n) for n in journey.numbers.values()),
    ):
        assert await found(at, kind, key) == [journey.id], kind
    for kind, key in (("proposal_no", "TB2"), ("phone", "0" * 64), ("policy_no", "P")):
        assert await found(at, kind, key) == []
    (listed,) = (await at.ask(ListJourneys(state="issued", step="done", channel_id="harbour"))).journeys
    assert (listed.journey_id, listed.attempts, listed.refusals) == (journey.id, 1, 1)
    assert set(listed.policy_nos) == set(journey.numbers.values())
    assert not (await at.ask(ListJourneys(state="open"))).journeys
    # Nothing personal is kept.
    kept = await at.service.register._rows.get(journey.id)
    assert not any(value in str((kept.state, kept.fields)) for value in PERSON.values())


async def test_pages_go_from_the_newest_to_the_oldest(at: Desk) -> None:
    journeys = sorted(new_ulid() for _ in range(5))
    for journey_id in journeys:
        await at.tell(journey_id, opened(at.clock()))
        await followed(at, journey_id)
    seen: list[str] = []
    before = None
    while True:
        page = await at.ask(ListJourneys(limit=2, before=before))
        seen += [journey.journey_id for journey in page.journeys]
        before = page.next
        if before is None:
            break
    assert seen == journeys[::-1]


async def test_the_live_page_counts_each_fact_once_whoever_hears_it_how_often(
    at: Desk, parties: Parties, tsa: str
) -> None:
    journey = await passed(at, parties, tsa)
    other = new_ulid()
    await at.tell(
        other, opened(at.clock()), refused(at.clock()), refused(at.clock(), "otp_expired"), refused(at.clock())
    )
    # Delivered again, and followed by other processes at the same time.
    await at.bus.publish(f"journey.{other}.proposal.journey_opened", stored(other, opened(at.clock()), 1))
    service = at.service
    others = [Register(service.store, service.chains, at.vault, at.clock) for _ in range(3)]
    await asyncio.gather(*(followed(at, other, each) for each in (*others, service.register)))
    await service.register._rows.delete(journey.id)
    await asyncio.gather(*(followed(at, journey.id, each) for each in others))
    live: Live = await at.ask(ViewLive())
    assert counts(live) == (2, 1, 4)
    assert len(live.hours) == 24
    assert [(each.code, each.count) for each in live.refusals] == [
        ("otp_wrong", 2), ("consent_missing", 1), ("otp_expired", 1),
    ]  # fmt: skip
    assert {each.step: each.count for each in live.steps if each.count} == {"recording": 1}
    assert {each.policy_no for each in live.policies} == set(journey.numbers.values())
    assert [each.issued_at for each in live.policies] == sorted((e.issued_at for e in live.policies), reverse=True)


async def test_what_is_older_than_a_day_is_not_counted_and_what_is_older_than_two_is_forgotten(at: Desk) -> None:
    journey_id = new_ulid()
    await at.tell(journey_id, opened(at.clock()), refused(at.clock()))
    await followed(at, journey_id)
    assert counts(await at.ask(ViewLive())) == (1, 0, 1)
    at.clock.pass_by(hours=24)
    assert counts(await at.ask(ViewLive())) == (0, 0, 0)
    assert await at.service.register._moments.count() == 2
    at.clock.pass_by(hours=24)
    await at.service.register.swept()
    assert (await at.service.register._moments.count(), await at.service.register._buckets.count()) == (0, 0)


async def test_a_row_of_before_or_lost_is_folded_again_at_the_start(
    tmp_path: Path, nats: NatsServer, parties: Parties, tsa: str
) -> None:
    clock = Clock(now())
    lost, old, left = (new_ulid() for _ in range(3))
    async with desk(Evidence, tmp_path, nats, clock=clock, play_evidence=False, **parties.settings(tsa)) as at:
        for journey_id in (lost, old, left):
            await at.tell(journey_id, opened(clock()))
            await followed(at, journey_id)
        rows = at.service.register._rows
        await rows.delete(lost)
        document = await rows.get(old)
        await rows.save(Document(old, document.version, state={**document.state, "make": MAKE - 1}))
        # As if the process had died between the fact and its row.
        await at.service.register.stop()
        await at.tell(left, refused(clock()))
        row_of_left = await rows.get(left)
        assert row_of_left.state["row"]["refusals"] == 0
    async with desk(Evidence, tmp_path, nats, clock=clock, play_evidence=False, **parties.settings(tsa)) as at:

        async def caught_up() -> bool:
            listed = (await at.ask(ListJourneys())).journeys
            return {j.journey_id: j.refusals for j in listed} == {lost: 0, old: 0, left: 1}

        await at.eventually(caught_up)
        assert counts(await at.ask(ViewLive())) == (3, 0, 1)


async def test_a_register_that_fails_keeps_no_fact_out_of_the_chain(at: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    journey_id = new_ulid()
    register = at.service.register
    failed = asyncio.Event()

    async def broken(*_: Any) -> None:
        failed.set()
        raise StoreUnavailable("no disk")

    monkeypatch.setattr(register, "_note", broken)
    await at.tell(journey_id, opened(at.clock()), refused(at.clock()))
    await failed.wait()
    assert (await at.service.chains.state(journey_id)).count == 2
    assert (await at.ask(ViewFile(journey_id=journey_id))).row.refusals == 1
    monkeypatch.undo()

    async def mended() -> bool:
        return [j.refusals for j in (await at.ask(ListJourneys())).journeys] == [1]

    await at.eventually(mended)


async def test_I33_a_register_that_hangs_delays_no_attestation_and_no_stop(
    at: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = asyncio.Event()

    async def hangs(*_: Any) -> None:
        hanging.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(at.service.register, "_note", hangs)
    journey_id = new_ulid()
    await at.tell(journey_id, opened(at.clock()))
    await hanging.wait()
    async with asyncio.timeout(5):
        assert (await at.ask(Attest(journey_id=journey_id, heads={"proposal": 1}))).count == 1
        await at.service.register.stop()


async def test_a_look_through_all_journeys_that_fails_does_not_end_the_service_badly(
    at: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = asyncio.Event()

    async def odd(**_: Any) -> list[Document]:
        looked.set()
        raise ValueError("no such page")

    register = at.service.register
    await register.stop()
    monkeypatch.setattr(at.service.chains.collection, "find", odd)
    register.start()
    await looked.wait()
    await register.stop()


async def test_a_shredded_journey_is_registered_without_its_phone(at: Desk) -> None:
    journey_id = new_ulid()
    sealed = await at.vault.seal(journey_id, "13800138000")
    await at.vault.shred(journey_id)
    fact = opened(at.clock())
    party = fact.policyholder.model_copy(update={"phone": sealed})
    await at.tell(journey_id, fact.model_copy(update={"policyholder": party}))
    await followed(at, journey_id)
    assert await found(at, "proposal_no", "TB1") == [journey_id]
    assert await found(at, "phone", at.vault.blind_index("phone", "13800138000")) == []


async def test_a_journeys_file_and_every_fact_in_words(at: Desk, parties: Parties, tsa: str) -> None:
    journey = await passed(at, parties, tsa)
    file = await at.ask(ViewFile(journey_id=journey.id))
    assert file.row.step == "done"
    assert (file.policyholder, set(file.subject)) == (journey.holder, {"plate"})
    assert not any(value in file.model_dump_json() for value in PERSON.values())
    assert file.chain.count == len(journey.facts) + file.chain.heads["evidence"]
    assert {(kept.kind, kept.product) for kept in file.files} == {
        (kind, slug) for kind in ("form", "policy") for slug in PRODUCTS
    }
    for kept in file.files:
        assert (await at.vault.open(journey.id, kept.file)).startswith(b"%PDF")
    recording, *texts = file.documents
    assert (recording.product, recording.kind) == (None, "notice")
    assert recording.confirmed_at is not None
    assert {text.sha256 for text in texts} == {d.sha256 for terms in journey.terms_of.values() for d in terms.documents}
    for text in texts:
        assert text.opened_at is not None
        assert text.confirmed_at is not None
        assert (text.dwell_ms or 0) >= (text.minimum_dwell_ms or 0) > 0
        assert text.title != text.document
        assert text.kind
    whole = await at.ask(ViewTimeline(journey_id=journey.id))
    assert [event.index for event in whole.events] == list(range(1, file.chain.count + 1))
    assert whole.count == file.chain.count
    assert whole.events[0].since_ms is None
    assert all(event.since_ms is not None for event in whole.events[1:])
    assert [event.code for event in whole.events if event.code] == ["consent_missing"]
    assert not any(value in whole.model_dump_json() for value in PERSON.values())
    pages = [
        await at.ask(ViewTimeline(journey_id=journey.id, after=after, limit=10)) for after in range(0, whole.count, 10)
    ]
    assert tuple(event for page in pages for event in page.events) == whole.events


async def test_another_device_reads_anew_in_the_file_too(at: Desk) -> None:
    journey_id = new_ulid()
    confirmed_once = disclosure.DocumentConfirmed(
        at=at.clock(), document=TEXT, attempt=1, opened_at=at.clock(), end_reached_at=at.clock(), paragraphs_seen=1,
        paragraphs_total=1, dwell_ms=5000, minimum_dwell_ms=3000, dwell_scale=1, proof=proof(),
    )  # fmt: skip
    await at.tell(journey_id, opened(at.clock()), confirmed_once)
    (text,) = (await at.ask(ViewFile(journey_id=journey_id))).documents
    assert text.confirmed_at is not None
    again = disclosure.DocumentOpened(at=at.clock(), document=TEXT, attempt=2, proof=proof(2))
    await at.tell(journey_id, again)
    (text,) = (await at.ask(ViewFile(journey_id=journey_id))).documents
    assert (text.confirmed_at, text.opened_at) == (None, again.at)


async def test_a_file_of_nobody_and_a_damaged_one_are_refused(at: Desk) -> None:
    for query in (ViewFile(journey_id=new_ulid()), ViewTimeline(journey_id=new_ulid())):
        assert await at.refused(at.ask(query)) == "journey_unknown"
    journey_id = new_ulid()
    await at.tell(journey_id, refused(at.clock()))
    assert await at.refused(at.ask(ViewFile(journey_id=journey_id))) == "journey_unknown"
    entries = at.service.store.collection("entries", ("journey", "place"))
    (document,) = await entries.find(equal={"journey": journey_id})
    document.state["data"] = document.state["data"].replace("otp_wrong", "face_fail")
    await entries.save(document)
    with pytest.raises(Refuse) as damaged:
        await at.ask(ViewTimeline(journey_id=journey_id))
    assert damaged.value.code == "evidence_incomplete"
