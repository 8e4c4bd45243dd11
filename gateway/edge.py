"""What every endpoint holds in its hands: the ground, who may ask, and how to ask the services."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, TypeVar, cast

from fastapi import Request
from pydantic import BaseModel
from starlette.requests import cookie_parser
from starlette.responses import Response

from contracts.commands.base import Request as BusRequest
from contracts.problems import FieldFault, Refuse
from contracts.values import Contract
from gateway.accounts import Accounts, SalesSession, Session, StaffSession
from gateway.credentials import Channel, Credentials, Role, Salesperson, StaffMember
from gateway.settings import GatewaySettings
from products import Releases
from servicekit.bodies import read_body
from servicekit.service import Ground

ReplyT = TypeVar("ReplyT", bound=Contract)
BodyT = TypeVar("BodyT", bound=Contract)

_ULID: Final = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{8,64}")
COOKIE: Final = "toubao_session"
"""Of people who sign in. It never counts on a customer's endpoint (I13)."""
NONCE_SECONDS: Final = 20.0
"""How long a nonce is handed out before another is asked for."""
_MOST_SESSIONS: Final = 4
_READS: Final = frozenset({"GET", "HEAD"})


class KeptNonce:
    """The last nonce identity issued, while it is young: of its five minutes' life (``identity_nonce_seconds``) the
    customer gets the most.
    """

    def __init__(self) -> None:
        self._nonce: str | None = None
        self._until = 0.0

    def keep(self, nonce: str) -> None:
        """It is as young as when it was first seen."""
        if nonce != self._nonce:
            self._nonce = nonce
            self._until = time.monotonic() + NONCE_SECONDS

    def young(self) -> str | None:
        return self._nonce if time.monotonic() < self._until else None


@dataclass
class Edge:
    """One gateway process. Keeps nothing of a journey."""

    ground: Ground[GatewaySettings]
    credentials: Credentials
    releases: Releases
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process stops: streams end, so that open requests can."""
    streams: Counter[str] = field(default_factory=Counter[str])
    nonce: KeptNonce = field(default_factory=KeptNonce)
    accounts: Accounts = field(init=False)

    def __post_init__(self) -> None:
        ground = self.ground
        self.accounts = Accounts(self.credentials, ground.store, ground.now, scale=ground.settings.gateway_limits_scale)

    @property
    def settings(self) -> GatewaySettings:
        return self.ground.settings

    async def ask(self, request: BusRequest, reply: type[ReplyT], *, timeout: float = 10.0) -> tuple[ReplyT, int]:
        return await self.ground.bus.request(request, reply, timeout=timeout)

    async def known(self, journey_id: str) -> str:
        """The id, if a journey goes by it. Raises ``Refuse("journey_unknown")``: no key is ever made for a guess."""
        if _ULID.fullmatch(journey_id) is None or not await self.ground.vault.holds(journey_id):
            raise Refuse("journey_unknown")
        return journey_id


def edge_of(request: Request) -> Edge:
    return cast(Edge, request.app.state.edge)


# -- what a request brings ---------------------------------------------------------------------------------


def credentials_of(request: Request) -> tuple[str, str]:
    """(scheme in lower case, credentials). Raises ``Refuse("credentials_missing")``."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if not scheme or not value.strip() or len(value) > 512:
        raise Refuse("credentials_missing")
    return scheme.lower(), value.strip()


def session_tokens(request: Request) -> frozenset[str]:
    """Every value the request's cookies give a session. Raises ``Refuse("malformed")`` for more than ever meet.

    More than one comes of another host of the same site, or of somebody who hides one behind another.
    """
    parts = (part for header in request.headers.getlist("cookie") for part in header.split(";"))
    tokens = frozenset(token for part in parts if (token := cookie_parser(part).get(COOKIE)))
    if len(tokens) > _MOST_SESSIONS:
        raise Refuse("malformed")
    return tokens


async def signed_in(request: Request) -> Session | None:
    """Whose live session the request's cookie names, if any; decides nothing about what it may do.

    Of two that differ neither counts: one of them is not from us. A page that asks by itself says so (``Unattended``),
    and its event stream always does: a screen that refreshes is nobody at work. Raises ``Refuse("malformed")``.
    """
    tokens = session_tokens(request)
    if len(tokens) != 1:
        return None
    attended = "unattended" not in request.headers and not request.scope["path"].endswith("/stream")
    return await edge_of(request).accounts.session(next(iter(tokens)), attended=attended)


