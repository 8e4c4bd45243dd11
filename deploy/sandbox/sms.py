"""SMS provider. Our own protocol (README.md); messages end in an inbox that people and tests can read."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import urlsplit

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deploy.sandbox.pages import page, style_sheet
from deploy.sandbox.people import phone_is_sound
from deploy.sandbox.records import Document, Records
from deploy.sandbox.settings import SandboxSettings
from deploy.sandbox.signed_requests import SignatureCheck

_CHINA = timezone(timedelta(hours=8))
_SHOWN = 200


class Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    message_id: str = Field(min_length=1, max_length=64)
    phone: str = Field(min_length=1, max_length=20)
    text: str = Field(min_length=1, max_length=1000)


class SmsProvider:
    """The provider. `clock` gives Unix seconds."""

    def __init__(
        self,
        settings: SandboxSettings,
        records: Records,
        key: bytes,
        public_url: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._records, self._clock = records, clock
        self._prefix = urlsplit(public_url).path
        self._signed = SignatureCheck(settings.client_id, key, clock)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 16)
        app.add_routes(
            [
                web.post("/v1/messages", self._signed(self._accept)),
                web.get("/inbox", self._inbox),
                web.get("/inbox.json", self._inbox_json),
                web.get("/sandbox.css", style_sheet),
            ]
        )
        return app

    async def _accept(self, request: web.Request) -> web.Response:
        """202 with a reference; the same for a repeat, and 409 when the id comes with other content."""
        try:
            message = Message.model_validate_json(await request.read())
        except ValidationError:
            return web.json_response({"code": "malformed", "message": "wrong or missing field"}, status=400)
        if not phone_is_sound(message.phone):
            return web.json_response({"code": "not_a_mobile_number", "message": "no such number"}, status=422)
        known = self._records.get("sms", message.message_id)
        if known is None:
            known = message.model_dump() | {
                "provider_ref": "SM" + secrets.token_hex(12),
                "received_at": datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds"),
            }
            self._records.put("sms", message.message_id, known, tag=message.phone)
        elif (known["phone"], known["text"]) != (message.phone, message.text):
            return web.json_response(
                {"code": "message_id_used", "message": "this id carried another message"}, status=409
            )
        return web.json_response(
            {
                "message_id": message.message_id,
                "status": "accepted",
                "provider_ref": known["provider_ref"],
            },
            status=202,
        )

    def _messages(self, request: web.Request) -> list[Document]:
        return self._records.find("sms", tag=request.query.get("phone"), newest=_SHOWN)

    async def _inbox_json(self, request: web.Request) -> web.Response:
        return web.json_response({"messages": self._messages(request)})

    async def _inbox(self, request: web.Request) -> web.Response:
        messages = [
            message
            | {
                "shown_time": datetime.fromisoformat(message["received_at"])
                .astimezone(_CHINA)
                .strftime("%Y-%m-%d %H:%M:%S")
            }
            for message in self._messages(request)
        ]
        return page(
            "inbox",
            css=f"{self._prefix}/sandbox.css",
            messages=messages,
            phone=request.query.get("phone", ""),
        )
