"""Who calls the sandbox and who is called back by it, in tests."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from deploy.sandbox.process import Running
from deploy.sandbox.signed_requests import sign_headers

Start = Callable[..., AbstractAsyncContextManager[Running]]


@dataclass
class Clock:
    """Real time, moved by `ahead` seconds."""

    ahead: float = 0

    def __call__(self) -> float:
        return time.time() + self.ahead


@dataclass(frozen=True)
class Heard:
    headers: dict[str, str]
    body: bytes


@dataclass
class Listener:
    """The merchant's (or gateway's) callback address; answers with `statuses`, then 200."""

    url: str = ""
    heard: asyncio.Queue[Heard] = field(default_factory=asyncio.Queue)
    statuses: list[int] = field(default_factory=list)

    async def next(self) -> Heard:
        return await asyncio.wait_for(self.heard.get(), timeout=10)

    async def hear(self, request: web.Request) -> web.Response:
        self.heard.put_nowait(Heard(dict(request.headers), await request.read()))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)


@dataclass
class Signed:
    """A client of the parties that speak our own signed protocol."""

    session: aiohttp.ClientSession
    base: str
    key: bytes
    clock: Clock

    async def call(self, method: str, path: str, payload: Any = None, **changed: Any) -> tuple[int, dict[str, Any]]:
        """`changed`: body sent after signing, timestamp, nonce, key or client_id used instead."""
        body = b"" if payload is None else json.dumps(payload).encode()
        url = URL(self.base + path)
        headers = sign_headers(
            changed.get("key", self.key),
            changed.get("client_id", "toubao"),
            method,
            url.raw_path_qs,
            body,
            timestamp=changed.get("timestamp", int(self.clock())),
            nonce=changed.get("nonce", secrets.token_hex(16)),
        )
        sent = changed.get("sent", body)
        async with self.session.request(method, url, data=sent, headers=headers) as response:
            return response.status, await response.json()
