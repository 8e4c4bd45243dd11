"""The store: saves with facts, alone and by 64 callers at once, over both backends.

What is saved is what a service saves of a journey: a state of some kilobytes, the answers it remembers, and one more
fact of 1 KB each time, until there are ``FACTS`` and the next journey begins. Every save is on disk when it is counted
(SQLite: WAL and ``synchronous=FULL``; MongoDB: majority and journal). Beside it stands how many times a second this
disk can be made to keep a page, since alone nobody is faster than that. The documents are read back afterwards.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import uvloop

from servicekit.runner import new_ulid, utc_now
from servicekit.store import Collection, Document, Store
from servicekit.store.mongodb import MongoStore
from servicekit.store.sqlite import SqliteStore
from tests.bench.bus import measured, stored
from tests.wire_server import wire_server

FACTS: Final = 20
"""Of one journey in one service; signing has about so many."""
AT_ONCE: Final = 64
PAGE: Final = 4096


@dataclass(frozen=True)
class Ordered:
    alone: int = 1000
    at_once: int = 10_000
    mongodb_alone: int = 200
    mongodb_at_once: int = 1000


def state() -> dict[str, Any]:
    """About 4 KB, nested like a service's."""
    documents = [
        {"document": f"document-{number}", "sha256": "0" * 64, "opened_at": utc_now().isoformat(), "confirmed": True}
        for number in range(20)
    ]
    return {"heard": {"proposal": 3, "identity": 7}, "documents": documents, "products": {"motor": {"fen": 95_000}}}


class Journey:
    """One aggregate that grows."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._state = state()
        self._data = measured()
        self.saves = 0
        self._begin()

    def _begin(self) -> None:
        self.document = Document(new_ulid())

    async def save(self) -> None:
        if len(self.document.facts) == FACTS:
            assert await self._collection.get(self.document.id) == self.document
            self._begin()
        at = len(self.document.facts) + 1
        reply = {"id": new_ulid(), "digest": "0" * 64, "answer": {"service": "bench", "sequence": at}}
        self.document = await self._collection.save(
            replace(
                self.document,
                # As a service does it: the state comes anew out of the fold every time.
                state={**self._state, "heard": {"bench": at}},
                facts=(*self.document.facts, stored(self._data, self.document.id, at)),
                replies=(*self.document.replies, reply)[-32:],
                due=utc_now(),
                fields={"proposal_no": self.document.id},
            )
        )
        self.saves += 1


async def saves(collection: Collection, times: int, at_once: int) -> dict[str, float]:
    """Saves a second, and milliseconds of this process's CPU for one."""
    numbers = iter(range(times))

    async def some() -> None:
        journey = Journey(collection)
        for _ in numbers:
            await journey.save()

    began, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(some() for _ in range(at_once)))
    took, cpu = time.perf_counter() - began, time.process_time() - used
    return {"per_second": times / took, "cpu_ms": 1000 * cpu / times}


async def others(collection: Collection, times: int) -> dict[str, float]:
    """Milliseconds of the other operations, one after the other, on a journey with all its facts."""
    journey = Journey(collection)
    for _ in range(FACTS):
        await journey.save()
    document = journey.document

    async def timed(one: Callable[[int], Any], times: int) -> float:
        began = time.perf_counter()
        for number in range(times):
            await one(number)
        return 1000 * (time.perf_counter() - began) / times

    async def first_read(_: int) -> None:
        assert await collection.get(document.id) is not document

    async def again(_: int) -> None:
        assert await collection.get(document.id, document) is document

    async def mark(number: int) -> None:
        await collection.mark_published(document.id, number + 1)

    async def due(_: int) -> None:
        await collection.find(up_to=("due", utc_now()), order="due", limit=20)

    return {
        "get_ms": await timed(first_read, times),
        "get_unchanged_ms": await timed(again, times),
        "mark_published_ms": await timed(mark, FACTS),
        "find_20_due_ms": await timed(due, max(1, times // 4)),
    }


def syncs_per_second(folder: Path, times: int = 200) -> float:
    """How often this disk can be made to keep a page of a file that grows."""
    descriptor = os.open(folder / "page", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        began = time.perf_counter()
        for _ in range(times):
            os.write(descriptor, b"\0" * PAGE)
            os.fdatasync(descriptor)
        return times / (time.perf_counter() - began)
    finally:
        os.close(descriptor)


@asynccontextmanager
async def opened(store: Store) -> AsyncIterator[Collection]:
    try:
        yield store.collection("journeys", ("proposal_no",))
    finally:
        await store.close()


async def _backend(store: Store, alone: int, at_once: int) -> dict[str, Any]:
    async with opened(store) as collection:
        return {
            "alone": await saves(collection, alone, 1),
            f"{AT_ONCE} at once": await saves(collection, at_once, AT_ONCE),
            **await others(collection, min(alone, 400)),
        }


async def measured_both(ordered: Ordered, folder: Path) -> dict[str, Any]:
    """What comes back is what goes into the JSON."""
    result: dict[str, Any] = {"facts": FACTS, "disk_syncs_per_second": syncs_per_second(folder)}
    result["sqlite"] = await _backend(SqliteStore(folder / "bench.sqlite"), ordered.alone, ordered.at_once)
    with wire_server(folder / "mongodb") as uri:
        database = f"bench_{os.getpid()}"
        result["mongodb"] = await _backend(MongoStore(uri, database), ordered.mongodb_alone, ordered.mongodb_at_once)
        result["mongodb_is"] = "MONGODB_URI" if "MONGODB_URI" in os.environ else "the wire server of the local run"
    return result


def run(ordered: Ordered, folder: Path) -> dict[str, Any]:
    """On the loop that services run on."""
    return uvloop.run(measured_both(ordered, folder))
