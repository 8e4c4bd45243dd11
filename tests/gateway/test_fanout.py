"""Facts of issuance told on: pure, the same every time, and to nobody else."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from contracts import subjects
from contracts.facts import issuance
from contracts.facts.base import Fact, read_fact
from contracts.facts.partner import PolicyIssued
from contracts.values import CommittedFile
from gateway.fanout import DURABLE, derived_id, messages
from servicekit.bus import Unhandleable
from servicekit.runner import new_ulid
from servicekit.store import StoredFact
from tests.desk import stored
from tests.gateway.doorway import SHA, Doorway

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
PDF = CommittedFile(commitment=SHA, blob="b" * 64, media_type="application/pdf", size=9)


def policy(channel_id: str = "harbour_motors", policy_no: str = "PDAA202611000000011") -> issuance.PolicyIssued:
    return issuance.PolicyIssued(
        at=NOW, product="motor_commercial", policy_no=policy_no, policy=PDF, lock=SHA, premium_fen=260000,
        taxes_fen=0, period_from=NOW, period_to=NOW + timedelta(days=365), retain_until=NOW + timedelta(days=4000),
        payment_confirmed_at=NOW, channel_id=channel_id, channel_reference="R1", proposal_no="T1",
    )  # fmt: skip


def all_out(channel_id: str = "harbour_motors") -> issuance.JourneyIssued:
    return issuance.JourneyIssued(
        at=NOW, policies=("PDAA202611000000011",), products=("motor_commercial",), channel_id=channel_id,
        customer_id=new_ulid(),
    )  # fmt: skip


def test_a_policy_is_told_to_its_channel_with_nothing_personal() -> None:
    source = stored(new_ulid(), policy(), 2)
    ((subject, told),) = messages(source)
    assert subject == f"partner.harbour_motors.policy_issued.{told.id}"
    fact = read_fact(told.type, told.data)
    assert isinstance(fact, PolicyIssued)
    assert (fact.policy_no, fact.premium_fen, fact.journey_id) == ("PDAA202611000000011", 260000, source.subject)
    assert set(json.loads(told.data)) == set(PolicyIssued.model_fields)


def test_a_journey_is_told_to_channel_survey_and_app() -> None:
    told = dict(messages(stored(new_ulid(), all_out(), 3)))
    assert sorted(subject.rpartition(".")[0] for subject in told) == [
        "aftercare.appdownload.referral_due",
        "aftercare.nps.survey_due",
        "partner.harbour_motors.journey_issued",
    ]
    assert len({fact.id for fact in told.values()}) == 3


def test_the_same_fact_gives_the_same_messages() -> None:
    source = stored(new_ulid(), all_out(), 3)
    assert messages(source) == messages(source)
    again = derived_id(source.id, "x")
    assert again == derived_id(source.id, "x")
    assert again[:10] == source.id[:10]
    assert len(again) == 26
    assert again != derived_id(source.id, "y")
    assert set(again) <= set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")


def test_other_facts_concern_nobody() -> None:
    assert not messages(stored(new_ulid(), issuance.Refused(at=NOW, command="x", code="x", occurrence=1), 1))
    strange = StoredFact("i", "/s", "toubao.issuance.of_tomorrow.v1", "j", "t", 1, "d", '{"at":"2026-11-23T02:00:00Z"}')
    assert not messages(strange)


def test_a_fact_that_does_not_fit_is_put_aside() -> None:
    with pytest.raises(Unhandleable):
        messages(StoredFact("i", "/s", policy().type(), "j", "t", 1, "d", "{}"))


async def publish(at: Doorway, journey_id: str, *facts: Fact) -> None:
    for sequence, fact in enumerate(facts, 1):
        await at.bus.publish(
            subjects.journey_fact(journey_id, fact.service, fact.name), stored(journey_id, fact, sequence)
        )


async def told(at: Doorway, channel_id: str, count: int) -> list[StoredFact]:
    async with asyncio.timeout(10):
        while True:
            found = await at.bus.history(subjects.PARTNER, subjects.partner_facts_of(channel_id), 0, 100)
            if len(found) >= count:
                return [fact for _, fact in found]
            await asyncio.sleep(0.02)


async def test_doing_it_again_changes_nothing(at: Doorway) -> None:
    journey_id = new_ulid()
    facts = [stored(journey_id, policy(), 1), stored(journey_id, all_out(), 2)]
    for fact in facts:
        await at.bus.publish(subjects.journey_fact(journey_id, "issuance", "x"), fact)
    first = await told(at, "harbour_motors", 2)
    assert [fact.type for fact in first] == ["toubao.partner.policy_issued.v1", "toubao.partner.journey_issued.v1"]
    # The same facts come once more, as after a crash before the acknowledgement.
    from gateway.fanout import FanOut
    from servicekit.bus import Delivery

    fan_out = FanOut(at.bus)
    for fact in facts:
        await fan_out.take(Delivery(fact, "journey.x.issuance.y", 2))
    assert await told(at, "harbour_motors", 2) == first
    after = await at.bus.history(subjects.AFTERCARE, "aftercare.>", 0, 100)
    assert sorted(fact.type for _, fact in after) == ["toubao.appdownload.referral_due.v1", "toubao.nps.survey_due.v1"]


async def test_a_channel_reads_its_own_events_and_no_others(at: Doorway) -> None:
    await publish(at, new_ulid(), policy("harbour_motors", "PDAA1"), all_out("harbour_motors"))
    await publish(at, new_ulid(), policy("north_agency", "PDAA2"))
    on_the_bus = await told(at, "harbour_motors", 2)
    await told(at, "north_agency", 1)

    mine = (await at.call("GET", "/v1/events", headers=at.bearer("harbour_motors"))).json
    assert [event["id"] for event in mine["events"]] == [fact.id for fact in on_the_bus]
    assert mine["events"][0]["specversion"] == "1.0"
    assert mine["events"][0]["data"]["policy_no"] == "PDAA1"
    page = (await at.call("GET", "/v1/events?limit=1", headers=at.bearer("harbour_motors"))).json
    rest = (await at.call("GET", f"/v1/events?after={page['next']}", headers=at.bearer("harbour_motors"))).json
    assert page["events"] + rest["events"] == mine["events"]
    end = (await at.call("GET", f"/v1/events?after={rest['next']}", headers=at.bearer("harbour_motors"))).json
    assert end == {"events": [], "next": rest["next"]}
    theirs = (await at.call("GET", "/v1/events", headers=at.bearer("north_agency"))).json
    assert [event["data"]["policy_no"] for event in theirs["events"]] == ["PDAA2"]
    # A cursor is an id of one's own: it counts nothing, and another's leads nowhere.
    assert page["next"] == mine["events"][0]["id"]
    path = f"/v1/events?after={mine['next']}"
    assert (await at.call("GET", path, headers=at.bearer("north_agency"))).json == theirs
    for wrong in ("1", "x", "*", ">", "0" * 27, "Z" * 25 + "*", "Z" * 25 + "%0A"):
        got = await at.call("GET", f"/v1/events?after={wrong}", headers=at.bearer("north_agency"))
        assert got.code == "invalid_fields", wrong


def test_the_durable_is_named() -> None:
    assert DURABLE == "gateway-issuance"
