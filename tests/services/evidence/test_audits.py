"""Whether issued policies can be proven, looked at by evidence itself; what is missing of chains; what is counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from contracts import subjects
from contracts.commands.evidence import ViewChain
from contracts.facts import disclosure, identity, issuance, payment, signing
from contracts.facts.base import Fact
from contracts.facts.proposal import LinkSent, ProposalWithdrawn
from servicekit.runner import new_ulid
from services.evidence import audits
from services.evidence.audits import RULES, broken
from services.evidence.measures import HUMAN, Measures
from services.evidence.register import Row
from services.evidence.service import Evidence
from tests.desk import Clock, Desk, desk, stored
from tests.nats_server import NatsServer
from tests.purchase import published
from tests.services.evidence.journey import Journey
from tests.services.evidence.parties import Parties
from tests.services.evidence.test_register import (
    confirmed,
    opened,
    ordered,
    paid,
    review_asked,
    review_closed,
    session,
    signed,
    verified,
)


def now() -> datetime:
    """Authorities stamp by their own clock."""
    return datetime.now(UTC) - timedelta(seconds=3000)


@pytest.fixture
async def at(tmp_path: Path, nats: NatsServer, parties: Parties, tsa: str) -> Any:
    published(tmp_path / "releases")
    channels: dict[str, Any] = {"evidence_channels": ("harbour",)}
    async with desk(
        Evidence, tmp_path, nats, clock=Clock(now()), play_evidence=False, **parties.settings(tsa), **channels
    ) as found:
        yield found


async def passed(at: Desk, parties: Parties, tsa: str) -> Journey:
    from products import Releases

    folder = at.folder / "releases"
    (name,) = [path.name for path in folder.iterdir() if len(path.name) == 64]
    journey = Journey(at, Releases(folder).get(name), parties, tsa)
    await journey.pass_through()
    return journey


def value(at: Desk, metric: str, **labels: str) -> float | None:
    return at.service.metrics.registry.get_sample_value(metric, labels)


async def judged(at: Desk, verdict: str, policies: int) -> None:
    async def so() -> bool:
        return value(at, "toubao_policies_evidence", verdict=verdict) == policies

    await at.eventually(so, seconds=30)


async def test_I19_what_was_issued_is_anchored_to_its_end_and_found_complete(
    at: Desk, parties: Parties, tsa: str
) -> None:
    journey = await passed(at, parties, tsa)
    await judged(at, "pending", 2)
    view = await at.ask(ViewChain(journey_id=journey.id))
    assert view.anchored < view.count
    at.clock.pass_by(seconds=3)
    await judged(at, "complete", 2)
    assert value(at, "toubao_policies_evidence", verdict="pending") == 0
    assert value(at, "toubao_evidence_pending_oldest_seconds") == 0
    assert {rule: value(at, "toubao_invariant_violations", rule=rule) for rule in RULES} == dict.fromkeys(RULES, 0)
    view = await at.ask(ViewChain(journey_id=journey.id))
    assert view.anchored == view.count - 1, "all but evidence's own word about it"
    # Once each, whatever the register was told how often.
    reached = {"line": "motor", "channel": "harbour"}

    async def counted() -> bool:
        return value(at, "toubao_journeys_reached_total", step="done", **reached) == 1

    await at.eventually(counted)
    assert value(at, "toubao_journeys_reached_total", step="recording", **reached) == 1
    assert value(at, "toubao_journeys_ended_total", ending="issued", **reached) == 1


async def test_I19_a_pack_that_would_lack_something_is_known_until_it_is_back(
    at: Desk, parties: Parties, tsa: str
) -> None:
    journey = await passed(at, parties, tsa)
    await judged(at, "pending", 2)
    issued = next(fact for fact in journey.facts if isinstance(fact, issuance.PolicyIssued))
    (blob,) = [path for path in (at.folder / "blobs").rglob("*") if path.name == issued.policy.blob]
    kept = blob.read_bytes()
    blob.unlink()
    at.clock.pass_by(seconds=3)
    await judged(at, "incomplete", 2)
    blob.write_bytes(kept)
    at.clock.pass_by(minutes=11)
    await judged(at, "complete", 2)
    assert value(at, "toubao_policies_evidence", verdict="incomplete") == 0


async def test_I33_without_a_timestamp_there_is_no_verdict_yet(
    tmp_path: Path, nats: NatsServer, parties: Parties, tsa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(tmp_path / "releases")
    clock = Clock(now())
    async with desk(Evidence, tmp_path, nats, clock=clock, play_evidence=False, **parties.settings(tsa)) as at:
        await passed(at, parties, tsa)
        await judged(at, "pending", 2)
        working = at.service._authorities
        from services.evidence.timestamps import Authorities

        at.service._authorities = Authorities((), (), at.service._session, 1)
        clock.pass_by(seconds=400)
        await at.service.audits.swept()
        assert value(at, "toubao_policies_evidence", verdict="pending") == 2
        oldest = value(at, "toubao_evidence_pending_oldest_seconds")
        assert oldest is not None
        assert oldest >= 400
        at.service._authorities = working
        clock.pass_by(seconds=16)
        await judged(at, "complete", 2)


def changed(facts: list[Fact], kind: type[Fact], **fields: Any) -> list[Fact]:
    return [fact.model_copy(update=fields) if isinstance(fact, kind) else fact for fact in facts]


async def test_rules_that_the_facts_do_not_bear_out_are_named(at: Desk, parties: Parties, tsa: str) -> None:
    facts = (await passed(at, parties, tsa)).facts
    assert broken(facts) == frozenset()
    unread = next(fact for fact in facts if isinstance(fact, disclosure.DocumentConfirmed))
    assert broken([fact for fact in facts if fact is not unread]) == {"I1"}
    receipt = next(fact for fact in facts if isinstance(fact, payment.PaymentConfirmed))
    assert broken([*facts, receipt.model_copy(update={"transaction_id": "T2"})]) == {"I16"}
    again = next(fact for fact in facts if isinstance(fact, issuance.PolicyIssued))
    assert "I16" in broken([*facts, again.model_copy(update={"policy_no": "P2"})])
    assert broken(changed(facts, payment.PaymentConfirmed, total_fen=receipt.total_fen - 1)) == {"I17"}
    assert broken(changed(facts, issuance.PolicyIssued, lock="f" * 64)) == {"I18"}
    order = next(fact for fact in facts if isinstance(fact, payment.OrderPlaced))
    other = order.proof.model_copy(update={"attempt": 2})
    assert "I12" in broken(changed(facts, payment.OrderPlaced, proof=other))
    assert "I16" in broken([fact for fact in facts if not isinstance(fact, payment.PaymentConfirmed)])
    numbered = next(fact for fact in facts if isinstance(fact, issuance.PoliciesNumbered))
    without = numbered.attestation.model_copy(update={"count": 0})
    assert broken(changed(facts, issuance.PoliciesNumbered, attestation=without)) == {"I19"}


async def test_I19_a_fact_whose_predecessor_is_missing_is_a_gap_until_it_comes(
    at: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    journey = new_ulid()
    first, second = (LinkSent(at=at.clock(), message_id=f"m{i}") for i in (1, 2))
    subject = subjects.journey_fact(journey, "proposal", "link_sent")
    await at.bus.publish(subject, stored(journey, second, 2))

    async def gaps(many: int) -> None:
        async def so() -> bool:
            return value(at, "toubao_chain_gaps") == many

        await at.eventually(so, seconds=30)

    await gaps(1)
    at.clock.pass_by(seconds=61)
    await at.service.swept()
    oldest = value(at, "toubao_chain_gap_oldest_seconds")
    assert oldest is not None
    assert oldest >= 61
    await at.bus.publish(subject, stored(journey, first, 1))
    await gaps(0)
    assert value(at, "toubao_chain_gap_oldest_seconds") == 0


# -- what is counted: no process needed --------------------------------------------------------------------


def folded(*facts: Fact) -> Row:
    row = Row()
    for fact in facts:
        row = row.after(fact)
    return row


class Counted:
    def __init__(self, channels: tuple[str, ...] = ("harbour",)) -> None:
        self.registry = CollectorRegistry()
        self.measures = Measures(self.registry, channels)
        self.facts: list[Fact] = []

    def moved(self, *facts: Fact) -> None:
        before = folded(*self.facts)
        self.facts += facts
        self.measures.moved(before, folded(*self.facts), facts, "motor")

    def reached(self, step: str, channel: str = "harbour") -> float | None:
        labels = {"step": step, "line": "motor", "channel": channel}
        return self.registry.get_sample_value("toubao_journeys_reached_total", labels)

    def ended(self, ending: str, channel: str = "harbour") -> float | None:
        labels = {"ending": ending, "line": "motor", "channel": channel}
        return self.registry.get_sample_value("toubao_journeys_ended_total", labels)

    def signatures(self, legibility: str) -> dict[str, float | None]:
        """By the try they were."""
        name = "toubao_signatures_total"
        return {t: self.registry.get_sample_value(name, {"tries": t, "legibility": legibility}) for t in "123"}

    def step(self, step: str, what: str = "sum") -> float | None:
        return self.registry.get_sample_value(f"toubao_step_seconds_{what}", {"step": step})


START = datetime(2026, 11, 23, 2, tzinfo=UTC)


def later(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


CHANNEL = opened().channel_id


def test_a_journey_is_counted_once_at_each_step_it_came_to_whatever_it_skipped() -> None:
    at = Counted((CHANNEL,))
    at.moved(opened(START))
    assert (at.reached("recording", CHANNEL), at.reached("terms", CHANNEL)) == (1, 0)
    at.moved(session(1, later(5)), verified(1, later(30)))
    assert [at.reached(step, CHANNEL) for step in ("consents", "identity", "terms", "reading")] == [1, 1, 1, 0]
    # Another device begins anew: nothing is reached a second time.
    at.moved(session(2, later(60)), verified(2, later(90)), confirmed(2, later(100)))
    assert [at.reached(step, CHANNEL) for step in ("recording", "terms", "reading")] == [1, 1, 1]
    at.moved(ProposalWithdrawn(at=later(200), reason="wrong_data"))
    assert (at.ended("withdrawn", CHANNEL), at.ended("issued", CHANNEL)) == (1, 0)


def test_a_channel_nobody_named_is_counted_with_the_others() -> None:
    at = Counted(("somebody_else",))
    at.moved(opened(START))
    assert at.reached("recording", "other") == 1
    assert at.reached("recording", CHANNEL) is None


def test_how_long_people_take_is_told_by_the_facts_times() -> None:
    at = Counted()
    at.moved(opened(START), session(1, later(5)), verified(1, later(30)), confirmed(1, later(42)))
    at.moved(signed(1, later(400)), ordered(later(410)), paid(later(445)))
    assert at.step("recording") == 30
    assert at.step("terms") == 12
    assert at.step("reading") == 358
    assert at.step("payment") == 45
    assert {step: at.step(step, "count") for step in ("consents", "identity")} == {"consents": 0, "identity": 0}
    assert set(HUMAN) == {"recording", "consents", "identity", "terms", "reading", "signature", "payment"}


def test_signatures_by_the_try_they_were() -> None:
    at = Counted()
    rejected = signing.InkRejected.model_construct(at=later(1), attempt_no=1, reason="ink_too_fast")
    at.moved(opened(START), rejected)
    at.moved(rejected, signed(1, later(20)))
    assert at.signatures("pass") == {"1": 0, "2": 0, "3": 1}
    assert at.registry.get_sample_value("toubao_handwriting_refused_total", {"reason": "ink_too_fast"}) == 2


def test_reviews_by_their_end_and_what_they_made_of_the_signature() -> None:
    at = Counted()
    at.moved(opened(START), review_asked(1, later(1)), review_closed("handwriting_unclear", later(2)))
    at.moved(review_asked(1, later(3)), review_closed("session_voided", later(4)))
    at.moved(review_asked(1, later(5)), signed(1, later(6)).model_copy(update={"legibility": "manual", "review_no": 3}))
    ends = {
        end: at.registry.get_sample_value("toubao_reviews_total", {"end": end})
        for end in ("legible", "not_legible", "overtaken")
    }
    assert ends == {"legible": 1, "not_legible": 1, "overtaken": 1}
    assert at.signatures("manual") == {"1": 0, "2": 0, "3": 1}
    assert at.signatures("pass") == {"1": 0, "2": 0, "3": 0}


def test_face_checks_by_whether_they_were_the_first() -> None:
    at = Counted()

    def face(passed: bool) -> Fact:
        return identity.FaceChecked.model_construct(at=later(1), passed=passed, proof=None)

    at.moved(opened(START), face(False))
    at.moved(face(True))
    seen = {
        (first, passed): at.registry.get_sample_value("toubao_face_checks_total", {"first": first, "passed": passed})
        for first in ("yes", "no")
        for passed in ("yes", "no")
    }
    assert seen == {("yes", "yes"): 0, ("yes", "no"): 1, ("no", "yes"): 1, ("no", "no"): 0}


def test_counts_are_looked_at_again_even_when_nothing_is_due() -> None:
    assert audits.COUNT_SECONDS <= 30
