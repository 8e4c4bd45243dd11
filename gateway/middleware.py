"""What surrounds every request. Pure ASGI: no wrapper breaks streaming or context variables.

From the outside in: security headers, trace and last resort, rate limits, size and pace of the body.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry import trace
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.problems import Problem, Refuse
from gateway.limits import Buckets, body_limit, keys_of, source_of
from gateway.measures import METHODS, UNMATCHED, Requests
from gateway.problems import PROBLEM, problem_of, problem_response
from servicekit import crash_points
from servicekit.telemetry import traces

log = logging.getLogger(__name__)

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; object-src 'none'; "
    "require-trusted-types-for 'script'"
)
SECURITY: Final = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
}
HSTS: Final = "max-age=63072000; includeSubDomains"


def header(scope: Scope, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


class Tracing:
    """A span and an id for each request, a metric by route, and a problem document when all else failed."""

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self.app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else "other"
        began = time.perf_counter()
        status = 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = scope["toubao.trace_id"]
                route = _route(scope)
                self._requests.answered(method, route, status, time.perf_counter() - began)
                if (code := scope.get(PROBLEM)) is not None:
                    self._requests.refused(code)
                span.update_name(f"{method} {route}")
                span.set_attribute("http.response.status_code", status)
            await send(message)

        with (
            traces.span(f"{method} http", "server", header(scope, b"traceparent")) as span,
            crash_points.within(lambda: f"{method} {_route(scope)}"),
        ):
            context = trace.get_current_span().get_span_context()
            known = trace.format_trace_id(context.trace_id) if context.is_valid else secrets.token_hex(16)
            scope["toubao.trace_id"] = known
            try:
                await self.app(scope, receive, noted)
            except ClientDisconnect:
                pass  # Nobody is there to be answered; nothing failed here.
            except Exception as error:
                log.exception("request failed", extra={"route": _route(scope), "error": type(error).__name__})
                if not status:
                    await problem_response(scope, Problem(code="internal"))(scope, receive, noted)


def _route(scope: Scope) -> str:
    """The route's template: what was typed into a path may be anything."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else UNMATCHED


class SecurityHeaders:
    """On every answer, refusals included (ENGINEERING §4.3)."""

    def __init__(self, app: ASGIApp, *, secure: bool) -> None:
        self.app = app
        self._all = {**SECURITY, **({"Strict-Transport-Security": HSTS} if secure else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._all.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self.app(scope, receive, dressed)


class RateLimits:
    """429 with Retry-After, by the table of ``gateway.limits``."""

    def __init__(self, app: ASGIApp, buckets: Buckets) -> None:
        self.app = app
        self._buckets = buckets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        keys = keys_of(scope["path"], source_of(scope.get("client")), header(scope, b"authorization"))
        verdict = self._buckets.take(scope["method"], scope["path"], keys)
        if verdict is None:
            await self.app(scope, receive, send)
            return
        told: Mapping[str, str] = verdict.headers()
        if not verdict.granted:
            problem = Problem(code="too_many_requests", retry_after=int(told["Retry-After"]))
            await problem_response(scope, problem, told)(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in told.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, counted)


class BodyGuard:
    """A body no larger than its path allows, arrived whole within ``seconds``; counted as it comes."""

    def __init__(self, app: ASGIApp, *, seconds: float) -> None:
        self.app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = body_limit(scope["path"])
        deadline = asyncio.get_running_loop().time() + self._seconds
        announced = header(scope, b"content-length")
        if announced is not None and announced.isdigit() and (len(announced) > 12 or int(announced) > limit):
            if len(announced) <= 12 and int(announced) <= LINGER:
                await _run_out(receive, deadline)
            await problem_response(scope, Problem(code="body_too_large"), _CLOSE)(scope, receive, send)
            return
        seen, whole, answering, refused = 0, False, False, False

        async def guarded() -> Message:
            nonlocal seen, whole, refused
            if whole:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                refused = True
                raise Refuse("body_too_slow") from None
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > limit:
                    refused = True
                    if message.get("more_body", False):
                        await _run_out(receive, deadline)
                    raise Refuse("body_too_large")
                whole = not message.get("more_body", False)
            return message

        async def answered(message: Message) -> None:
            nonlocal answering
            answering = True
            if refused and message["type"] == "http.response.start":
                # The application has made a problem of it; the rest of the body is not waited for.
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        try:
            await self.app(scope, guarded, answered)
        except Refuse as refusal:
            if answering:
                raise
            await problem_response(scope, problem_of(refusal), _CLOSE)(scope, receive, send)


_CLOSE: Final[Mapping[str, str]] = {"Connection": "close"}
LINGER: Final = 4 * 1024 * 1024
"""Bytes of a body too large that are still taken, and thrown away: a connection closed on somebody who is still sending
is reset, and the answer lost with it (RFC 9112 §9.6).
"""


async def _run_out(receive: Receive, deadline: float) -> None:
    """Takes what still comes until its end, ``LINGER`` bytes or ``deadline``."""
    taken = 0
    try:
        async with asyncio.timeout_at(deadline):
            while taken <= LINGER:
                message = await receive()
                taken += len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return


def surround(app: Any, *, requests: Requests, buckets: Buckets, secure: bool, body_seconds: float) -> None:
    """Adds them to a Starlette application; the last added is the outermost."""
    app.add_middleware(BodyGuard, seconds=body_seconds)
    app.add_middleware(RateLimits, buckets=buckets)
    app.add_middleware(Tracing, requests=requests)
    app.add_middleware(SecurityHeaders, secure=secure)
