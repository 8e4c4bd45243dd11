"""Named places at which a test has this process killed with ``kill -9``, to see what is left of what it was doing.

Dead unless ``TOUBAO_CRASH_POINTS_DIR`` names a folder, which only a sandboxed process may be told. In it

- ``armed/<point>`` has the first process that passes the point remove the file and die there and then;
- ``passed``, where there is such a file, gets a line with the name of every point passed, so that a test learns from a
  journey which points there are.

A point is named ``<kind>.<process>.<handler>[.<what>]``. The handler is the verb answered, the subject heard, the route
of the gateway, or ``work`` and ``sweep`` for what a process does by itself; what it starts keeps its name. What was
saved is told by collection and new facts, what was published by its subject, who was called by party and call:
``after_outside_call.payment.place_order.wechat-order``.
"""

from __future__ import annotations

import logging
import os
import re
import signal
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final, Literal, cast

from servicekit.store.document import Collection, Document, Store

log = logging.getLogger(__name__)

Kind = Literal["after_save", "after_publish", "before_ack", "after_outside_call"]

Handler = str | Callable[[], str]

ARMED: Final = "armed"
PASSED: Final = "passed"
LONGEST_NAME: Final = 200
"""A point's name is a file's name."""

_UNPLAIN: Final = re.compile(r"[^A-Za-z0-9_+]+")
_NOWHERE: Final = nullcontext()
_handler: ContextVar[Handler] = ContextVar("handler", default="itself")


class _Watch:
    """What this process looks for at each point."""

    def __init__(self, folder: Path, process: str) -> None:
        self._process = process
        self._armed = folder / ARMED
        self._passed = folder / PASSED

    def point(self, kind: Kind, what: str) -> None:
        handler = _handler.get()
        parts = (kind, self._process, handler if isinstance(handler, str) else handler(), what)
        name = ".".join(_UNPLAIN.sub("-", part).strip("-") for part in parts if part)[:LONGEST_NAME]
        if self._passed.exists():
            # One write a line: with O_APPEND lines of several processes do not mix.
            with self._passed.open("ab", buffering=0) as file:
                file.write(f"{name}\n".encode("ascii"))
        try:
            # Whoever removes it is the one that dies, once.
            (self._armed / name).unlink()
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


_watch: _Watch | None = None


def look(folder: Path | None, process: str) -> None:
    """From now on points are looked for in ``folder``; None: no longer."""
    global _watch  # noqa: PLW0603 - one process, one answer, as with logs
    _watch = None if folder is None else _Watch(folder, process)
    if folder is not None:
        log.warning("crash points are looked for: this process may be killed by a test")


def passed(kind: Kind, what: str = "") -> None:
    """A point. What comes before it has happened; if it is armed, nothing that comes after it will."""
    if _watch is not None:
        _watch.point(kind, what)


def within(handler: Handler) -> AbstractContextManager[None]:
    """Around a handler: the points passed inside, and in tasks begun inside, bear its name."""
    return _NOWHERE if _watch is None else _named(handler)


@contextmanager
def _named(handler: Handler) -> Generator[None]:
    token = _handler.set(handler)
    try:
        yield
    finally:
        _handler.reset(token)


def watched(store: Store) -> Store:
    """The store, with a point after everything it wrote; itself where nobody looks."""
    return store if _watch is None else cast("Store", _WatchedStore(store))


class _WatchedStore:
    """Whatever only reads goes straight to the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collection(self, name: str, fields: Iterable[str] = ()) -> Collection:
        return cast("Collection", _WatchedCollection(self._store.collection(name, fields), name))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class _WatchedCollection:
    """Tells new facts of a document from those it had when it was read."""

    def __init__(self, collection: Collection, name: str) -> None:
        self._collection = collection
        self._name = name
        self._facts: dict[str, int] = {}

    async def get(self, id: str, known: Document | None = None) -> Document | None:
        document = await self._collection.get(id, known)
        self._facts[id] = 0 if document is None else len(document.facts)
        return document

    async def save(self, document: Document) -> Document:
        saved = await self._collection.save(document)
        new = saved.facts[self._facts.get(saved.id, 0) :]
        self._facts[saved.id] = len(saved.facts)
        # "toubao.<service>.<fact>.v1"
        passed("after_save", " ".join((self._name, "+".join(fact.type.split(".")[2] for fact in new))))
        return saved

    async def put_many(self, documents: Iterable[Document]) -> None:
        await self._collection.put_many(documents)
        passed("after_save", self._name)

    async def delete(self, id: str) -> None:
        await self._collection.delete(id)
        passed("after_save", f"{self._name} deleted")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection, name)
