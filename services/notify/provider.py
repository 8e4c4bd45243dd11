"""The SMS provider, spoken to server to server.

The protocol is described in deploy/sandbox/README.md; a provider with another one gets a module of its own beside
this. Requests are signed: HMAC-SHA256 over method, path, time, nonce and the hash of the body.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Final

import aiohttp
import stamina
from pydantic import BaseModel, ConfigDict, ValidationError
from yarl import URL

from contracts.values import Token
from servicekit.signed_requests import signed_headers
from servicekit.telemetry.metrics import Watched, unwatched

DEADLINE_SECONDS: Final = 5.0
"""For one try. Nobody waits for us: the message was taken long before."""
TRIES: Final = 3
REFUSED: Final = frozenset({400, 409, 422})
"""Asking again gives the same answer. Anything else that is not a 202 may pass."""


class Refused(Exception):
    """The provider will never take this message."""


class TooLate(Exception):
    """The message's validity was over before the provider took it."""


class Unreachable(Exception):
    """No answer, or one that says to come again. The message may have been taken all the same."""


class _Taken(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    message_id: str
    provider_ref: Token


class Provider:
    """One client a service."""

    def __init__(
        self, url: str, client_id: str, key: bytes, now: Callable[[], datetime], watched: Watched = unwatched
    ) -> None:
        self._watched = watched
        self._base = url.rstrip("/")
        self._client_id = client_id
        self._key = key
        self._now = now
        self._http: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE_SECONDS))

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()

    async def send(self, message_id: str, phone: str, text: str, until: datetime | None = None) -> str:
        """The provider's reference. Sending the same under the same id arrives once. No try begins after ``until``.

        Raises ``Refused``, ``TooLate`` or ``Unreachable``; none quotes phone or text.
        """
        with self._watched(Refused, TooLate):
            return await self._send(message_id, phone, text, until)

    async def _send(self, message_id: str, phone: str, text: str, until: datetime | None) -> str:
        body = json.dumps({"message_id": message_id, "phone": phone, "text": text}, ensure_ascii=False).encode()
        url = URL(self._base + "/v1/messages", encoded=True)
        try:
            async for attempt in stamina.retry_context(
                on=(Unreachable, aiohttp.ClientConnectionError, TimeoutError),
                attempts=TRIES,
                wait_initial=0.2,
                wait_max=1.0,
                wait_jitter=0.2,
            ):
                with attempt:
                    if until is not None and self._now() >= until:
                        raise TooLate
                    taken = _Taken.model_validate_json(await self._once(url, body))
                    if taken.message_id != message_id:
                        raise Unreachable
                    return taken.provider_ref
        except (Unreachable, aiohttp.ClientError, TimeoutError, ValidationError):
            # "from None": the cause may quote what was asked or answered.
            raise Unreachable from None
        raise AssertionError("unreachable")

    async def _once(self, url: URL, body: bytes) -> bytes:
        if self._http is None:
            raise RuntimeError("the provider's client is not open")
        headers = signed_headers(self._client_id, self._key, "POST", url.raw_path_qs, body, self._now())
        async with self._http.post(url, data=body, headers=headers, allow_redirects=False) as response:
            if response.status in REFUSED:
                raise Refused
            if response.status != 202:
                raise Unreachable
            return await response.read()
