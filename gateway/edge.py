"""What every endpoint holds in its hands: the ground, who may ask, and how to ask the services."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, TypeVar, cast

from fastapi import Request
from pydantic import ValidationError

from contracts.commands.base import Request as BusRequest
from contracts.problems import FieldFault, Refuse
from contracts.values import Contract
from gateway.credentials import Channel, Credentials, Role, StaffMember
from gateway.settings import GatewaySettings
from products import Releases
from servicekit.service import Ground, field_faults

ReplyT = TypeVar("ReplyT", bound=Contract)
BodyT = TypeVar("BodyT", bound=Contract)

_ULID: Final = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{8,64}")


@dataclass
class Edge:
    """One gateway process. Keeps nothing of a journey."""

    ground: Ground[GatewaySettings]
    credentials: Credentials
    releases: Releases
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process stops: streams end, so that open requests can."""
    streams: Counter[str] = field(default_factory=Counter[str])

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


async def channel_of(request: Request) -> Channel:
    """Raises ``Refuse``: ``credentials_missing`` or ``credentials_invalid``."""
    scheme, key = credentials_of(request)
    channel = edge_of(request).credentials.channel(key) if scheme == "bearer" else None
    if channel is None:
        raise Refuse("credentials_invalid")
    return channel


async def staff_of(request: Request, *roles: Role) -> StaffMember:
    """Raises ``Refuse``: ``credentials_missing``, ``credentials_invalid`` or ``role_missing``."""
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
    return parsed(kind, await json_body(request))


def parsed(kind: type[BodyT], body: bytes) -> BodyT:
    try:
        return kind.model_validate_json(body or b"{}")
    except ValidationError as error:
        faults = field_faults(error)
        if any(fault.code == "not_json" for fault in faults):
            raise Refuse("malformed") from None
        raise Refuse("invalid_fields", errors=faults) from None
