"""Where outside parties call back: the payment channel, and the insurer's app.

Their bytes are passed on as they came; who judges the channel's signature is the payment service.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field
from starlette.responses import Response

from contracts.commands.appdownload import TakeReport
from contracts.commands.base import Done
from contracts.commands.payment import NotificationTaken, TakeNotification
from contracts.problems import Refuse
from contracts.values import Contract, Token
from gateway.edge import edge_of
from gateway.openapi import problems
from gateway.settings import GatewaySettings
from servicekit.bodies import read_body
from servicekit.store import Document

TOLERANCE: Final = timedelta(minutes=5)
"""How far a webhook's clock may be from ours (Standard Webhooks)."""
REMEMBERED: Final = timedelta(hours=1)
_HEADERS_TAKEN: Final = 40
_HEADER_LENGTH: Final = 4096


class AppStep(Contract):
    model_config = ConfigDict(frozen=True, extra="ignore")

    token: Token
    step: Literal["click", "install", "register", "login"]


class AppReport(Contract):
    """A report of the insurer's app, as Standard Webhooks has it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: Annotated[str, Field(pattern=r"^app\.[a-z]+$")]
    data: AppStep


def webhook_secret(settings: GatewaySettings) -> bytes | None:
    """The key of a ``whsec_…`` file. Raises ValueError without quoting it."""
    if settings.gateway_app_secret_file is None:
        return None
    text = settings.gateway_app_secret_file.read_text(encoding="ascii").strip()
    try:
        return base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{settings.gateway_app_secret_file.name}: not a whsec_ secret") from None


def check_webhook(secret: bytes, *, id: str, timestamp: str, signature: str, body: bytes, now: datetime) -> None:
    """Standard Webhooks: one of the ``v1`` signatures is over ``id.timestamp.body``. Pure.

    Raises ``Refuse``: ``notification_invalid`` or ``notification_stale``.
    """
    if not id or len(id) > 128 or not id.isascii() or not timestamp.isdecimal() or len(timestamp) > 12:
        raise Refuse("notification_invalid")
    expected = hmac.new(secret, f"{id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    sound = False
    for one in signature.split(" ")[:8]:
        version, _, value = one.partition(",")
        try:
            given = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            continue
        sound |= version == "v1" and hmac.compare_digest(expected, given)
    if not sound:
        raise Refuse("notification_invalid")
    if abs(now.timestamp() - int(timestamp)) > TOLERANCE.total_seconds():
        raise Refuse("notification_stale")


def router() -> APIRouter:
    routes = APIRouter(prefix="/v1/callbacks", tags=["callbacks"])
    raw: dict[str, Any] = {
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
    }

    @routes.post(
        "/wechat",
        operation_id="take_payment_notification",
        summary="A payment channel's notification; answered as the channel expects.",
        response_class=Response,
        responses={
            200: {"description": "Taken.", "content": {"application/json": {"schema": {"type": "object"}}}},
            **problems("body_too_large", "notification_invalid"),
        },
        openapi_extra=raw,
    )
    async def wechat(request: Request) -> Response:
        body = await request.body()
        headers = {
            name: value[:_HEADER_LENGTH]
            for name, value in list(request.headers.items())[:_HEADERS_TAKEN]
            if name.startswith("wechatpay-") or name == "content-type"
        }
        taken, _ = await edge_of(request).ask(
            TakeNotification(channel="wechat", headers=headers, body_base64=base64.b64encode(body).decode()),
            NotificationTaken,
        )
        if taken.status == 204:
            return Response(status_code=204)
        return Response(taken.body.encode(), taken.status, media_type="application/json")

    @routes.post(
        "/app",
        operation_id="take_app_report",
        summary="The insurer's app reports a step (Standard Webhooks).",
        status_code=204,
        response_class=Response,
        responses={
            204: {"description": "Taken, now or before."},
            **problems("malformed", "invalid_fields", "notification_invalid", "notification_stale", "referral_unknown"),
        },
        openapi_extra={
            **raw,
            "parameters": [
                {"name": name, "in": "header", "required": True, "schema": {"type": "string"}}
                for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
            ],
        },
    )
    async def app(request: Request) -> Response:
        edge = edge_of(request)
        secret: bytes | None = request.app.state.app_secret
        if secret is None:
            raise Refuse("notification_invalid")
        body = await request.body()
        webhook_id = request.headers.get("webhook-id", "")
        now = edge.ground.now()
        check_webhook(
            secret,
            id=webhook_id,
            timestamp=request.headers.get("webhook-timestamp", ""),
            signature=request.headers.get("webhook-signature", ""),
            body=body,
            now=now,
        )
        delivered = edge.ground.store.collection("app_reports")
        place = hashlib.sha256(webhook_id.encode()).hexdigest()
        if await delivered.get(place) is None:
            report = read_body(AppReport, body)
            await edge.ask(TakeReport(token=report.data.token, step=report.data.step), Done)
            await delivered.put_many([Document(place, due=now + REMEMBERED)])
            for old in await delivered.find(up_to=("due", now), order="due", limit=20):
                await delivered.delete(old.id)
        return Response(status_code=204)

    return routes
