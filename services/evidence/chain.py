"""The chain of one journey (docs/evidence.md). Pure: bytes in, hashes out.

    leaf_i = SHA-256(canonical JSON of the CloudEvents attributes ‖ 0x0A ‖ the fact's own bytes)
    link_0 = SHA-256("toubao-chain-v1" ‖ journey id)
    link_i = SHA-256(link_{i-1} ‖ leaf_i)             a fact of the whole journey, or of one product
    link_i = SHA-256(link_{i-1} ‖ leaf_i ‖ views_i)   a fact that speaks of several products

A pack of one policy must show nothing of another's, yet some facts speak of all products at once (what was
offered, signed, ordered, paid). For each of those the chain also binds, from the moment it is heard, one *view*
per product: the fact without the other products. A view is hashed with random bytes of its own, so that the views
not shown cannot be guessed. ``views_i`` is the SHA-256 of the views' hashes in the order of their keys.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Final, cast

from pydantic import Field

from contracts.values import Contract, JourneyId, Sha256, canonical_json, sha256_hex
from servicekit.store import StoredFact

BEGINNING: Final = b"toubao-chain-v1"
SALT_BYTES: Final = 16
EVERY_PRODUCT: Final = "*"
"""Key of the one view of a fact that names a sum over all products and no product."""
SUMS: Final = ("total_fen", "fen")
"""Sums over the whole purchase: beside one product's premium they would tell the others'."""

Salt = Callable[[], bytes]


class Damaged(Exception):
    """What is kept is not what was heard. ``index`` is the first fact that does not fit, from 1."""

    def __init__(self, index: int) -> None:
        super().__init__(f"fact {index} of the chain does not fit")
        self.index = index


class Entry(Contract):
    """One fact as heard, its place in the chain, and the hash it leads to."""

    journey_id: JourneyId
    index: Annotated[int, Field(ge=1)]
    id: str
    source: str
    type: str
    time: str
    sequence: Annotated[int, Field(ge=1)]
    dataschema: str
    data: str
    leaf: Sha256
    salts: dict[str, str] = {}
    """For a fact of several products: product → random bytes of its view, hex."""
    previous: Sha256
    link: Sha256

    @property
    def service(self) -> str:
        return self.source.rpartition("/")[2]

    def attributes(self) -> dict[str, str | int]:
        """The CloudEvents attributes the leaf covers; ``traceparent`` is not among them."""
        return {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "subject": self.journey_id,
            "time": self.time,
            "sequence": self.sequence,
            "dataschema": self.dataschema,
        }

    def content(self) -> dict[str, Any]:
        """The fact's data, read."""
        return cast("dict[str, Any]", json.loads(self.data))

    def views(self) -> dict[str, str]:
        """Hash of each view, by product in order; empty for a fact that needs none."""
        return {key: sha256_hex(bytes.fromhex(salt) + self.view(key)) for key, salt in sorted(self.salts.items())}

    def view(self, product: str) -> bytes:
        """What this fact says of one product: the bytes that are hashed."""
        return canonical_json(
            {"attributes": self.attributes(), "product": product, "data": view_of(self.content(), product)}
        )


def beginning(journey_id: str) -> str:
    """link_0, hex."""
    return sha256_hex(BEGINNING + journey_id.encode())


def extend(journey_id: str, head: str | None, count: int, facts: Iterable[StoredFact], salt: Salt) -> list[Entry]:
    """The entries of ``facts`` after a chain of ``count`` entries that ends at ``head``."""
    previous = head or beginning(journey_id)
    entries: list[Entry] = []
    for index, fact in enumerate(facts, count + 1):
        entry = Entry(
            journey_id=journey_id,
            index=index,
            id=fact.id,
            source=fact.source,
            type=fact.type,
            time=fact.time,
            sequence=fact.sequence,
            dataschema=fact.dataschema,
            data=fact.data,
            leaf="0" * 64,
            salts={key: salt().hex() for key in view_keys(json.loads(fact.data))},
            previous=previous,
            link="0" * 64,
        )
        leaf = leaf_of(entry)
        link = link_of(previous, leaf, entry.views().values())
        entries.append(entry.model_copy(update={"leaf": leaf, "link": link}))
        previous = link
    return entries


