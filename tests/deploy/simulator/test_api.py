"""The simulated phone keeps the rules of the HTTP API, tried against a small server that enforces them."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from deploy.simulator.api import KeyHolder, Phone, ProblemAnswer
from servicekit.proof import Claims, verify_proof

JOURNEY = "01M846M3KSMMPRCH9F0GBVWNNQ"
Answering = Callable[[web.Request], Awaitable[web.Response]]


@dataclass
class Door:
    """Answers in turn what the test lays down; keeps what came."""

    answers: list[web.Response] = field(default_factory=list)
    came: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.came.append((request.path_qs, dict(request.headers), await request.read()))
        return self.answers.pop(0) if self.answers else web.json_response({})


@pytest.fixture
async def door() -> Door:
    return Door()


@pytest.fixture
async def base(door: Door) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", door.answer)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def phone(http: aiohttp.ClientSession, base: str) -> Phone:
    return Phone(http, f"{base}/j#{JOURNEY}.0123456789abcdef", patience=5.0)


def problem(status: int, code: str, **headers: str) -> web.Response:
    return web.json_response({"code": code, "title": "。"}, status=status, headers=headers)


def claims_of(phone: Phone, came: tuple[str, dict[str, str], bytes], method: str = "POST") -> Claims:
    path, headers, body = came
    return verify_proof(
        headers["DPoP"],
        method=method,
        url=phone.base + path.partition("?")[0],
        body_sha256=hashlib.sha256(body).hexdigest(),
        expect_thumbprint=phone.device.thumbprint,
    )


def claim(came: tuple[str, dict[str, str], bytes], name: str) -> Any:
    payload = came[1]["DPoP"].split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))[name]


async def test_the_link_says_where_and_which(phone: Phone, base: str) -> None:
    assert phone.base == base
    assert phone.session.journey_id == JOURNEY
    assert phone.session.link_secret == "0123456789abcdef"


async def test_a_nonce_asked_for_is_used_at_once_with_the_same_key(phone: Phone, door: Door) -> None:
    door.answers = [problem(401, "use_dpop_nonce", **{"DPoP-Nonce": "fresh"})]
    await phone.act("give_consent", {"notice": "privacy"})
    first, second = door.came
    assert first[0] == f"/v1/journeys/{JOURNEY}/give-consent"
    assert first[1]["Idempotency-Key"] == second[1]["Idempotency-Key"]
    assert first[2] == second[2]
    assert claim(second, "nonce") == "fresh"
    assert claim(first, "jti") != claim(second, "jti")
    for came in door.came:
        claims_of(phone, came)


async def test_waiting_is_as_long_as_the_server_says(phone: Phone, door: Door) -> None:
    door.answers = [
        problem(503, "premise_pending", **{"Retry-After": "0"}),
        problem(429, "too_many_requests", **{"Retry-After": "1"}),
    ]
    before = time.monotonic()
    await phone.act("place_order", {})
    assert time.monotonic() - before >= 1.0
    assert len({came[1]["Idempotency-Key"] for came in door.came}) == 1
    assert len({claim(came, "jti") for came in door.came}) == 3


async def test_a_refusal_is_not_tried_again(phone: Phone, door: Door) -> None:
    door.answers = [problem(409, "reading_incomplete")]
    with pytest.raises(ProblemAnswer) as caught:
        await phone.act("prepare_forms")
    assert (caught.value.status, caught.value.code) == (409, "reading_incomplete")
    assert len(door.came) == 1


async def test_patience_ends(http: aiohttp.ClientSession, base: str, door: Door) -> None:
    phone = Phone(http, f"{base}/j#{JOURNEY}.0123456789abcdef", patience=0.2)
    door.answers = [problem(503, "unavailable", **{"Retry-After": "1"}) for _ in range(5)]
    with pytest.raises(ProblemAnswer, match="unavailable"):
        await phone.act("place_order")
    assert len(door.came) < 5


async def test_the_session_is_proven_with_every_request_and_bound_to_its_token(phone: Phone, door: Door) -> None:
    door.answers = [web.json_response({"session_token": "token-of-the-session"})]
    await phone.open()
    await phone.get("/forms/motor?revision=sealed")
    opening, reading = door.came
    assert "Authorization" not in opening[1]
    assert json.loads(opening[2]) == {"link_secret": "0123456789abcdef"}
    assert reading[1]["Authorization"] == "DPoP token-of-the-session"
    digest = hashlib.sha256(b"token-of-the-session").digest()
    assert claim(reading, "ath") == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    claims_of(phone, reading, "GET")


async def test_heads_are_told_back_and_never_go_backwards(phone: Phone, door: Door) -> None:
    door.answers = [
        web.json_response({}, headers={"Journey-Heads": "identity=3, proposal=2"}),
        web.json_response({}, headers={"Journey-Heads": "identity=2,disclosure=1"}),
    ]
    for _ in range(3):
        await phone.act("give_consent")
    assert "Journey-Heads" not in door.came[0][1]
    assert door.came[1][1]["Journey-Heads"] == "identity=3,proposal=2"
    assert door.came[2][1]["Journey-Heads"] == "disclosure=1,identity=3,proposal=2"


async def test_a_program_with_a_key_keeps_its_number_over_repeats(
    http: aiohttp.ClientSession, base: str, door: Door
) -> None:
    channel = KeyHolder(http, base, "tb_channel_x", patience=5.0)
    door.answers = [problem(503, "unavailable", **{"Retry-After": "0"})]
    await channel.post("/v1/proposals", {"policyholder": {}})
    assert len({came[1]["Idempotency-Key"] for came in door.came}) == 1
    assert {came[1]["Authorization"] for came in door.came} == {"Bearer tb_channel_x"}
