"""What comes off the wire and never becomes a request: bounded, refused as everything else is, let go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import pytest
import uvicorn

from contracts.problems import Refuse
from gateway.__main__ import GatewayServer, configured
from gateway.middleware import BodyGuard
from gateway.settings import GatewaySettings
from gateway.wire import MAX_HEAD
from tests.nats_server import free_port

GOOD = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def answering(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
    """Reads the whole body and says thanks, or makes a problem of what the guard raises, as the application does."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    status = 200
    try:
        while (await receive()).get("more_body"):
            pass
    except Refuse:
        status = 408
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"6")]})
    await send({"type": "http.response.body", "body": b"thanks"})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    settings = GatewaySettings.model_construct(gateway_port=free_port(), gateway_body_seconds=0.4)
    config: uvicorn.Config = configured(BodyGuard(answering, seconds=0.4), settings)
    server = GatewayServer(config, lambda: None)
    serving = asyncio.create_task(server.serve())
    await server.listening.wait()
    yield settings.gateway_port
    server.should_exit = True
    await serving


async def said(port: int, *sent: bytes) -> bytes:
    """Everything the server answers until it lets go of the connection, at most 5 s."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(5):
            for part in sent:
                writer.write(part)
                await writer.drain()
            return await reader.read()
    except ConnectionResetError:
        return b"reset"
    finally:
        writer.close()


def refused(answer: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 "), answer
    names = {line.split(b":")[0].lower() for line in head.split(b"\r\n")[1:]}
    assert {b"content-security-policy", b"x-content-type-options", b"cache-control"} <= names
    assert b"application/problem+json" in head
    assert json.loads(body)["code"] == "malformed"


async def test_what_is_no_http_is_a_problem_with_all_headers(port: int) -> None:
    for wrong in (
        b"\x00\x01\x02\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    ):
        refused(await said(port, wrong))
    assert (await said(port, GOOD)).endswith(b"thanks")


async def test_a_head_has_an_end(port: int) -> None:
    long = b"a" * (MAX_HEAD + 1)
    for wrong in (
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + long + b"\r\n\r\n",
        b"GET /" + long + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(5000)) + b"\r\n",
    ):
        refused(await said(port, wrong))
    # One that never ends is not kept in memory until it does.
    answer = await said(port, b"GET / HTTP/1.1\r\nHost: x\r\nX: ", *[b"a" * 60_000] * 3)
    assert answer == b"reset" or b" 400 " in answer
    large = b"X: " + b"a" * (MAX_HEAD // 2) + b"\r\n"
    assert (await said(port, GOOD[:-2] + large + b"\r\n")).endswith(b"thanks")


async def test_who_brings_nothing_is_let_go(port: int) -> None:
    assert await said(port) == b""
    assert await said(port, b"GET / HTTP/1.1\r\nHo") == b""
    # Between two requests too.
    assert (await said(port, GOOD.replace(b"close", b"keep-alive"), b"GET / HT")).endswith(b"thanks")


async def test_a_body_that_never_comes_ends_the_connection(port: int) -> None:
    answer = await said(port, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer.lower()


async def test_a_slow_upload_within_its_time_is_no_slow_head(port: int) -> None:
    body = [b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 60000\r\n\r\n", *[b"x" * 20_000] * 3]
    assert (await said(port, *body)).endswith(b"thanks")


@pytest.mark.parametrize(
    "name", [b"Host", b"Authorization", b"DPoP", b"Idempotency-Key", b"Content-Type", b"Journey-Heads"]
)
async def test_a_header_that_counts_once_is_given_once(port: int, name: bytes) -> None:
    twice = name + b": a\r\n" + name.lower() + b": b\r\n"
    refused(await said(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + twice + b"\r\n"))
    alike = b"Cookie: a=b\r\nCookie: c=d\r\nAccept: x\r\nAccept: y\r\n"
    assert (await said(port, GOOD[:-2] + alike + b"\r\n")).endswith(b"thanks")


async def test_who_sends_too_much_gets_to_read_so(port: int) -> None:
    """The connection is not reset under the answer while the rest of the body is on its way (RFC 9112 §9.6)."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    piece = b"x" * 65_536
    for count in (8, 40):
        answer = await said(port, head % (count * len(piece)), *[piece] * count)
        assert answer.startswith(b"HTTP/1.1 413 "), count
    chunk = b"10000\r\n" + piece + b"\r\n"
    chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = await said(port, chunked, *[chunk] * 30, b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 4")
    # Beyond all measure nothing more is read.
    answer = await said(port, head % 10**9, *[piece] * 4)
    assert answer == b"reset" or answer.startswith(b"HTTP/1.1 413 ")