async def insider(request: Request) -> Session | None:
    """The live session of any of the request's cookies: for where none may be (I13). Raises ``Refuse("malformed")``."""
    for token in session_tokens(request):
        if (session := await edge_of(request).accounts.session(token)) is not None:
            return session
    return None


def check_same_origin(request: Request) -> None:
    """A page of ours sent it, by what the browser says of it. Raises ``Refuse("cross_site")``.

    ``SameSite=Strict`` keeps the cookie from other sites already; this also from other ports and hosts of the same
    site, and keeps another site from signing somebody in.
    """
    site = request.headers.get("sec-fetch-site")
    ours = edge_of(request).settings.gateway_public_url
    if site != "same-origin" if site is not None else request.headers.get("origin") != ours:
        raise Refuse("cross_site")


async def _by_session(request: Request) -> Session:
    """Raises ``Refuse``: ``credentials_missing``, ``cross_site``, ``too_many_requests`` or ``malformed``."""
    session = await signed_in(request)
    if session is None:
        raise Refuse("credentials_missing")
    if request.method not in _READS:
        check_same_origin(request)
    edge_of(request).accounts.grant(request.method, request.scope["path"], session)
    return session


def _by_cookie(request: Request) -> bool:
    """Whoever brings a key is judged by the key."""
    return "authorization" not in request.headers and bool(session_tokens(request))


@dataclass(frozen=True, slots=True)
class Seller:
    """Who sells: a program of the channel, or one of its salespeople."""

    channel: Channel
    salesperson: Salesperson | None


async def seller_of(request: Request) -> Seller:
    """By key or session. Raises ``Refuse``: ``credentials_invalid``, or what ``_by_session`` raises."""
    if not _by_cookie(request):
        return Seller(_channel_by_key(request), None)
    session = await _by_session(request)
    if not isinstance(session, SalesSession):
        raise Refuse("credentials_invalid")
    return Seller(session.channel, session.salesperson)


async def channel_of(request: Request) -> Channel:
    """The channel itself: what concerns all of it is no single salesperson's.

    Raises ``Refuse``: ``role_missing``, or what ``seller_of`` raises.
    """
    seller = await seller_of(request)
    if seller.salesperson is not None:
        raise Refuse("role_missing")
    return seller.channel


def _channel_by_key(request: Request) -> Channel:
    scheme, key = credentials_of(request)
    channel = edge_of(request).credentials.channel(key) if scheme == "bearer" else None
    if channel is None:
        raise Refuse("credentials_invalid")
    return channel


async def staff_of(request: Request, *roles: Role) -> StaffMember:
    """By key or session.

    Raises ``Refuse``: ``credentials_invalid``, ``role_missing``, or what ``_by_session`` raises.
    """
    if _by_cookie(request):
        session = await _by_session(request)
        member = session.member if isinstance(session, StaffSession) else None
    else:
        scheme, key = credentials_of(request)
        member = edge_of(request).credentials.member(key) if scheme == "bearer" else None
    if member is None:
        raise Refuse("credentials_invalid")
    if not member.roles & set(roles):
        raise Refuse("role_missing")
    return member


def idempotency_key(request: Request) -> str:
    """Raises ``Refuse``: 400 when it is missing, 422 when it is none."""
    key = request.headers.get("idempotency-key")
    if key is None:
        raise Refuse("idempotency_key_missing")
    if _KEY.fullmatch(key) is None:
        fault = FieldFault(pointer="", code="format", detail="Idempotency-Key 须为 8 到 64 个字母、数字、_ 或 -。")
        raise Refuse("invalid_fields", errors=(fault,))
    return key


async def json_body(request: Request) -> bytes:
    """The raw body of a JSON request. Raises ``Refuse("unsupported_media_type")`` for any other."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise Refuse("unsupported_media_type")
    return await request.body()


async def json_of(request: Request, kind: type[BodyT]) -> BodyT:
    """The body as ``kind``. Raises ``Refuse("invalid_fields")`` naming each fault by its field."""
    return read_body(kind, await json_body(request))


# -- what goes back ----------------------------------------------------------------------------------------


def json_answer(view: BaseModel, status: int = 200) -> Response:
    return Response(view.model_dump_json().encode(), status, media_type="application/json")
