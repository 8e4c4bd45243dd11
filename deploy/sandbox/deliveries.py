"""What a stand-in owes somebody else's server: persistent, repeated on a schedule until it is taken.

The schedule belongs to the party's protocol (WeChat Pay publishes its own), and an owed delivery
survives a restart; a retrying HTTP client gives neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field

import aiohttp

from deploy.sandbox.records import Document, Records

log = logging.getLogger(__name__)

TIMEOUT = aiohttp.ClientTimeout(total=5)
LOOK_AGAIN_SECONDS = 1.0
"""What is owed later is owed by the wall clock, and that may be set meanwhile."""


@dataclass(frozen=True)
class Outgoing:
    """One POST, signed for this very attempt."""

    url: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Deliveries:
    """Sends what `owe` recorded. `prepare` builds the attempt; None means that it is lost on the way."""

    kind: str
    records: Records
    schedule: Sequence[float]
    prepare: Callable[[Document], Sequence[Outgoing] | None]
    clock: Callable[[], float] = time.time
    taken_by: Container[int] = range(200, 300)
    """Statuses that count as taken."""
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _sending: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def owe(self, delivery_id: str, document: Document, delay: float = 0) -> None:
        """Records a delivery; call it in the transaction of what it reports."""
        entry = document | {"id": delivery_id, "attempts": 0, "due": self.clock() + delay}
        self.records.put(self.kind, delivery_id, entry, tag="owed")
        self._wake.set()

    def all(self) -> list[Document]:
        """Owed, taken and given up, oldest first."""
        return self.records.find(self.kind)

    async def run(self) -> None:
        """Sends until cancelled."""
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
            try:
                while True:
                    self._wake.clear()
                    await self._send_due(session)
            finally:
                for task in self._sending.values():
                    task.cancel()
                await asyncio.gather(*self._sending.values(), return_exceptions=True)

    async def _send_due(self, session: aiohttp.ClientSession) -> None:
        waiting = [d for d in self.records.find(self.kind, tag="owed") if d["id"] not in self._sending]
        now = self.clock()
        for entry in waiting:
            if entry["due"] <= now:
                task = asyncio.create_task(self._attempt(session, entry))
                self._sending[entry["id"]] = task
                task.add_done_callback(lambda _, sent=entry["id"]: self._sent(sent))
        later = [entry["due"] - now for entry in waiting if entry["due"] > now]
        with contextlib.suppress(TimeoutError):
            timeout = min(*later, LOOK_AGAIN_SECONDS) if later else None
            await asyncio.wait_for(self._wake.wait(), timeout)

    def _sent(self, delivery_id: str) -> None:
        self._sending.pop(delivery_id, None)
        self._wake.set()

    async def _attempt(self, session: aiohttp.ClientSession, entry: Document) -> None:
        taken = False
        answer = "lost on the way"
        try:
            outgoing = self.prepare(entry)
            for message in outgoing or ():
                async with session.post(
                    message.url, data=message.body, headers=message.headers, allow_redirects=False
                ) as response:
                    answer = str(response.status)
                    taken = taken or response.status in self.taken_by
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            answer = type(error).__name__
        except Exception:
            # A delivery that cannot even be built must not stop the others.
            log.exception("delivery could not be made", extra={"delivery": entry["id"]})
            answer = "could not be made"
        attempts = entry["attempts"] + 1
        entry |= {"attempts": attempts, "answer": answer}
        if taken or attempts > len(self.schedule):
            self.records.put(self.kind, entry["id"], entry, tag="taken" if taken else "given_up")
        else:
            entry["due"] = self.clock() + self.schedule[attempts - 1]
            self.records.put(self.kind, entry["id"], entry, tag="owed")
