"""How the house is doing now: counts for the live page, and a stream that says when to look again.

Names and numbers only: nothing here is anybody's.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.sse import format_sse_event
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from contracts import subjects
from contracts.commands.evidence import HourCount, Step, ViewLive
from contracts.commands.evidence import Live as Counted
from contracts.problems import KINDS, Refuse
from contracts.values import Contract, Fen, Instant, Slug, Token
from gateway.edge import Edge, edge_of, json_answer, staff_of
from gateway.openapi import EVENT_STREAM, STAFF, problems
from gateway.staff import MAY
from gateway.staff_journeys import WHO, product_name, release_of
from gateway.stream import END, KEEP_ALIVE_SECONDS, RETRY_MS, ended, event_of
from servicekit.bus import Unhandleable
from servicekit.store import StoredFact

STREAMS: Final = 50
"""Open at once in one process."""
PACE_SECONDS: Final = 0.5
"""At most one event in this time, whatever happens on the bus."""
STEP_NAMES: Final[dict[Step, str]] = {
    "recording": "可回溯提示",
    "consents": "授权同意",
    "identity": "身份核验",
    "terms": "确认内容",
    "reading": "阅读文件",
    "signature": "签名",
    "payment": "付款",
    "issuance": "出单",
    "done": "已完成",
    "ended": "已终止",
}
_OURS: Final = "staff"
"""The key of these streams in ``Edge.streams``; no journey goes by it."""


class StepNow(Contract):
    step: Step
    name: str
    count: int


class RefusalNow(Contract):
    code: Slug
    title: str
    count: int


class PolicyNow(Contract):
    policy_no: str
    product: Slug
    name: str
    issued_at: Instant
    premium_fen: Fen
    channel_id: Token


class Live(Contract):
    """The last 24 hours are this hour and the 23 before it."""

    at: Instant
    steps: tuple[StepNow, ...]
    """Journeys neither issued nor ended, by their furthest step."""
    refusals: tuple[RefusalNow, ...]
    """Most first."""
    policies: tuple[PolicyNow, ...]
    """The last 20, newest first."""
    hours: tuple[HourCount, ...]
    """Oldest first."""


def router() -> APIRouter:
    routes = APIRouter(prefix="/v1/staff", tags=["staff"])
    described: dict[str, Any] = {"openapi_extra": {"security": STAFF}}

    @routes.get(
        "/live",
        operation_id="view_live",
        summary="Journeys by step now; refusals, policies and hours of the last day.",
        response_model=Live,
        responses=problems(*WHO),
        **described,
    )
    async def view_live(request: Request) -> Response:
        edge = edge_of(request)
        await staff_of(request, *MAY["read_journeys"])
        counted, _ = await edge.ask(ViewLive(), Counted)
        return json_answer(_live(edge, counted))

    @routes.get(
        "/stream",
        operation_id="stream_facts",
        summary="Names of facts of all journeys as they happen, two a second at most (SSE): look again.",
        response_class=Response,
        responses={
            200: {
                "description": "Events `look`, `fact` (service, fact) and `end`.",
                "content": EVENT_STREAM,
            },
            **problems(*WHO),
        },
        **described,
    )
    async def stream_facts(request: Request) -> Response:
        await staff_of(request, *MAY["read_journeys"])
        return FactStream(edge_of(request))

    return routes


def _live(edge: Edge, counted: Counted) -> Live:
    return Live(
        at=counted.at,
        steps=tuple(StepNow(step=each.step, name=STEP_NAMES[each.step], count=each.count) for each in counted.steps),
        refusals=tuple(
            RefusalNow(
                code=each.code, title=KINDS[each.code].title if each.code in KINDS else each.code, count=each.count
            )
            for each in counted.refusals
        ),
        policies=tuple(
            PolicyNow(
                policy_no=each.policy_no,
                product=each.product,
                name=product_name(release_of(edge, each.release), each.product),
                issued_at=each.issued_at,
                premium_fen=each.premium_fen,
                channel_id=each.channel_id,
            )
            for each in counted.policies
        ),
        hours=counted.hours,
    )


def named(fact: StoredFact) -> bytes | None:
    """The fact's service and name, and nothing by which a journey could be told."""
    if event_of(fact) is None:
        return None
    _, service, name, _ = fact.type.split(".")
    return format_sse_event(event="fact", data_str=json.dumps({"service": service, "fact": name}))


async def events(edge: Edge, *, seconds: float) -> AsyncGenerator[bytes]:
    """The last fact of each moment. Ends after ``seconds``, or at once when the process stops."""
    clock = asyncio.get_running_loop().time
    ends = clock() + seconds
    latest: list[bytes] = []
    news = asyncio.Event()

    async def listen(facts: AsyncGenerator[StoredFact]) -> None:
        # Drained as it comes, so that a slow page holds nothing up.
        while True:
            try:
                event = named(await anext(facts))
            except Unhandleable:
                continue
            except StopAsyncIteration:
                return
            if event is not None:
                latest[:] = [event]
                news.set()

    async with edge.ground.bus.watch(subjects.JOURNEY.subjects[0]) as facts:
        yield format_sse_event(event="look", data_str="{}", retry=RETRY_MS)
        stop = asyncio.create_task(edge.stopping.wait())
        listening = asyncio.create_task(listen(facts))
        try:
            while (left := ends - clock()) > 0 and not stop.done():
                waiting = asyncio.create_task(news.wait())
                await asyncio.wait(
                    {waiting, stop}, timeout=min(left, KEEP_ALIVE_SECONDS), return_when=asyncio.FIRST_COMPLETED
                )
                waiting.cancel()
                if news.is_set():
                    # First a moment for whatever comes with it, and for those who count to have counted.
                    await asyncio.wait({stop}, timeout=min(left, PACE_SECONDS))
                    news.clear()
                    yield latest[0]
                elif not stop.done() and left > KEEP_ALIVE_SECONDS:
                    yield format_sse_event(comment="still here")
            yield END
        finally:
            for task in (stop, listening):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


class FactStream(StreamingResponse):
    """One open stream; counted while it lives, refused when there are too many."""

    media_type = "text/event-stream"

    def __init__(self, edge: Edge) -> None:
        if edge.streams[_OURS] >= STREAMS:
            raise Refuse("too_many_requests", retry_after=10)
        self._edge = edge
        super().__init__(
            ended(events(edge, seconds=edge.settings.gateway_stream_seconds)),
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._edge.streams[_OURS] += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._edge.streams[_OURS] -= 1
