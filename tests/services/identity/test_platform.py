"""The platform's client: signed requests, and silence or nonsense from the other side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from contracts.problems import Refuse
from deploy.sandbox.signed_requests import SignatureCheck
from services.identity import platform as module
from services.identity.platform import Platform

KEY = b"5a" * 32
NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)


@asynccontextmanager
async def platform(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]], key: bytes = KEY
) -> AsyncIterator[Platform]:
    signed = SignatureCheck("toubao", KEY, NOW.timestamp)
    app = web.Application()
    app.router.add_route("*", "/base/{path:.*}", signed(answer))
    async with TestServer(app) as server:
        client = Platform(str(server.make_url("/base/")), "toubao", key, lambda: NOW)
        await client.open()
        try:
            yield client
        finally:
            await client.close()


async def match(request: web.Request) -> web.StreamResponse:
    return web.json_response({"result": "match", "provider_ref": "FP1", "checked_at": "2026-11-23T02:00:00Z", "x": 1})


async def test_a_signed_request_is_answered() -> None:
    async with platform(match) as client:
        assert (await client.check_real_name("张三", "x")).result == "match"
        assert (await client.check_bank_card("张三", "x", "1", "2")).provider_ref == "FP1"


async def test_with_another_key_there_is_no_answer() -> None:
    async with platform(match, b"0" * 64) as client:
        with pytest.raises(Refuse) as refused:
            await client.check_real_name("张三", "x")
    assert refused.value.code == "platform_unavailable"


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b"[]", b'{"result": "yes", "provider_ref": "FP1"}', b'{"result": "match"}', b"\xff\xfe"],
)
async def test_nonsense_is_no_answer_and_no_match(body: bytes) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type="application/json")

    async with platform(answer) as client:
        with pytest.raises(Refuse) as refused:
            await client.check_real_name("张三", "x")
    assert refused.value.code == "platform_unavailable"
    assert refused.value.__cause__ is None


async def test_it_asks_twice_and_then_says_so() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers["X-Nonce"])
        return web.Response(status=503)

    async with platform(answer) as client:
        with pytest.raises(Refuse):
            await client.check_real_name("张三", "x")
    assert len(asked) == len(set(asked)) == 2, "each try signs anew"


async def test_a_platform_that_is_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEADLINE_SECONDS", 0.05)
    done = asyncio.Event()

    async def answer(_: web.Request) -> web.StreamResponse:
        await done.wait()
        return web.Response()

    async with platform(answer) as client:
        with pytest.raises(Refuse) as refused:
            await client.check_real_name("张三", "x")
        done.set()
    assert refused.value.code == "platform_unavailable"


async def test_the_result_of_another_session_is_not_taken() -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        told: dict[str, Any] = {"session_id": "other", "status": "passed", "score_band": "high", "provider_ref": "r"}
        return web.json_response(told)

    async with platform(answer) as client:
        with pytest.raises(Refuse) as refused:
            await client.face_result("mine")
    assert refused.value.code == "platform_unavailable"


async def test_it_follows_no_redirect() -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("http://127.0.0.1:1/elsewhere")

    async with platform(answer) as client:
        with pytest.raises(Refuse):
            await client.check_real_name("张三", "x")
