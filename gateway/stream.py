"""The journey's event stream: names of facts as they pass, so that the page knows when to look again (SSE).

Nothing personal, nothing to act upon: the page asks for the journey's view, which says what is so.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Final

from fastapi.sse import format_sse_event
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from contracts.problems import Refuse
from gateway.edge import Edge
from gateway.limits import STREAMS_PER_JOURNEY
from servicekit.bus import BusUnavailable, Unhandleable
from servicekit.store import StoredFact

KEEP_ALIVE_SECONDS: Final = 15.0
RETRY_MS: Final = 2000
END: Final = format_sse_event(event="end", data_str="{}", retry=RETRY_MS)
_TYPE: Final = re.compile(r"toubao\.([a-z]+)\.([a-z_]+)\.v[0-9]+")


def event_of(fact: StoredFact) -> bytes | None:
    """Names and number only."""
    found = _TYPE.fullmatch(fact.type)
    if found is None:
        return None
    data = {"service": found[1], "fact": found[2], "sequence": fact.sequence}
    return format_sse_event(event="fact", data_str=json.dumps(data), id=f"{found[1]}={fact.sequence}")


async def ended(events: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """The same events; without a bus they end in good order, and the page comes again."""
    try:
        async with aclosing(events):
            async for event in events:
                yield event
    except BusUnavailable:
        yield END


async def events(edge: Edge, journey_id: str, *, seconds: float) -> AsyncGenerator[bytes]:
    """Ends after ``seconds``, or at once when the process stops."""
    ends = asyncio.get_running_loop().time() + seconds
    async with edge.ground.bus.watch(f"journey.{journey_id}.>") as facts:
        # Whatever passed before the watch began is in the view: look once now.
        yield format_sse_event(event="look", data_str="{}", retry=RETRY_MS)
        stop = asyncio.create_task(edge.stopping.wait())
        coming: asyncio.Task[StoredFact] | None = None
        try:
            while not edge.stopping.is_set():
                left = ends - asyncio.get_running_loop().time()
                if left <= 0:
                    break
                if coming is None:
                    coming = asyncio.create_task(anext(facts))
                done, _ = await asyncio.wait(
                    {coming, stop}, timeout=min(left, KEEP_ALIVE_SECONDS), return_when=asyncio.FIRST_COMPLETED
                )
                if coming in done:
                    task, coming = coming, None
                    try:
                        event = event_of(task.result())
                    except Unhandleable:
                        continue
                    except StopAsyncIteration:
                        break
                    if event is not None:
                        yield event
                elif not done and left > KEEP_ALIVE_SECONDS:
                    yield format_sse_event(comment="still here")
            yield END
        finally:
            for task in (stop, coming):
                if task is not None:
                    task.cancel()
                    with suppress(asyncio.CancelledError, StopAsyncIteration, Unhandleable):
                        await task


class Stream(StreamingResponse):
    """One open stream; counted while it lives, refused when a journey has too many."""

    media_type = "text/event-stream"

    def __init__(self, edge: Edge, journey_id: str) -> None:
        if edge.streams[journey_id] >= STREAMS_PER_JOURNEY:
            raise Refuse("too_many_requests", retry_after=10)
        self._edge = edge
        self._journey_id = journey_id
        super().__init__(
            ended(events(edge, journey_id, seconds=edge.settings.gateway_stream_seconds)),
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._edge.streams[self._journey_id] += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._edge.streams[self._journey_id] -= 1
            if self._edge.streams[self._journey_id] <= 0:
                del self._edge.streams[self._journey_id]