def leaf_of(entry: Entry) -> str:
    return sha256_hex(canonical_json(entry.attributes()) + b"\n" + entry.data.encode())


def link_of(previous: str, leaf: str, views: Iterable[str] = ()) -> str:
    hashes = [bytes.fromhex(view) for view in views]
    root = hashlib.sha256(b"".join(hashes)).digest() if hashes else b""
    return sha256_hex(bytes.fromhex(previous) + bytes.fromhex(leaf) + root)


def whole(journey_id: str, kept: Sequence[Entry], head: str | None, count: int) -> list[Entry]:
    """The chain that ends at ``head``, from entries as kept, each hash computed again.

    ``kept`` may hold strays of a writer that lost its race; they lead nowhere. Raises ``Damaged``.
    """
    by_link = {(entry.index, entry.link): entry for entry in kept}
    chain: list[Entry] = []
    link = head or beginning(journey_id)
    for index in range(count, 0, -1):
        entry = by_link.get((index, link))
        if entry is None or entry.journey_id != journey_id:
            raise Damaged(index)
        chain.append(entry)
        link = entry.previous
    chain.reverse()
    previous, sequences = beginning(journey_id), dict[str, int]()
    for entry in chain:
        in_order = sequences.get(entry.source, 0) + 1 == entry.sequence
        try:
            fits = entry.leaf == leaf_of(entry) and entry.link == link_of(previous, entry.leaf, entry.views().values())
        except ValueError:
            fits = False
        if not (in_order and fits and entry.previous == previous):
            raise Damaged(entry.index)
        sequences[entry.source] = entry.sequence
        previous = entry.link
    return chain


# -- what a fact says of one product ------------------------------------------------------------------------------


def products_in(value: object) -> frozenset[str]:
    """Every product a fact's data speaks of."""
    found: set[str] = set()
    if isinstance(value, dict):
        for key, member in cast("dict[str, object]", value).items():
            if key == "product" and isinstance(member, str):
                found.add(member)
            elif key == "locks" and isinstance(member, dict):
                found |= set(cast("dict[str, object]", member))
            elif key == "products" and isinstance(member, list):
                names = cast("list[object]", member)
                found |= {name for name in names if isinstance(name, str)} | products_in(names)
            else:
                found |= products_in(member)
    elif isinstance(value, list):
        for member in cast("list[object]", value):
            found |= products_in(member)
    return frozenset(found)


def view_keys(data: dict[str, Any]) -> tuple[str, ...]:
    """The views a fact needs: one a product where it speaks of several, one in all where it names a sum over the
    purchase and no product, else none.
    """
    products = products_in(data)
    if len(products) > 1:
        return tuple(sorted(products))
    return (EVERY_PRODUCT,) if not products and any(name in data for name in SUMS) else ()


def view_of(data: dict[str, Any], product: str) -> dict[str, Any]:
    """The data without sums over the purchase and without every part that belongs to another product.

    Of a fact that is another product's as a whole nothing is left.
    """
    if _of_another(data, product):
        return {}
    return {key: value for key, value in _only(data, product).items() if key not in SUMS}


def _only(value: Any, product: str) -> Any:
    if isinstance(value, list):
        members = cast("list[Any]", value)
        return [_only(member, product) for member in members if not _of_another(member, product)]
    if not isinstance(value, dict):
        return value
    kept: dict[str, Any] = {}
    members_of = cast("dict[str, Any]", value)
    for key, member in members_of.items():
        if key == "locks" and isinstance(member, dict):
            kept[key] = {p: lock for p, lock in cast("dict[str, Any]", member).items() if p == product}
        elif key in {"products", "policies"} and _names(member):
            # Policies are listed beside their products, in the same order.
            order = cast("list[str]", members_of.get("products", []))
            kept[key] = [name for name, of in zip(cast("list[str]", member), order, strict=False) if of == product]
        elif not _of_another(member, product):
            kept[key] = _only(member, product)
    return kept


def _of_another(value: Any, product: str) -> bool:
    return isinstance(value, dict) and cast("dict[str, Any]", value).get("product", product) != product


def _names(value: Any) -> bool:
    members = cast("list[Any]", value) if isinstance(value, list) else []
    return bool(members) and all(isinstance(member, str) for member in members)
