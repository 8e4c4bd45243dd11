"""Every way to be refused answers with a problem document, with the headers of every answer, quoting nothing."""

from __future__ import annotations

import asyncio
import json
import random
import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client import generate_latest

from contracts.commands import identity, proposal
from contracts.commands.base import Request
from contracts.problems import KINDS
from gateway.problems import problem_of
from products import Release
from servicekit.bus import BusUnavailable
from tests.gateway.doorway import Doorway, Reply, doorway
from tests.nats_server import NatsServer

SECRETS = ("13800138000", "110101199003078515", "王小明")


def is_problem(got: Reply, status: int, code: str) -> None:
    assert (got.status, got.json["code"]) == (status, code)
    assert got.headers["content-type"] == "application/problem+json"
    kind = KINDS[code]
    assert got.json["type"] == f"/problems/{code}"
    assert got.json["title"] == kind.title
    assert got.json["detail"] == kind.next_step
    assert got.json["status"] == status
    assert got.json["trace_id"] == got.headers["x-request-id"]
    assert "default-src 'none'" in got.headers["content-security-policy"]
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["referrer-policy"] == "no-referrer"
    assert got.headers["cache-control"] == "no-store"
    assert "server" not in got.headers


async def test_no_such_page(at: Doorway) -> None:
    is_problem(await at.call("GET", "/nothing/here"), 404, "not_found")
    is_problem(await at.call("GET", "/v1/help/"), 404, "not_found")
    is_problem(await at.call("GET", "/docs"), 404, "not_found")


async def test_no_such_method(at: Doorway) -> None:
    got = await at.call("DELETE", "/v1/help")
    is_problem(got, 405, "method_not_allowed")
    assert got.headers["allow"] == "GET"
    assert (await at.call("HEAD", "/v1/downloads/" + "x" * 43)).status == 405


async def test_too_large_by_what_it_says(at: Doorway) -> None:
    is_problem(await at.call("POST", "/v1/verify", body=b"x" * 70_000), 413, "body_too_large")


async def test_too_large_by_what_comes(at: Doorway) -> None:
    async def endless() -> Any:
        for _ in range(100):
            yield b"x" * 1000

    async with at.http.post(
        f"{at.base}/v1/verify", data=endless(), headers={"Content-Type": "application/json"}
    ) as got:
        assert got.status == 413
        assert (await got.json(content_type=None))["code"] == "body_too_large"


