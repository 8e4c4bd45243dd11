"""What the services left behind, as it lies on disk: every document of every store, and the facts in it.

Both backends give the same: SQLite's files are opened read-only by the standard library, MongoDB is asked by pymongo.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

Json = dict[str, Any]

RECORDING = ("proposal", "identity", "disclosure", "signing", "payment", "issuance", "evidence", "notify")
"""The services whose facts are a journey's evidence."""
AFTERCARE = ("nps", "appdownload")


@dataclass(frozen=True)
class Fact:
    """One fact as its service keeps it. ``raw`` are the bytes that were published and hashed."""

    id: str
    source: str
    type: str
    subject: str
    time: str
    sequence: int
    dataschema: str
    raw: str

    @property
    def service(self) -> str:
        return self.source.rpartition("/")[2]

    @property
    def name(self) -> str:
        """Service and name as in the bus's subjects: ``payment.order_placed``."""
        _, service, name, _ = self.type.split(".")
        return f"{service}.{name}"

    @cached_property
    def data(self) -> Json:
        return json.loads(self.raw)

    @cached_property
    def at(self) -> datetime:
        return moment(self.data["at"])

    @property
    def attempt(self) -> int | None:
        """The device session the act was made in; none for what no customer did."""
        proof = self.data.get("proof")
        return None if proof is None else proof["attempt"]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@dataclass(frozen=True)
class Document:
    """One document of a collection. ``pending`` is how many of its facts the bus has not got."""

    id: str
    pending: int
    state: Json
    facts: tuple[Fact, ...]
    fields: Json


Collections = dict[str, dict[str, Document]]
"""By name, then by id."""


@dataclass(frozen=True)
class Stores:
    """By service."""

    services: dict[str, Collections] = field(default_factory=dict)

    def of(self, service: str, collection: str) -> dict[str, Document]:
        return self.services.get(service, {}).get(collection, {})

    def journeys(self) -> list[str]:
        """The ids of every journey any service holds a document of, oldest first."""
        return sorted({each for service in RECORDING for each in self.of(service, "journeys")})

    def facts(self, service: str, journey_id: str) -> tuple[Fact, ...]:
        document = self.of(service, "journeys").get(journey_id)
        return () if document is None else document.facts


def from_sqlite(folder: Path) -> Stores:
    """The files ``<service>.sqlite`` of a folder."""
    return Stores({path.stem: dict(_collections(path)) for path in sorted(folder.glob("*.sqlite"))})


def _collections(path: Path) -> Iterator[tuple[str, dict[str, Document]]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            rows = db.execute(f'SELECT id, pending, state, facts, fields FROM "{name}"')
            yield (
                name,
                {
                    of: Document(of, pending, json.loads(state), _listed(json.loads(facts)), json.loads(fields))
                    for of, pending, state, facts, fields in rows
                },
            )


def _listed(facts: list[list[Any]]) -> tuple[Fact, ...]:
    return tuple(Fact(*each[:8]) for each in facts)


def from_mongodb(uri: str) -> Stores:
    """The databases ``toubao_<service>`` of a server."""
    from pymongo import MongoClient

    own = ("_id", "version", "recorded", "published", "pending", "state", "facts", "replies", "refusals")
    services: dict[str, Collections] = {}
    with MongoClient(uri, serverSelectionTimeoutMS=10_000) as client:
        for database in client.list_database_names():
            if not database.startswith("toubao_"):
                continue
            collections: Collections = {}
            for name in client[database].list_collection_names():
                collections[name] = {
                    raw["_id"]: Document(
                        raw["_id"],
                        raw["pending"],
                        json.loads(raw["state"]),
                        tuple(_named(fact) for fact in raw["facts"]),
                        {key: value for key, value in raw.items() if key not in own},
                    )
                    for raw in client[database][name].find()
                }
            services[database.removeprefix("toubao_")] = collections
    return Stores(services)


def _named(fact: Json) -> Fact:
    return Fact(
        fact["id"], fact["source"], fact["type"], fact["subject"], fact["time"], fact["sequence"],
        fact["dataschema"], fact["data"],
    )  # fmt: skip
