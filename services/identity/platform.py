"""The face and real-name platform, spoken to server to server. No image passes through here (I10).

The protocol is described in deploy/sandbox/README.md; a provider with another one gets a module of its own
beside this. Requests are signed: HMAC-SHA256 over method, path, time, nonce and the hash of the body.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, Literal, TypeVar

import aiohttp
import stamina
from pydantic import BaseModel, ConfigDict, ValidationError
from yarl import URL

from contracts.problems import Refuse
from contracts.values import Instant, Token
from servicekit.signed_requests import signed_headers
from servicekit.telemetry.metrics import Watched, unwatched

DEADLINE_SECONDS: Final = 2.0
"""For one try. Two tries stay well inside the patience of whoever waits for us on the bus."""
TRIES: Final = 2


class _Answer(BaseModel):
    # What a provider adds later does not concern us; what it must not send us (images) we do not keep.
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Checked(_Answer):
    """The answer to a real-name or bank card check."""

    result: Literal["match", "mismatch"]
    provider_ref: Token


class FaceSession(_Answer):
    session_id: Token
    redirect_url: str


class FaceResult(_Answer):
    """What became of a face session. ``completed_at`` is set once it was decided."""

    session_id: Token
    status: Literal["pending", "passed", "failed", "expired"]
    reason: str | None = None
    score_band: Literal["high", "medium", "low"] | None = None
    provider_ref: Token | None = None
    completed_at: Instant | None = None


class _Unreachable(Exception):
    """No answer, or one that says to come again."""


AnswerT = TypeVar("AnswerT", bound=_Answer)


class Platform:
    """One client a service. Every method raises ``Refuse("platform_unavailable")`` when the platform gives no
    usable answer in time; nothing is lost by that.
    """

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

    async def check_real_name(self, name: str, id_number: str) -> Checked:
        return await self._ask("POST", "/v1/real-name", Checked, {"name": name, "id_number": id_number})

    async def check_bank_card(self, name: str, id_number: str, card_number: str, phone: str) -> Checked:
        """The four elements name, ID number, card and phone agree with the bank."""
        asked = {"name": name, "id_number": id_number, "card_number": card_number, "phone": phone}
        return await self._ask("POST", "/v1/bank-card", Checked, asked)

    async def start_face(self, name: str, id_number: str, return_url: str) -> FaceSession:
        asked = {"name": name, "id_number": id_number, "return_url": return_url}
        return await self._ask("POST", "/v1/face-sessions", FaceSession, asked)

    async def face_result(self, session_id: str) -> FaceResult:
        result = await self._ask("GET", f"/v1/face-sessions/{session_id}", FaceResult)
        if result.session_id != session_id:
            raise Refuse("platform_unavailable", retry_after=5)
        return result

    async def _ask(self, method: str, path: str, answer: type[AnswerT], asked: dict[str, Any] | None = None) -> AnswerT:
        body = b"" if asked is None else json.dumps(asked, ensure_ascii=False).encode()
        url = URL(self._base + path, encoded=True)
        with self._watched():
            try:
                # Asking again is safe: a check changes nothing, and a face session nobody was sent to expires.
                async for attempt in stamina.retry_context(
                    on=(_Unreachable, aiohttp.ClientConnectionError, TimeoutError),
                    attempts=TRIES,
                    wait_initial=0.1,
                    wait_max=0.3,
                    wait_jitter=0.1,
                ):
                    with attempt:
                        return answer.model_validate_json(await self._once(method, url, body))
            except (_Unreachable, aiohttp.ClientError, TimeoutError, ValidationError):
                # "from None": the cause may quote what was asked or answered.
                raise Refuse("platform_unavailable", retry_after=5) from None
        raise AssertionError("unreachable")

    async def _once(self, method: str, url: URL, body: bytes) -> bytes:
        if self._http is None:
            raise RuntimeError("the platform's client is not open")
        async with self._http.request(
            method, url, data=body or None, headers=self._headers(method, url, body), allow_redirects=False
        ) as response:
            if response.status not in {200, 201}:
                raise _Unreachable(response.status)
            return await response.read()

    def _headers(self, method: str, url: URL, body: bytes) -> dict[str, str]:
        return signed_headers(self._client_id, self._key, method, url.raw_path_qs, body, self._now())