async def test_too_slow(tmp_path: Any, nats: NatsServer, release: Release) -> None:
    async with doorway(tmp_path, nats, release, gateway_body_seconds=0.2) as at:
        reader, writer = await asyncio.open_connection("127.0.0.1", at.under.settings.gateway_port)
        writer.write(
            b"POST /v1/verify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        await writer.drain()
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert answer.startswith(b"HTTP/1.1 408")
        writer.close()
        await writer.wait_closed()


async def test_wrong_media_type(at: Doorway) -> None:
    got = await at.call("POST", "/v1/verify", body=b"<a/>", headers={"Content-Type": "application/xml"})
    is_problem(got, 415, "unsupported_media_type")


async def test_wrong_parameters_are_not_quoted(at: Doorway) -> None:
    got = await at.call("GET", "/v1/events?after=13800138000x&limit=9999", headers=at.bearer("harbour_motors"))
    is_problem(got, 422, "invalid_fields")
    assert {fault["pointer"] for fault in got.json["errors"]} == {"/query/after", "/query/limit"}
    assert "13800138000" not in got.body.decode()


async def test_too_often(tmp_path: Any, nats: NatsServer, release: Release) -> None:
    async with doorway(tmp_path, nats, release, gateway_limits_scale=0.1) as at:
        for _ in range(2):
            first = await at.call("POST", "/v1/verify", body={})
            assert first.headers["ratelimit-policy"].startswith('"verify";q=2')
            assert first.status == 422
        got = await at.call("POST", "/v1/verify", body={})
        is_problem(got, 429, "too_many_requests")
        assert 1 <= int(got.headers["retry-after"]) <= 30
        assert got.headers["ratelimit"].startswith('"verify";r=0')


async def test_nobody_chooses_their_own_address(tmp_path: Any, nats: NatsServer, release: Release) -> None:
    async with doorway(tmp_path, nats, release, gateway_limits_scale=0.05) as at:
        statuses = [
            (await at.call("POST", "/v1/verify", body={}, headers={"X-Forwarded-For": f"10.0.0.{n}"})).status
            for n in range(3)
        ]
        assert statuses == [422, 429, 429]


async def test_a_service_that_does_not_answer(at: Doorway) -> None:
    at.refuse(proposal.ListProposals, "unavailable", retry_after=1)
    got = await at.call("GET", "/v1/proposals", headers=at.bearer("harbour_motors"))
    is_problem(got, 503, "unavailable")
    assert got.headers["retry-after"] == "1"


async def test_what_nobody_foresaw(at: Doorway, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError(" ".join(SECRETS))

    monkeypatch.setattr(at.under.bus, "request", broken)
    got = await at.call("POST", "/v1/nonce")
    is_problem(got, 500, "internal")
    for secret in SECRETS:
        assert secret not in got.body.decode()


async def test_a_code_of_a_newer_service_is_shown_as_internal(at: Doorway, monkeypatch: pytest.MonkeyPatch) -> None:
    from contracts.problems import Problem
    from gateway.problems import problem_response

    assert problem_response({}, Problem(code="of_tomorrow")).status_code == 500


def test_the_first_of_several_speaks() -> None:
    assert problem_of(ExceptionGroup("", [BusUnavailable("x"), ValueError()])).code == "unavailable"
    assert problem_of(ValueError("x")).code == "internal"


async def test_every_code_has_its_page(at: Doorway) -> None:
    for code, kind in KINDS.items():
        got = await at.call("GET", f"/problems/{code}")
        assert got.json == {"code": code, "status": kind.status, "title": kind.title, "detail": kind.next_step}
    seen = await at.call("GET", "/problems/otp_wrong", headers={"Accept": "text/html"})
    assert "验证码不正确" in seen.body.decode()
    is_problem(await at.call("GET", "/problems/no_such"), 404, "not_found")


async def test_hostile_input_is_never_our_fault(at: Doorway) -> None:
    """Whatever is sent, wherever: never a 5xx, and never an answer that repeats what was sent."""
    chance = random.Random(20261123)
    journey_id = await at.journey()
    schema = (await at.call("GET", "/openapi.json")).json
    at.asked.clear()
    nested = b'{"a":' * 3000 + b"1" + b"}" * 3000
    bodies: list[bytes] = [
        b"", b"{", b"[]", b"null", b'"13800138000"', b"\xff\xfe\x00", nested, b"[" * 20_000, b'{"\\ud800": 1}',
        b'{"token": "\\u0000"}', b"1e999", b"NaN", b'{"score": 1e400, "name": "\\udcff", "id_number": []}',
        json.dumps({"journey_id": {"$gt": ""}, "kind": "phone", "value": "13800138000" * 20}).encode(),
    ]  # fmt: skip
    values = ["", "..%2f..", "%00", "a" * 300, "0" * 26, journey_id, "%F0%9F%92%A9", "'; drop table--", "{{7*7}}"]
    paths = [(method.upper(), path) for path, methods in schema["paths"].items() for method in methods]
    legal = at.bearer("legal")["Authorization"]
    slow = {"/v1/journeys/{journey_id}/stream"}
    for method, template in paths:
        for body in chance.sample(bodies, 5):
            path = template
            while "{" in path:
                start, end = path.index("{"), path.index("}")
                path = path[:start] + chance.choice(values).replace("{", "%7B").replace("}", "%7D") + path[end + 1 :]
            headers = {
                "Content-Type": "application/json",
                "Idempotency-Key": chance.choice(["12345678", "é" * 10, "x" * 64]),
                "Authorization": chance.choice(["DPoP x", "Bearer x", legal, "Basic Og=="]),
                "DPoP": chance.choice(["x", "a.b.c", "é"]),
                "Journey-Heads": chance.choice(["identity=1", "=", "é=1"]),
                "webhook-id": "x", "webhook-timestamp": "²", "webhook-signature": "v1,é",
                "traceparent": "00-zz",
            }  # fmt: skip
            if template in slow and headers["Authorization"].startswith("DPoP"):
                headers["DPoP"] = "x"
            if template == "/v1/staff/stream":
                # Whoever may hear it hears it for minutes.
                headers["Authorization"] = "Bearer x"
            got = await at.call(method, path, body=None if method == "GET" else body, headers=headers)
            if got.status == 500:
                # A service this test does not play says "internal": that is not the gateway's doing.
                assert _unplayed(at), (method, path, body[:60])
            else:
                assert got.status < 500, (method, path, body[:60], got.body)
            assert b"13800138000" not in got.body


def _unplayed(at: Doorway) -> bool:
    kinds: set[type[Request]] = {type(request) for request in at.asked}
    return bool(kinds - set(at.plays))


async def test_the_nonce_is_given_to_anybody(at: Doorway) -> None:
    got = await at.call("POST", "/v1/nonce")
    assert (got.status, got.json["nonce"], got.headers["dpop-nonce"]) == (200, "nonce", "nonce")
    assert at.heard(identity.IssueNonce)


async def test_who_goes_away_in_the_middle_is_no_failure_of_ours(at: Doorway, caplog: pytest.LogCaptureFixture) -> None:
    where = urlsplit(at.base)
    _, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(b"POST /v1/verify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await at.call("GET", "/v1/help")).status == 200
    text = generate_latest(at.under.metrics.registry).decode()
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
    assert not re.search(r'toubao_http_requests_total\{[^}]*status="500"', text)
