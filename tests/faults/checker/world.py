"""Everything a run left behind, read once: stores, blobs, releases, the stand-ins' ledger, packs, and what the storm
itself saw of its customers.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tests.faults.checker.sealed import Vault
from tests.faults.checker.stores import RECORDING, Document, Fact, Json, Stores, from_mongodb, from_sqlite

WITNESS = "witness.json"
"""What the storm saw of its customers (tests/faults/storm.py), in the run's folder."""
PACKS = "packs"
"""Evidence packs, likewise."""


@dataclass(frozen=True)
class Ledger:
    """What the outside parties remember, by kind and id."""

    records: dict[str, dict[str, Json]]

    def of(self, kind: str) -> dict[str, Json]:
        return self.records.get(kind, {})


def ledger_of(path: Path) -> Ledger:
    """The stand-ins' one SQLite file."""
    records: dict[str, dict[str, Json]] = {}
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        for kind, of, document in db.execute("SELECT kind, id, document FROM records ORDER BY seq"):
            records.setdefault(kind, {})[of] = json.loads(document)
    return Ledger(records)


@dataclass(frozen=True)
class World:
    """One run. ``witness`` is empty where nobody watched."""

    folder: Path
    stores: Stores
    ledger: Ledger
    witness: Json = field(default_factory=dict)
    packs: tuple[Path, ...] = ()

    @cached_property
    def journeys(self) -> list[Journey]:
        return [Journey(each, self) for each in self.stores.journeys()]

    @cached_property
    def vault(self) -> Vault:
        return Vault(self.folder / "vault", self.folder / "master.key", self.folder / "blobs")

    @cached_property
    def customers(self) -> dict[str, Json]:
        """What the storm knows of each customer, by journey."""
        return {each["journey_id"]: each for each in self.witness.get("customers", ()) if each["journey_id"]}

    @cached_property
    def entries(self) -> dict[str, list[Json]]:
        """What evidence keeps of the chains, by journey."""
        found: dict[str, list[Json]] = {}
        for document in self.stores.of("evidence", "entries").values():
            found.setdefault(document.state["journey_id"], []).append(document.state)
        return found

    def blob(self, sha256: str) -> bytes | None:
        """The bytes under this hash, whatever they are; none where nothing lies there."""
        path = self.folder / "blobs" / sha256[:2] / sha256[2:4] / sha256
        return path.read_bytes() if path.is_file() else None

    def release(self, sha256: str) -> Json | None:
        """The manifest of a release, if its bytes have that hash."""
        if sha256 not in self._releases:
            path = self.folder / "releases" / sha256 / "manifest.json"
            whole = path.read_bytes() if path.is_file() else b""
            right = hashlib.sha256(whole).hexdigest() == sha256
            self._releases[sha256] = json.loads(whole) if right else None
        return self._releases[sha256]

    @cached_property
    def _releases(self) -> dict[str, Json | None]:
        return {}

    def published(self, release: str, sha256: str) -> bool:
        """Whether the release has a file of this hash, unaltered."""
        key = (release, sha256)
        if key not in self._published:
            path = self.folder / "releases" / release / "files" / sha256
            self._published[key] = path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256
        return self._published[key]

    @cached_property
    def _published(self) -> dict[tuple[str, str], bool]:
        return {}


def read(folder: Path, mongodb: str | None = None) -> World:
    """What lies in the folder of a local run, with what a storm left beside it. ``mongodb``: where the stores are if
    they are no files.
    """
    witness = folder / WITNESS
    return World(
        folder=folder,
        stores=from_sqlite(folder / "data") if mongodb is None else from_mongodb(mongodb),
        ledger=ledger_of(folder / "sandbox" / "parties" / "records.sqlite3"),
        witness=json.loads(witness.read_text("utf-8")) if witness.is_file() else {},
        packs=tuple(sorted((folder / PACKS).glob("*.zip"))),
    )


@dataclass(frozen=True)
class Journey:
    """One journey as its eight services recorded it."""

    id: str
    world: World

    def facts(self, name: str) -> tuple[Fact, ...]:
        """``service.fact``, in the service's own order."""
        return self._by_name.get(name, ())

    def first(self, name: str) -> Fact | None:
        found = self.facts(name)
        return found[0] if found else None

    def last(self, name: str) -> Fact | None:
        found = self.facts(name)
        return found[-1] if found else None

    @cached_property
    def all(self) -> tuple[Fact, ...]:
        return tuple(fact for service in RECORDING for fact in self.world.stores.facts(service, self.id))

    @cached_property
    def _by_name(self) -> dict[str, tuple[Fact, ...]]:
        found: dict[str, tuple[Fact, ...]] = {}
        for fact in self.all:
            found[fact.name] = (*found.get(fact.name, ()), fact)
        return found

    @cached_property
    def opened(self) -> Json:
        """The data of ``journey_opened``; empty where there is none."""
        fact = self.first("proposal.journey_opened")
        return {} if fact is None else fact.data

    @cached_property
    def terms(self) -> dict[str, Json]:
        """Terms of each product offered."""
        return {product["product"]: product for product in self.opened.get("products", ())}

    @cached_property
    def release(self) -> Json:
        """The manifest of the journey's release; empty if it cannot be had."""
        return self.world.release(self.opened.get("release", "")) or {}

    @cached_property
    def customer(self) -> Json | None:
        return self.world.customers.get(self.id)

    @property
    def order(self) -> Fact | None:
        """The order that counts: the paid one, or the last placed."""
        paid = self.first("payment.payment_confirmed")
        orders = self.facts("payment.order_placed")
        if paid is not None:
            return next((o for o in orders if o.data["order_no"] == paid.data["order_no"]), None)
        return orders[-1] if orders else None

    @property
    def signed(self) -> Fact | None:
        return self.last("signing.forms_signed")

    def document(self, service: str) -> Document | None:
        return self.world.stores.of(service, "journeys").get(self.id)

    def open(self, committed: Json) -> bytes | None:
        """What a commitment of this journey stands for; none where it cannot be opened to that."""
        return self.world.vault.open(self.id, committed["commitment"], committed["blob"])

    def within(self, heads: dict[str, int], fact: Fact) -> bool:
        """Whether a fact was held by whoever attested these heads."""
        return fact.sequence <= heads.get(fact.service, 0)
