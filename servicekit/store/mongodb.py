"""The production store: MongoDB, one database a service. The only module that imports the driver.

Every write is acknowledged by the majority and its journal; every read is of the majority's data on the
primary. Only plain operations (insert, replace, ``$set`` and ``$inc`` of numbers, equality and ranges on
top-level fields) are used: they mean the same on every server that speaks the protocol.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection, AsyncIOMotorDatabase
from pydantic_core import from_json
from pymongo import ReplaceOne
from pymongo.errors import BulkWriteError, DuplicateKeyError, PyMongoError

from servicekit.store.document import (
    BUILT_IN,
    Collection,
    Cursor,
    Document,
    FactsLost,
    Query,
    Scalar,
    StoredFact,
    StoreUnavailable,
    VersionConflict,
    check_name,
    indexed,
    query,
    record_of,
)

Raw = dict[str, Any]

DEADLINE_MS = 5000
"""How long to look for a server that takes writes, and to wait for one answer."""

_DUPLICATE = 11000
_FACT_FIELDS = tuple(each.name for each in dataclass_fields(StoredFact))
_OPERATORS = {"=": "$eq", ">": "$gt", "<": "$lt", "<=": "$lte"}
_OWN = frozenset((*BUILT_IN, "_id", "recorded", "state", "facts", "replies", "refusals"))


@asynccontextmanager
async def _answered() -> AsyncGenerator[None]:
    """The driver's trouble as the store's own; its text may quote a document and is left out."""
    try:
        yield
    except PyMongoError as error:
        raise StoreUnavailable(type(error).__name__) from error


class MongoStore:
    """The database ``database`` at ``uri``. Connects when first used."""

    def __init__(self, uri: str, database: str) -> None:
        self._client: AsyncIOMotorClient[Raw] = AsyncIOMotorClient(
            uri,
            w="majority",
            journal=True,
            wTimeoutMS=DEADLINE_MS,
            readConcernLevel="majority",
            readPreference="primary",
            serverSelectionTimeoutMS=DEADLINE_MS,
            connectTimeoutMS=DEADLINE_MS,
            socketTimeoutMS=2 * DEADLINE_MS,
        )
        self._database: AsyncIOMotorDatabase[Raw] = self._client[database]
        self._closed = False

    def collection(self, name: str, fields: Iterable[str] = ()) -> Collection:
        return MongoCollection(self, self._database[check_name(name)], indexed(fields))

    async def ping(self) -> None:
        async with self.asked():
            await self._database.command("ping")

    async def close(self) -> None:
        self._closed = True
        self._client.close()

    @asynccontextmanager
    async def asked(self) -> AsyncGenerator[None]:
        if self._closed:  # a closed client would quietly connect again
            raise StoreUnavailable("the store is closed")
        async with _answered():
            yield


class MongoCollection:
    def __init__(self, store: MongoStore, raw: "AsyncIOMotorCollection[Raw]", names: tuple[str, ...]) -> None:
        self._store = store
        self._raw = raw
        self._names = names
        self._indexed = False
        self._indexing = asyncio.Lock()

    @asynccontextmanager
    async def _ready(self) -> AsyncGenerator["AsyncIOMotorCollection[Raw]"]:
        async with self._store.asked():
            if not self._indexed:
                async with self._indexing:
                    if not self._indexed:
                        for name in self._names:
                            await self._raw.create_index(name)
                        self._indexed = True
            yield self._raw

    async def get(self, id: str, known: Document | None = None) -> Document | None:
        async with self._ready() as raw:
            if known is not None:
                kept = await raw.find_one({"_id": id}, {"version": 1})
                if kept is not None and kept["version"] == known.version:
                    return known
            found = await raw.find_one({"_id": id})
        return None if found is None else _document(found)

    async def save(self, document: Document) -> Document:
        new = _raw(document)
        async with self._ready() as raw:
            if document.version == 0:
                try:
                    await raw.insert_one(new)
                except DuplicateKeyError:
                    raise VersionConflict("the document exists") from None
                return replace(document, version=document.version + 1)
            while True:
                done = await raw.replace_one(
                    {
                        "_id": document.id,
                        "version": document.version,
                        "recorded": {"$lte": new["recorded"]},
                        "published": {"$lte": new["published"]},
                    },
                    new,
                )
                if done.matched_count:
                    break
                found = await raw.find_one({"_id": document.id}, {"version": 1, "recorded": 1, "published": 1})
                if found is None or found["version"] != document.version:
                    raise VersionConflict("another save came first")
                if found["recorded"] > new["recorded"]:
                    raise FactsLost("the save has fewer facts than the record")
                # A mark_published came in between: take over how far the bus is, and save again.
                new["published"] = max(int(found["published"]), new["published"])
                new["pending"] = new["recorded"] - new["published"]
        return replace(document, version=document.version + 1, published=new["published"])

    async def put_many(self, documents: Iterable[Document]) -> None:
        # The last of one id wins, as if they had come one by one.
        new = {document.id: _raw(document) for document in documents}
        if not new:
            return
        async with self._ready() as raw:
            try:
                await raw.insert_many(new.values(), ordered=False)
                return
            except BulkWriteError as error:
                failed = cast(list[Raw], (error.details or {}).get("writeErrors", []))
                if not failed or any(each.get("code") != _DUPLICATE for each in failed):
                    raise
                there = list(new.values())
                again = [there[int(each["index"])] for each in failed]
            await raw.bulk_write([ReplaceOne({"_id": each["_id"]}, each) for each in again], ordered=False)  # pyright: ignore[reportUnknownMemberType]

    async def mark_published(self, id: str, published: int) -> None:
        async with self._ready() as raw:
            while True:
                found = await raw.find_one({"_id": id}, {"published": 1, "pending": 1})
                if found is None:
                    return
                was, pending = int(found["published"]), int(found["pending"])
                step = min(published - was, pending)
                if step <= 0:
                    return
                # Both numbers are named, so that a save in between makes this miss and look again.
                done = await raw.update_one(
                    {"_id": id, "published": was, "pending": pending},
                    {"$set": {"published": was + step, "pending": pending - step}},
                )
                if done.matched_count:
                    return

    async def find(
        self,
        *,
        equal: Mapping[str, Scalar] | None = None,
        above: tuple[str, Scalar] | None = None,
        below: tuple[str, Scalar] | None = None,
        up_to: tuple[str, Scalar] | None = None,
        order: str | None = None,
        descending: bool = False,
        limit: int = 100,
        after: Cursor | None = None,
    ) -> list[Document]:
        asked = query(self._names, equal, above, below, up_to, order, descending, limit, after)
        direction = -1 if descending else 1
        ordering = [(_field(asked.order), direction)] if asked.order else []
        async with self._ready() as raw:
            found = raw.find(_filter(asked)).sort([*ordering, ("_id", direction)]).limit(limit)
            return [_document(each) for each in await found.to_list(limit)]

    async def count(self, equal: Mapping[str, Scalar] | None = None) -> int:
        async with self._ready() as raw:
            return await raw.count_documents(_filter(query(self._names, equal)))

    async def delete(self, id: str) -> None:
        async with self._ready() as raw:
            await raw.delete_one({"_id": id})


def _field(name: str) -> str:
    return "_id" if name == "id" else name


def _filter(asked: Query) -> Raw:
    parts: list[Raw] = [{_field(name): {_OPERATORS[operator]: value}} for name, operator, value in asked.conditions]
    if asked.order:
        parts.append({_field(asked.order): {"$exists": True}})
    if asked.after is not None:
        beyond = "$lt" if asked.descending else "$gt"
        next_id: Raw = {"_id": {beyond: asked.after.id}}
        if asked.order:
            name = _field(asked.order)
            same: Raw = {name: asked.after.value, **next_id}
            parts.append({"$or": [{name: {beyond: asked.after.value}}, same]})
        else:
            parts.append(next_id)
    return {"$and": parts} if parts else {}


def _raw(document: Document) -> Raw:
    record = record_of(document)
    raw: Raw = {
        "_id": record.id,
        "version": record.version,
        "recorded": record.recorded,
        "published": record.published,
        "pending": record.recorded - record.published,
        "state": record.state,
        "facts": [{name: getattr(fact, name) for name in _FACT_FIELDS} for fact in document.facts],
        "replies": record.replies,
        "refusals": record.refusals,
        **record.fields,
    }
    if record.due is not None:
        raw["due"] = record.due
    return raw


def _document(raw: Raw) -> Document:
    due = raw.get("due")
    return Document(
        id=raw["_id"],
        version=raw["version"],
        state=from_json(raw["state"]),
        facts=tuple(StoredFact(**fact) for fact in raw["facts"]),
        published=raw["published"],
        replies=tuple(from_json(raw["replies"])),
        refusals=from_json(raw["refusals"]),
        due=None if due is None else datetime.fromisoformat(due),
        fields={name: value for name, value in raw.items() if name not in _OWN},
    )
