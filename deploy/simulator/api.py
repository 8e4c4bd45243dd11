"""The HTTP API as somebody outside meets it: a customer's phone, a channel, the insurer's staff.

Written apart from the gateway: it knows the API's documents, none of its code.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import stamina

from deploy.simulator.device import Device

Json = dict[str, Any]

PATIENCE_SECONDS = 60.0
"""How long one tap is tried again before the customer gives up."""
LONGEST_PAUSE_SECONDS = 10.0


class ProblemAnswer(Exception):
    """The server refused, with an RFC 9457 problem document."""

    def __init__(self, status: int, body: Json, retry_after: float | None = None) -> None:
        self.status = status
        self.body = body
        self.code: str = str(body.get("code", ""))
        self.retry_after = retry_after
        super().__init__(f"{status} {self.code}: {body.get('title', '')} {body.get('errors') or ''}".strip())


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


def _pause(error: Exception) -> bool | float:
    """When to try again, and after how long. What the server said about waiting is honoured."""
    if isinstance(error, ProblemAnswer):
        if error.status in (429, 503):
            return min(error.retry_after or 0.5, LONGEST_PAUSE_SECONDS)
        return False
    return isinstance(error, aiohttp.ClientError | TimeoutError)


class Caller:
    """Sends requests and reads problem documents; tries again what may be tried again."""

    def __init__(self, http: aiohttp.ClientSession, base: str, *, patience: float = PATIENCE_SECONDS) -> None:
        self.http = http
        self.base = base.rstrip("/")
        self.patience = patience
        self.tries = 0
        """Requests sent, repeats included."""

    async def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One request. Raises ``ProblemAnswer`` for any status of 400 and above."""
        self.tries += 1
        told = {**(headers or {}), **({"Content-Type": "application/json"} if body is not None else {})}
        async with self.http.request(
            method, self.base + path, data=body, headers=told, allow_redirects=False
        ) as answer:
            reply = Reply(answer.status, dict(answer.headers.items()), await answer.read())
        self.heard(reply)
        if reply.status >= 400:
            raise _problem(reply)
        return reply

    def heard(self, reply: Reply) -> None:
        """What an answer's headers say; a refusal's too."""

    async def patiently(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """The same request until it is answered or patience ends."""
        async for attempt in stamina.retry_context(
            on=_pause, attempts=None, timeout=self.patience, wait_initial=0.2, wait_max=3.0
        ):
            with attempt:
                return await self.send(method, path, body, headers)
        raise AssertionError("unreachable")


def _problem(reply: Reply) -> ProblemAnswer:
    try:
        body = json.loads(reply.content)
    except ValueError:
        body = {}
    waiting = {key.lower(): value for key, value in reply.headers.items()}.get("retry-after", "")
    retry_after = float(waiting) if waiting.replace(".", "", 1).isdigit() else None
    return ProblemAnswer(reply.status, body if isinstance(body, dict) else {}, retry_after)


class KeyHolder(Caller):
    """A channel's or the staff's program: calls with an API key."""

    def __init__(self, http: aiohttp.ClientSession, base: str, api_key: str, **more: Any) -> None:
        super().__init__(http, base, **more)
        self._key = api_key

    async def get(self, path: str) -> Any:
        return (await self.patiently("GET", path, headers=self._headers())).json

    async def post(self, path: str, body: Any = None, *, key: str | None = None) -> Any:
        """``key`` is the Idempotency-Key, kept over repeats."""
        raw = json.dumps({} if body is None else body, ensure_ascii=False).encode()
        headers = {**self._headers(), "Idempotency-Key": key or secrets.token_urlsafe(16)}
        reply = await self.patiently("POST", path, raw, headers)
        return reply.json if reply.content else None

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}"}


@dataclass
class Session:
    """What the phone remembers of one journey while its page is open. Nothing of it is written anywhere."""

    journey_id: str
    link_secret: str
    token: str | None = None
    nonce: str = "none"
    heads: dict[str, int] = field(default_factory=dict)
    """How far each service's facts were when it last answered: told back with the next act (read your writes)."""


