"""HTTP as it comes off the wire: what never becomes a request is bounded and refused as everything else is."""

from __future__ import annotations

import asyncio
import http
import secrets
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from contracts.problems import Problem
from gateway.middleware import SECURITY
from gateway.problems import problem_response

MAX_HEAD: Final = 32 * 1024
"""Bytes of a request line and its headers; the parser itself knows no end."""
ONCE: Final = frozenset({
    b"host", b"content-type", b"content-length", b"authorization", b"dpop", b"idempotency-key", b"journey-heads",
    b"origin", b"sec-fetch-site", b"webhook-id", b"webhook-timestamp", b"webhook-signature", b"wechatpay-signature",
})  # fmt: skip
"""Headers that count once: of two, which is meant would be the sender's to choose (RFC 9110 §5.3, RFC 9449 §4.3)."""


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol, with an end to heads too long or never whole, and problem+json for what is no HTTP."""

    head_seconds: ClassVar[float] = 15.0
    """How long a connection may take to bring the head of a request."""

    _in_head = True
    _head_bytes = 0
    _impatience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self.send_400_response("")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._wait_for_head()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_waiting()
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD:
            raise ValueError("a head that is too long")  # The parser's caller answers 400.
        once = [name for name, _ in self.headers if name in ONCE]
        if len(once) != len(set(once)):
            raise ValueError("a header given twice")
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the parser's own words help nobody
        answer = problem_response({"toubao.trace_id": secrets.token_hex(16)}, Problem(code="malformed"), SECURITY)
        lines = [f"HTTP/1.1 400 {http.HTTPStatus(400).phrase}".encode()]
        lines += [name + b": " + value for name, value in answer.raw_headers]
        lines += [b"cache-control: no-store", b"connection: close", b"", bytes(answer.body)]
        self.transport.write(b"\r\n".join(lines))
        self.transport.close()

    def _wait_for_head(self) -> None:
        self._stop_waiting()
        self._impatience = self.loop.call_later(self.head_seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None

    def _give_up(self) -> None:
        if self._in_head and not self.transport.is_closing():
            self.transport.close()


def bounded(seconds: float) -> type[asyncio.Protocol]:
    """The protocol for a server that waits ``seconds`` for each head."""
    kind: Any = type("Http", (BoundedHttp,), {"head_seconds": seconds})
    return kind
