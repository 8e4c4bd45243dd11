"""Evidence on real NATS, with a real (local) timestamp authority."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from contracts.commands.evidence import Attest, ViewChain
from contracts.facts.base import Fact
from contracts.facts.identity import ReproofRequired
from contracts.facts.proposal import LinkSent
from contracts.problems import Refuse
from servicekit.documents.timestamp import check
from servicekit.runner import new_ulid
from services.evidence import chain
from services.evidence.service import Evidence
from tests.desk import Clock, Desk, desk, stored
from tests.nats_server import NatsServer
from tests.services.evidence.parties import Parties


def sent(n: int = 1) -> list[Fact]:
    return [LinkSent(at=datetime.now(UTC), message_id=f"m{i}") for i in range(n)]


def idle(n: int = 1) -> list[Fact]:
    return [ReproofRequired(at=datetime.now(UTC), attempt=1, idle_seconds=i) for i in range(n)]


def now() -> Clock:
    return Clock(datetime.now(UTC))


async def test_I19_attest_answers_with_the_signed_and_timestamped_head(
    tmp_path: Path, nats: NatsServer, parties: Parties, tsa: str
) -> None:
    async with desk(Evidence, tmp_path, nats, clock=now(), play_evidence=False, **parties.settings(tsa)) as at:
        journey = new_ulid()
        await at.tell(journey, *sent(2), *idle(3))
        given = await at.ask(Attest(journey_id=journey, heads={"proposal": 2, "identity": 3, "gateway": 9}))
        assert given.count == 5
        assert given.heads == {"proposal": 2, "identity": 3}
        token = await at.service.blobs.get(given.token)
        from services.evidence.timestamps import roots_in

        said = await check(token, bytes.fromhex(given.head), roots=roots_in(parties.trust / "tsa-root.pem"))
        assert said.trusted
        # Nothing new: the same anchor again, and the authority is not asked twice.
        before = parties.asked
        again = await at.ask(Attest(journey_id=journey, heads={"proposal": 1}))
        assert again == given
        assert parties.asked == before
        # Evidence's own word is part of the chain.
        view = await at.ask(ViewChain(journey_id=journey))
        assert (view.count, view.anchored, view.heads["evidence"]) == (6, 5, 1)
        await at.tell(journey, *sent())
        later = await at.ask(Attest(journey_id=journey, heads={"proposal": 3}))
        assert later.count == 7
        assert later.heads["evidence"] == 1


async def test_I19_attest_waits_for_what_is_still_under_way(
    tmp_path: Path, nats: NatsServer, parties: Parties, tsa: str
) -> None:
    async with desk(Evidence, tmp_path, nats, clock=now(), play_evidence=False, **parties.settings(tsa)) as at:
        journey = new_ulid()
        await at.tell(journey, *sent())
        asking = asyncio.create_task(at.ask(Attest(journey_id=journey, heads={"proposal": 2})))
        await at.tell(journey, *sent())
        assert (await asking).count == 2


async def test_I19_a_gap_is_refused_and_named(tmp_path: Path, nats: NatsServer, parties: Parties, tsa: str) -> None:
    async with desk(Evidence, tmp_path, nats, clock=now(), play_evidence=False, **parties.settings(tsa)) as at:
        journey = new_ulid()
        await at.tell(journey, *sent())
        # The second fact of proposal never comes; the third waits in vain.
        await at.bus.publish(f"journey.{journey}.proposal.link_sent", stored(journey, sent()[0], 3))
        with pytest.raises(Refuse) as refused:
            await at.ask(Attest(journey_id=journey, heads={"proposal": 3, "identity": 1}))
        assert refused.value.code == "evidence_incomplete"
        assert refused.value.problem.extra["gap"] == {
            "identity": {"held": 0, "asked": 1},
            "proposal": {"held": 1, "asked": 3},
        }


async def test_facts_repeated_and_out_of_order_make_one_chain_in_order(
    tmp_path: Path, nats: NatsServer, parties: Parties, tsa: str
) -> None:
    async with desk(Evidence, tmp_path, nats, clock=now(), play_evidence=False, **parties.settings(tsa)) as at:
        journey = new_ulid()
        facts = [stored(journey, fact, i) for i, fact in enumerate(sent(4), 1)]
        for fact in (facts[0], facts[2], facts[0], facts[1], facts[3], facts[2]):
            await at.bus.publish(f"journey.{journey}.proposal.link_sent", fact)
        given = await at.ask(Attest(journey_id=journey, heads={"proposal": 4}))
        entries = await at.service.chains.entries(journey, given.head, given.count)  # type: ignore[attr-defined]
        assert [(e.sequence, e.id, e.data) for e in entries] == [(f.sequence, f.id, f.data) for f in facts]


async def test_I19_a_fact_altered_in_the_store_is_never_attested_again(
    tmp_path: Path, nats: NatsServer, parties: Parties, tsa: str
) -> None:
    async with desk(Evidence, tmp_path, nats, clock=now(), play_evidence=False, **parties.settings(tsa)) as at:
        journey = new_ulid()
        await at.tell(journey, *sent(3))
        entries = at.service.store.collection("entries", ("journey", "place"))
        [kept] = await entries.find(equal={"journey": journey, "place": 2})
        kept.state["data"] = json.dumps({**json.loads(kept.state["data"]), "message_id": "another"})
        await entries.put_many([kept])
        with pytest.raises(Refuse) as refused:
            await at.ask(Attest(journey_id=journey, heads={"proposal": 3}))
        assert refused.value.code == "evidence_incomplete"
        assert refused.value.problem.extra["damaged"] == 2


async def test_a_writer_that_lost_its_race_leaves_a_stray_and_no_harm(
    tmp_path: Path, nats: NatsServer, parties: Parties, tsa: str
) -> None:
    async with desk(Evidence, tmp_path, nats, clock=now(), play_evidence=False, **parties.settings(tsa)) as at:
        journey = new_ulid()
        await at.tell(journey, *sent())
        state = await at.service.journeys.state(journey)
        # It wrote its entry and died before the aggregate moved.
        stray = stored(journey, sent()[0], 2)
        await at.service.chains._grow(journey, state, [stray])  # type: ignore[attr-defined]
        await at.tell(journey, *sent())
        given = await at.ask(Attest(journey_id=journey, heads={"proposal": 2}))
        entries = await at.service.chains.entries(journey, given.head, given.count)  # type: ignore[attr-defined]
        assert len(entries) == 2
        assert entries[1].id != stray.id


async def test_I33_without_any_timestamp_authority_nothing_is_attested(
    tmp_path: Path, nats: NatsServer, parties: Parties
) -> None:
    down = parties.settings("http://127.0.0.1:1/a", "http://127.0.0.1:1/b")
    async with desk(Evidence, tmp_path, nats, clock=now(), play_evidence=False, **down) as at:
        journey = new_ulid()
        await at.tell(journey, *sent())
        assert await at.refused(at.ask(Attest(journey_id=journey, heads={"proposal": 1}))) == "timestamp_unavailable"
        assert await at.made(journey) == []


async def test_I33_the_second_authority_is_asked_when_the_first_is_down(
    tmp_path: Path, nats: NatsServer, parties: Parties, tsa: str
) -> None:
    both = parties.settings("http://127.0.0.1:1/a", tsa)
    async with desk(Evidence, tmp_path, nats, clock=now(), play_evidence=False, **both) as at:
        journey = new_ulid()
        await at.tell(journey, *sent())
        assert (await at.ask(Attest(journey_id=journey, heads={"proposal": 1}))).count == 1


async def test_I33_a_timestamp_of_an_authority_nobody_trusts_does_not_count(
    tmp_path: Path, nats: NatsServer, parties: Parties, tsa: str
) -> None:
    other: dict[str, Any] = parties.settings(tsa) | {"evidence_tsa_roots_file": parties.trust / "insurer-root.pem"}
    async with desk(Evidence, tmp_path, nats, clock=now(), play_evidence=False, **other) as at:
        journey = new_ulid()
        await at.tell(journey, *sent())
        assert await at.refused(at.ask(Attest(journey_id=journey, heads={"proposal": 1}))) == "timestamp_unavailable"


async def test_of_an_unheard_journey_nothing_is_attested(
    tmp_path: Path, nats: NatsServer, parties: Parties, tsa: str
) -> None:
    async with desk(Evidence, tmp_path, nats, clock=now(), play_evidence=False, **parties.settings(tsa)) as at:
        await at.tell(new_ulid(), *sent())
        assert await at.refused(at.ask(Attest(journey_id=new_ulid(), heads={}))) == "journey_unknown"


def test_the_first_link_is_of_the_journey_alone() -> None:
    assert chain.beginning("a") != chain.beginning("b")


__all__ = ["Desk"]
