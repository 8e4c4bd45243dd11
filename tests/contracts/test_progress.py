"""The fold of a journey's facts is the same for every order between services, and keeps device sessions apart."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.facts import identity, proposal, signing
from contracts.facts.base import Fact
from contracts.problems import Refuse
from contracts.progress import Progress
from contracts.values import ActProof, Proof
from deploy.simulator.device import Device
from servicekit.blobs import FileBlobs
from servicekit.vault import MasterKeys, Vault
from tests import readings
from tests.desk import Clock
from tests.purchase import STEPS, Purchase, published, purchase

EXTRA = "driver_passenger_accident"


def told_to_nobody(folder: Path) -> Any:
    """A desk without a service: facts are only made."""
    MasterKeys.create(folder / "master.key")
    at = SimpleNamespace(
        vault=Vault(FileBlobs(folder / "blobs"), folder / "keys", folder / "master.key"),
        clock=Clock(),
        device=Device(),
        attempt=1,
        service=SimpleNamespace(name="nobody"),
    )

    async def tell(*_: object) -> None:
        return None

    async def proof(journey_id: str) -> ActProof:
        url = f"https://toubao.test/v1/journeys/{journey_id}/told"
        return ActProof(
            proof=Proof(jws=at.device.proof("POST", url, b"{}"), method="POST", url=url),
            body=await at.vault.seal(journey_id, b"{}"),
            attempt=at.attempt,
        )

    at.tell, at.proof = tell, proof
    return at


@pytest.fixture
async def buyer(tmp_path: Path) -> Purchase:
    at = told_to_nobody(tmp_path)
    return purchase(cast("Any", at), published(tmp_path / "releases"))


async def twice(buyer: Purchase) -> list[Fact]:
    """A customer who began on one phone, changed to another and went through to payment there."""
    await buyer.up_to("read")
    buyer.at.attempt = 2
    now = buyer.at.clock()
    await buyer.tell(identity.SessionVoided(at=now, attempt=1, reason="device_changed"))
    for step in STEPS[1:]:
        told = await getattr(buyer, f"_{step}")()
        if step == "signed":
            await looked_at(buyer, told[0], timedelta(days=2), "handwriting_unclear")
            told = await buyer._signed()  # the customer writes again
            await looked_at(buyer, told[0], timedelta(days=1), None)
            told[0] = told[0].model_copy(
                update={"at": buyer.at.clock(), "legibility": "manual", "review_no": number_of(buyer)}
            )
        await buyer.tell(*told)
    return buyer.facts


def number_of(buyer: Purchase) -> int:
    return sum(isinstance(fact, signing.ReviewRequested) for fact in buyer.facts)


async def looked_at(buyer: Purchase, act: Fact, long: timedelta, closed: str | None) -> None:
    """Two people look at the signature of ``act``. ``closed``: the reason why it comes to nothing."""
    assert isinstance(act, signing.FormsSigned)
    written = {name: getattr(act, name) for name in signing.Written.model_fields}
    number = number_of(buyer) + 1
    await buyer.tell(
        signing.ReviewRequested(
            at=act.signed_at, review_no=number, attempt_no=number, reason="handwriting_unclear", **written
        )
    )
    buyer.at.clock.pass_by(seconds=long.total_seconds())
    now = buyer.at.clock()
    if closed is not None:
        await buyer.tell(signing.ReviewClosed(at=now, review_no=number, attempt=act.attempt, reason=closed))
        return
    for who in ("li", "wang"):
        await buyer.tell(signing.ReviewDecided(at=now, review_no=number, reviewer=who, finding="legible"))


def fold(facts: list[Fact]) -> Progress:
    progress = Progress()
    for fact in facts:
        progress = progress.after(fact)
    return progress


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(seed=st.integers())
def test_any_order_between_services_folds_to_the_same(seed: int, facts_of_two_phones: list[Fact]) -> None:
    queues: dict[str, list[Fact]] = {}
    for fact in facts_of_two_phones:
        queues.setdefault(fact.service, []).append(fact)
    chance, shuffled = random.Random(seed), list[Fact]()
    while queues:
        service = chance.choice(sorted(queues))
        shuffled.append(queues[service].pop(0))
        if not queues[service]:
            del queues[service]
    there, here = fold(facts_of_two_phones), fold(shuffled)
    assert here.sessions == there.sessions
    assert here == there


@pytest.fixture
async def facts_of_two_phones(buyer: Purchase) -> list[Fact]:
    return await twice(buyer)


async def test_I12_what_the_old_phone_did_is_gone_and_what_the_new_one_signed_stands(buyer: Purchase) -> None:
    progress = fold(await twice(buyer))
    assert progress.attempt == 2
    assert progress.confirmations == progress.sessions[2]
    assert progress.signed is not None
    assert progress.signed.attempt == 2
    progress.check_signed()


async def test_I12_phrases_copied_by_hand_count_once_each_and_in_their_session_only(buyer: Purchase) -> None:
    await buyer.up_to("forms")
    for phrase in ("1" * 64, "2" * 64, "1" * 64):
        await buyer.tell(await copied(buyer, phrase))
    assert buyer.progress.confirmations.copied == ("1" * 64, "2" * 64)
    voided = buyer.progress.after(identity.SessionVoided(at=buyer.at.clock(), attempt=1, reason="device_changed"))
    assert voided.confirmations.copied == ()


async def copied(buyer: Purchase, phrase: str) -> signing.PhraseCopied:
    return signing.PhraseCopied(
        at=buyer.at.clock(),
        attempt=buyer.at.attempt,
        phrase=phrase,
        products=(EXTRA,),
        checks=(),
        reading=readings.passed("保险人"),
        strokes=await buyer.vault.seal_file(buyer.journey_id, b"{}", "application/json"),
        proof=await buyer.proof(),
    )


async def test_I12_voiding_before_the_signature_empties_everything(buyer: Purchase) -> None:
    await buyer.up_to("forms")
    voided = buyer.progress.after(identity.SessionVoided(at=buyer.at.clock(), attempt=1, reason="device_changed"))
    assert voided.verified is None
    assert voided.confirmations.read == ()
    assert voided.documents_open() == voided.documents()
    with pytest.raises(Refuse):
        voided.check_identity(1, buyer.at.clock())


async def test_I12_what_was_signed_stands_whether_its_sessions_end_is_heard_before_or_after(buyer: Purchase) -> None:
    await buyer.up_to("ordered")
    end = identity.SessionVoided(at=buyer.at.clock(), attempt=1, reason="absolute_limit")
    others = [fact for fact in buyer.facts if fact.service != "identity"]
    own = [fact for fact in buyer.facts if fact.service == "identity"]
    late, early = fold([*own, *others, end]), fold([*own, end, *others])
    assert late == early
    late.check_confirmed()
    late.check_signed()
    unsigned = fold([*own, end, *(fact for fact in others if fact.service not in {"signing", "payment"})])
    assert unsigned.confirmations.read == ()


async def test_I7_no_clock_runs_while_people_look_at_a_signature(buyer: Purchase) -> None:
    await buyer.up_to("forms")
    assert buyer.progress.verified is not None
    until, second = buyer.progress.verified.valid_until, timedelta(seconds=1)

    def expired(at: datetime) -> bool:
        try:
            buyer.progress.check_identity(1, at)
        except Refuse as refusal:
            return refusal.code == "identity_expired"
        return False

    assert not expired(until)
    assert expired(until + second)
    (act, *_) = await buyer._signed()
    long = timedelta(days=2)
    await looked_at(buyer, act, long, None)
    assert not expired(buyer.at.clock()), "while it is looked at"
    assert not expired(buyer.at.clock() + timedelta(days=90))
    await buyer.tell(
        signing.ReviewClosed(at=buyer.at.clock(), review_no=1, attempt=1, reason="handwriting_another_name")
    )
    assert not expired(until + long)
    assert expired(until + long + second)
    # Each review counts, also one that a signature came of.
    (act, *_) = await buyer._signed()
    await looked_at(buyer, act, long, None)
    await buyer.tell(act.model_copy(update={"at": buyer.at.clock(), "legibility": "manual", "review_no": 2}))
    assert not expired(until + 2 * long)
    assert expired(until + 2 * long + second)


async def test_I7_a_proof_of_identity_gets_no_time_of_a_review_before_it(buyer: Purchase) -> None:
    await buyer.up_to("forms")
    (act, *_) = await buyer._signed()
    await looked_at(buyer, act, timedelta(days=2), "handwriting_unclear")
    old, now = buyer.progress.verified, buyer.at.clock()
    assert old is not None
    anew = old.model_copy(update={"at": now, "valid_until": now + timedelta(hours=1)})
    progress = buyer.progress.after(anew)
    progress.check_identity(1, anew.valid_until)
    with pytest.raises(Refuse) as refusal:
        progress.check_identity(1, anew.valid_until + timedelta(seconds=1))
    assert refusal.value.code == "identity_expired"
    # One made in the middle of a review stands still for the rest of it.
    middle = old.model_copy(update={"at": now - timedelta(days=1), "valid_until": now - timedelta(hours=23)})
    assert progress.still_valid(middle, now + timedelta(hours=1))
    assert not progress.still_valid(middle, now + timedelta(hours=1, seconds=1))


async def test_I5_dropping_the_extra_asks_nothing_more_of_the_rest(buyer: Purchase) -> None:
    await buyer.up_to("signed")
    dropped = proposal.ProductDropped(at=buyer.at.clock(), product=EXTRA, proof=await buyer.proof())
    progress = buyer.progress.after(dropped)
    assert EXTRA not in {terms.product for terms in progress.chosen()}
    progress.check_confirmed()
    progress.check_disclosed()
    progress.check_signed()
    gone = buyer.progress.total_fen() - progress.total_fen()
    offered = buyer.progress.offered(EXTRA)
    assert offered is not None
    assert gone == offered.premium_fen


async def test_I17_premium_and_tax_are_lines_of_their_own_and_add_up(buyer: Purchase) -> None:
    await buyer.up_to("confirmed")
    lines = [(line.product, line.kind) for line in buyer.progress.lines()]
    assert lines == [
        ("motor_compulsory", "premium"),
        ("motor_compulsory", "vehicle_tax"),
        ("motor_commercial", "premium"),
        (EXTRA, "premium"),
    ]
    assert buyer.progress.total_fen() == sum(line.fen for line in buyer.progress.lines())


@pytest.mark.parametrize(
    ("step", "gate", "code"),
    [
        ("opened", "check_confirmed", "terms_not_confirmed"),
        ("confirmed", "check_disclosed", "needs_unanswered"),
        ("answered", "check_disclosed", "reading_incomplete"),
        ("read", "check_signed", "not_signed"),
        ("forms", "check_signed", "not_signed"),
    ],
)
async def test_no_gate_opens_early(buyer: Purchase, step: str, gate: str, code: str) -> None:
    await buyer.up_to(step)
    with pytest.raises(Refuse) as refusal:
        getattr(buyer.progress, gate)()
    assert refusal.value.code == code


async def test_I18_terms_that_are_no_longer_those_confirmed_close_the_gate(buyer: Purchase) -> None:
    await buyer.up_to("signed")
    opened = buyer.progress.check_opened()
    first, *rest = opened.products
    dearer = first.model_copy(update={"premium_fen": first.premium_fen + 1})
    changed = buyer.progress.model_copy(update={"opened": opened.model_copy(update={"products": (dearer, *rest)})})
    with pytest.raises(Refuse) as refusal:
        changed.check_confirmed()
    assert refusal.value.code == "terms_changed"
