"""The operators' port over real HTTP."""

import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from servicekit.telemetry.metrics import Metrics
from servicekit.telemetry.ops import OpsServer


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def well() -> str | None:
    return None


async def ill() -> str | None:
    return "disconnected for 70 s"


async def broken() -> str | None:
    raise ConnectionError("mongodb://user:secret@host 13812345678")


async def silent() -> str | None:
    await asyncio.Event().wait()
    return None


def server(**options: object) -> OpsServer:
    return OpsServer(Metrics("signing", "1"), **options)  # type: ignore[arg-type]


async def test_metrics_are_served_in_the_format_asked_for(http: aiohttp.ClientSession) -> None:
    ops = server()
    port = await ops.start(0)
    try:
        async with http.get(f"http://127.0.0.1:{port}/metrics") as plain:
            assert plain.status == 200
            assert plain.content_type == "text/plain"
            assert 'toubao_build_info{service="signing",version="1"} 1.0' in await plain.text()
        accept = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
        async with http.get(f"http://127.0.0.1:{port}/metrics", headers=accept) as openmetrics:
            assert openmetrics.content_type == "application/openmetrics-text"
            assert (await openmetrics.text()).endswith("# EOF\n")
    finally:
        await ops.stop()


async def test_ready_when_every_check_is_well(http: aiohttp.ClientSession) -> None:
    ops = server(ready={"bus": well, "store": well})
    port = await ops.start(0)
    try:
        async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
            assert answer.status == 200
            assert answer.headers["Cache-Control"] == "no-store"
            assert await answer.json() == {
                "status": "ok",
                "checks": [
                    {"name": "bus", "ok": True, "reason": None},
                    {"name": "store", "ok": True, "reason": None},
                ],
            }
    finally:
        await ops.stop()


async def test_one_failing_check_is_enough_and_says_why_without_values(http: aiohttp.ClientSession) -> None:
    ops = server(ready={"bus": well, "store": broken, "pool": silent, "vault": ill}, deadline=0.05)
    port = await ops.start(0)
    try:
        async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
            assert answer.status == 503
            checks = {check["name"]: check["reason"] for check in (await answer.json())["checks"]}
            assert checks == {
                "bus": None,
                "store": "ConnectionError",
                "pool": "no answer within 0.05 s",
                "vault": "disconnected for 70 s",
            }
        async with http.get(f"http://127.0.0.1:{port}/healthz") as answer:
            assert answer.status == 200, "not ready is not dead"
    finally:
        await ops.stop()


async def test_not_ready_as_soon_as_stopping_and_still_alive(http: aiohttp.ClientSession) -> None:
    ops = server(ready={"bus": well})
    port = await ops.start(0)
    try:
        ops.stopping()
        async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
            assert answer.status == 503
            assert (await answer.json())["checks"][0]["reason"] == "stopping"
        async with http.get(f"http://127.0.0.1:{port}/healthz") as answer:
            assert answer.status == 200
    finally:
        await ops.stop()


async def test_a_check_under_way_when_the_stop_begins_answers_not_ready(http: aiohttp.ClientSession) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> str | None:
        asked.set()
        await go_on.wait()
        return None

    ops = server(ready={"bus": slow})
    port = await ops.start(0)
    try:
        pending = asyncio.create_task(http.get(f"http://127.0.0.1:{port}/readyz").__aenter__())
        await asked.wait()
        ops.stopping()
        go_on.set()
        assert (await pending).status == 503
    finally:
        await ops.stop()


async def test_liveness_fails_by_a_check_given(http: aiohttp.ClientSession) -> None:
    ops = server(alive={"bus": ill})
    port = await ops.start(0)
    try:
        async with http.get(f"http://127.0.0.1:{port}/healthz") as answer:
            assert answer.status == 503
            checks = {check["name"]: check["reason"] for check in (await answer.json())["checks"]}
            assert checks == {"loop": None, "bus": "disconnected for 70 s"}
    finally:
        await ops.stop()


async def test_liveness_fails_when_the_loop_was_late(http: aiohttp.ClientSession) -> None:
    ops = server(max_lag=0.2)
    port = await ops.start(0)
    try:
        async with http.get(f"http://127.0.0.1:{port}/healthz") as answer:
            assert answer.status == 200
        time.sleep(0.8)  # noqa: ASYNC251 - the loop is blocked on purpose
        async with http.get(f"http://127.0.0.1:{port}/healthz") as answer:
            assert answer.status == 503
            assert "late" in (await answer.json())["checks"][0]["reason"]
        async with http.get(f"http://127.0.0.1:{port}/metrics") as metrics:
            assert "toubao_loop_lag_seconds 0.0" not in await metrics.text()
    finally:
        await ops.stop()


async def test_a_reason_with_a_personal_value_is_masked(http: aiohttp.ClientSession) -> None:
    async def careless() -> str | None:
        return "no answer for 13812345678"

    ops = server(ready={"sms": careless})
    port = await ops.start(0)
    try:
        async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
            assert (await answer.json())["checks"][0]["reason"] == "no answer for [phone]"
    finally:
        await ops.stop()


async def test_a_taken_port_is_an_error_and_stop_is_quick_and_may_come_twice(
    http: aiohttp.ClientSession,
) -> None:
    first, second = server(ready={"bus": silent}, deadline=30.0), server()
    port = await first.start(0)
    with pytest.raises(OSError, match="address already in use"):
        await second.start(port)
    await second.stop()
    hanging = asyncio.create_task(http.get(f"http://127.0.0.1:{port}/readyz").__aenter__())
    await asyncio.wait([hanging], timeout=0.1)
    started = time.monotonic()
    await first.stop()
    await first.stop()
    assert time.monotonic() - started < 1.0
    with pytest.raises(aiohttp.ClientError):
        await hanging
    with pytest.raises(aiohttp.ClientError):
        await http.get(f"http://127.0.0.1:{port}/readyz")
