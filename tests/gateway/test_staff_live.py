"""The live page: counts with names, and a stream that tells nobody's business."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from contracts import subjects
from contracts.commands import evidence
from gateway import staff_live
from products import Release
from servicekit.runner import new_ulid
from tests.desk import stored
from tests.gateway.doorway import Doorway, doorway
from tests.gateway.test_fanout import policy
from tests.gateway.test_stream import next_event
from tests.nats_server import NatsServer


async def told(at: Doorway, times: int = 1) -> str:
    journey_id = new_ulid()
    for sequence in range(1, times + 1):
        fact = policy()
        await at.bus.publish(
            subjects.journey_fact(journey_id, "issuance", fact.name), stored(journey_id, fact, sequence)
        )
    return journey_id


async def test_counts_come_with_names(at: Doorway) -> None:
    slug = next(iter(at.release.products))
    now = at.clock()
    counted = evidence.Live(
        at=now,
        steps=(evidence.StepCount(step="reading", count=3),),
        refusals=(evidence.RefusalCount(code="otp_wrong", count=2), evidence.RefusalCount(code="odd", count=1)),
        policies=(
            evidence.IssuedNow(
                policy_no="P1", journey_id=new_ulid(), release=at.release.hash, channel_id="harbour_motors",
                product=slug, issued_at=now, premium_fen=95000,
            ),
        ),
        hours=(evidence.HourCount(hour=now, opened=5, issued=4, refused=3),),
    )  # fmt: skip
    at.play(evidence.ViewLive, lambda _: counted)
    for role in ("service", "audit", "legal"):
        got = await at.call("GET", "/v1/staff/live", headers=at.bearer(role))
        assert got.status == 200
    assert got.json["steps"] == [{"step": "reading", "name": "阅读文件", "count": 3}]
    assert [(r["code"], r["title"]) for r in got.json["refusals"]] == [("otp_wrong", "验证码不正确。"), ("odd", "odd")]
    (shown,) = got.json["policies"]
    assert (shown["policy_no"], shown["name"]) == ("P1", at.release.products[slug].name)
    assert got.json["hours"][0]["issued"] == 4


async def test_the_stream_names_facts_and_no_journey(at: Doorway) -> None:
    async with at.http.get(at.base + "/v1/staff/stream", headers=at.bearer("audit")) as got:
        assert (got.status, got.content_type) == (200, "text/event-stream")
        assert got.headers["Cache-Control"] == "no-store"
        assert (await next_event(got))["event"] == "look"
        journey_id = await told(at)
        event = await next_event(got)
        assert event["event"] == "fact"
        assert json.loads(event["data"]) == {"service": "issuance", "fact": "policy_issued"}
        assert "id" not in event
        assert journey_id not in str(event)


async def test_many_facts_are_few_events(at: Doorway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staff_live, "PACE_SECONDS", 30.0)
    async with at.http.get(at.base + "/v1/staff/stream", headers=at.bearer("audit")) as got:
        await next_event(got)
        await told(at, 200)
        # All of them are one event, held back for its moment; the end of the process does not wait for it.
        at.told.set()
        assert [(await next_event(got))["event"] for _ in range(2)] == ["fact", "end"]


async def test_a_stream_ends_in_time(tmp_path: Any, nats: NatsServer, release: Release) -> None:
    async with (
        doorway(tmp_path, nats, release, gateway_stream_seconds=0.2) as at,
        at.http.get(at.base + "/v1/staff/stream", headers=at.bearer("audit")) as got,
    ):
        assert [(await next_event(got))["event"] for _ in range(2)] == ["look", "end"]


async def test_streams_are_bounded_and_given_back(at: Doorway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staff_live, "STREAMS", 1)
    async with at.http.get(at.base + "/v1/staff/stream", headers=at.bearer("audit")) as got:
        await next_event(got)
        refused = await at.call("GET", "/v1/staff/stream", headers=at.bearer("legal"))
        assert (refused.status, refused.code) == (429, "too_many_requests")

    async def free() -> None:
        while True:
            async with at.http.get(at.base + "/v1/staff/stream", headers=at.bearer("audit")) as again:
                if again.status == 200:
                    return
            await asyncio.sleep(0.02)

    async with asyncio.timeout(10):
        await free()
