"""The event stream: names of facts, its length of life, and its end when the process stops."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from contracts import subjects
from products import Release
from servicekit.bus import BusUnavailable
from tests.desk import stored
from tests.gateway.doorway import Doorway, doorway
from tests.gateway.test_fanout import policy
from tests.nats_server import NatsServer


async def next_event(got: Any) -> dict[str, str]:
    lines: dict[str, str] = {}
    async with asyncio.timeout(10):
        while True:
            line = (await got.content.readline()).decode().rstrip("\n")
            if not line and lines:
                return lines
            name, _, value = line.partition(": ")
            lines[name] = value


async def test_facts_are_told_by_name_only(at: Doorway) -> None:
    journey_id = await at.journey()
    path = f"/v1/journeys/{journey_id}/stream"
    async with at.http.get(at.base + path, headers=at.proven("GET", path)) as got:
        assert (got.status, got.content_type) == (200, "text/event-stream")
        assert got.headers["X-Accel-Buffering"] == "no"
        assert got.headers["DPoP-Nonce"] == "nonce"
        assert (await next_event(got))["event"] == "look"
        fact = policy()
        await at.bus.publish(subjects.journey_fact(journey_id, "issuance", fact.name), stored(journey_id, fact, 4))
        event = await next_event(got)
        assert event["event"] == "fact"
        assert event["id"] == "issuance=4"
        assert json.loads(event["data"]) == {"service": "issuance", "fact": "policy_issued", "sequence": 4}


async def test_another_journey_is_not_heard(at: Doorway) -> None:
    mine, other = await at.journey(), await at.journey()
    path = f"/v1/journeys/{mine}/stream"
    async with at.http.get(at.base + path, headers=at.proven("GET", path)) as got:
        await next_event(got)
        await at.bus.publish(subjects.journey_fact(other, "issuance", "policy_issued"), stored(other, policy(), 1))
        await at.bus.publish(subjects.journey_fact(mine, "issuance", "policy_issued"), stored(mine, policy(), 9))
        assert (await next_event(got))["id"] == "issuance=9"


async def test_a_stream_ends_in_time(tmp_path: Any, nats: NatsServer, release: Release) -> None:
    async with doorway(tmp_path, nats, release, gateway_stream_seconds=0.2) as at:
        path = f"/v1/journeys/{await at.journey()}/stream"
        async with at.http.get(at.base + path, headers=at.proven("GET", path)) as got:
            assert (await next_event(got))["event"] == "look"
            assert (await next_event(got))["event"] == "end"
            assert await got.content.read() == b""


async def test_the_stream_ends_when_the_process_stops(at: Doorway) -> None:
    path = f"/v1/journeys/{await at.journey()}/stream"
    async with at.http.get(at.base + path, headers=at.proven("GET", path)) as got:
        await next_event(got)
        began = time.monotonic()
        stopping = asyncio.create_task(at.stop())
        assert (await next_event(got))["event"] == "end"
        await stopping
    assert time.monotonic() - began < 3


async def test_without_a_bus_the_stream_ends_and_the_page_comes_again(
    at: Doorway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any, **__: Any) -> Any:
        raise BusUnavailable("nothing can be watched now")

    monkeypatch.setattr(at.under.bus, "watch", gone)
    path = f"/v1/journeys/{await at.journey()}/stream"
    async with at.http.get(at.base + path, headers=at.proven("GET", path)) as got:
        assert await next_event(got) == {"event": "end", "data": "{}", "retry": "2000"}
        assert await got.content.read() == b""


async def test_not_too_many_for_one_journey(at: Doorway) -> None:
    path = f"/v1/journeys/{await at.journey()}/stream"
    held = [await at.http.get(at.base + path, headers=at.proven("GET", path)) for _ in range(4)]
    try:
        refused = await at.get(path)
        assert (refused.status, refused.code) == (429, "too_many_requests")
        held[0].close()
        async with asyncio.timeout(10):
            while True:
                got = await at.http.get(at.base + path, headers=at.proven("GET", path))
                held.append(got)
                if got.status == 200:
                    break
    finally:
        for got in held:
            got.close()
