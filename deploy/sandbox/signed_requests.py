r"""Our own protocol's request signature (face platform and SMS provider): HMAC-SHA256 over

    METHOD \n path?query \n timestamp \n nonce \n hex(SHA-256(body)) \n

sent as `X-Client-Id`, `X-Timestamp` (Unix seconds), `X-Nonce`, `X-Signature` (lower-case hex).
A request older or newer than five minutes, or whose nonce was seen, is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from aiohttp import web

MAX_AGE_SECONDS = 300

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def signature(key: bytes, method: str, path_qs: str, timestamp: str, nonce: str, body: bytes) -> str:
    """Hex HMAC of a request. `path_qs` is the path and query exactly as sent."""
    signed = f"{method}\n{path_qs}\n{timestamp}\n{nonce}\n{hashlib.sha256(body).hexdigest()}\n"
    return hmac.new(key, signed.encode(), hashlib.sha256).hexdigest()


def sign_headers(
    key: bytes, client_id: str, method: str, path_qs: str, body: bytes, *, timestamp: int, nonce: str
) -> dict[str, str]:
    """The four headers a client sends."""
    return {
        "X-Client-Id": client_id,
        "X-Timestamp": str(timestamp),
        "X-Nonce": nonce,
        "X-Signature": signature(key, method, path_qs, str(timestamp), nonce, body),
    }


class SignatureCheck:
    """Wraps handlers of the server side; remembers nonces as long as their timestamps are acceptable."""

    def __init__(self, client_id: str, key: bytes, clock: Callable[[], float] = time.time) -> None:
        self._client_id = client_id
        self._key = key
        self._clock = clock
        self._seen: OrderedDict[str, float] = OrderedDict()

    def __call__(self, handler: Handler) -> Handler:
        async def checked(request: web.Request) -> web.StreamResponse:
            refusal = self._refusal(request, await request.read())
            if refusal:
                return web.json_response({"code": "signature_refused", "message": refusal}, status=401)
            return await handler(request)

        return checked

    def _refusal(self, request: web.Request, body: bytes) -> str | None:
        headers = request.headers
        timestamp, nonce = headers.get("X-Timestamp", ""), headers.get("X-Nonce", "")
        if headers.get("X-Client-Id") != self._client_id:
            return "unknown client"
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
            return "timestamp is not Unix seconds"
        now = self._clock()
        if abs(now - int(timestamp)) > MAX_AGE_SECONDS:
            return "timestamp is more than five minutes away"
        if not 8 <= len(nonce) <= 64:
            return "nonce must have 8 to 64 characters"
        expected = signature(self._key, request.method, request.raw_path, timestamp, nonce, body)
        if not hmac.compare_digest(expected.encode(), headers.get("X-Signature", "").encode()):
            return "signature does not match"
        while self._seen and next(iter(self._seen.values())) < now - 2 * MAX_AGE_SECONDS:
            self._seen.popitem(last=False)
        if nonce in self._seen:
            return "nonce was used before"
        self._seen[nonce] = now
        return None