class Phone(Caller):
    """One phone with one journey open: every request carries a fresh proof over what it sends."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        link: str,
        *,
        device: Device | None = None,
        base: str | None = None,
        **more: Any,
    ) -> None:
        """``link`` is what the SMS says: ``<address>/j#<journey>.<secret>``."""
        address, _, fragment = link.partition("#")
        journey_id, _, secret = fragment.partition(".")
        super().__init__(http, base or address.removesuffix("/j"), **more)
        self.device = device or Device()
        self.session = Session(journey_id, secret)

    @property
    def journey(self) -> str:
        return f"/v1/journeys/{self.session.journey_id}"

    async def act(self, verb: str, body: Any = None, *, key: str | None = None) -> Any:
        """One act or beat. Its Idempotency-Key stays the same however often it is sent; each sending has a proof
        of its own.
        """
        raw = json.dumps({} if body is None else body, ensure_ascii=False).encode()
        path = f"{self.journey}/{verb.replace('_', '-')}"
        key = key or secrets.token_urlsafe(16)
        reply = await self._proven("POST", path, raw, {"Idempotency-Key": key})
        return reply.json if reply.content else None

    async def get(self, path: str = "") -> Any:
        """A view of the journey, as JSON."""
        return (await self._proven("GET", f"{self.journey}{path}")).json

    async def file(self, path: str) -> bytes:
        return (await self._proven("GET", f"{self.journey}{path}")).content

    async def open(self) -> Json:
        """The tap on the link's page: binds this device."""
        opened = await self.act("open_session", {"link_secret": self.session.link_secret})
        self.session.token = opened["session_token"]
        return opened

    def heard(self, reply: Reply) -> None:
        headers = {key.lower(): value for key, value in reply.headers.items()}
        self.session.nonce = headers.get("dpop-nonce", self.session.nonce)
        for pair in filter(None, (part.strip() for part in headers.get("journey-heads", "").split(","))):
            service, _, sequence = pair.partition("=")
            self.session.heads[service] = max(int(sequence), self.session.heads.get(service, 0))

    def headers(self, method: str, path: str, body: bytes = b"") -> dict[str, str]:
        """A fresh proof for one sending, and what goes with it. A proof covers the address without its query."""
        proof = self.device.proof(
            method, self.base + path.partition("?")[0], body, nonce=self.session.nonce, token=self.session.token
        )
        told = {"DPoP": proof}
        if self.session.token is not None:
            told["Authorization"] = f"DPoP {self.session.token}"
        if self.session.heads:
            told["Journey-Heads"] = ",".join(f"{name}={at}" for name, at in sorted(self.session.heads.items()))
        return told

    async def _proven(self, method: str, path: str, body: bytes | None = None, more: Json | None = None) -> Reply:
        async for attempt in stamina.retry_context(
            on=_pause, attempts=None, timeout=self.patience, wait_initial=0.2, wait_max=3.0
        ):
            with attempt:
                try:
                    return await self._once(method, path, body, more)
                except ProblemAnswer as refused:
                    if refused.code != "use_dpop_nonce":
                        raise
                # The server gave a nonce of its own with the refusal (RFC 9449 §8).
                return await self._once(method, path, body, more)
        raise AssertionError("unreachable")

    async def _once(self, method: str, path: str, body: bytes | None, more: Json | None) -> Reply:
        return await self.send(method, path, body, {**self.headers(method, path, body or b""), **(more or {})})

    @asynccontextmanager
    async def stream(self, path: str = "/stream") -> AsyncGenerator[aiohttp.ClientResponse]:
        """The event stream (read as a page reads it by fetch: an EventSource could not carry a proof)."""
        whole = f"{self.journey}{path}"
        async for attempt in stamina.retry_context(on=_pause, attempts=None, timeout=self.patience, wait_initial=0.2):
            with attempt:
                answer = await self.http.get(
                    self.base + whole,
                    headers={**self.headers("GET", whole), "Accept": "text/event-stream"},
                    timeout=aiohttp.ClientTimeout(total=None, sock_read=60),
                )
                if answer.status >= 400:
                    reply = Reply(answer.status, dict(answer.headers.items()), await answer.read())
                    self.heard(reply)
                    raise _problem(reply)
        try:
            yield answer  # pyright: ignore[reportPossiblyUnboundVariable]
        finally:
            answer.close()  # pyright: ignore[reportPossiblyUnboundVariable]


async def news(phone: Phone) -> AsyncGenerator[str]:
    """The data of each event as it comes. Ends when the server ends the stream."""
    async with phone.stream() as answer:
        async for raw in answer.content:
            line = raw.decode().rstrip("\r\n")
            if line.startswith("data:"):
                yield line.removeprefix("data:").strip()
