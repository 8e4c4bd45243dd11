"""A journey's chain, computed again from what evidence keeps (docs/evidence.md)."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tests.faults.checker.stores import Json
from tests.faults.checker.world import Journey

Entries = list[Json]


class Broken(ValueError):
    """The chain does not lead from its head to its beginning. The message says where it breaks."""


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def chain_of(journey: Journey) -> Entries:
    """The entries from the first fact to the head, every leaf, view and link computed again. Raises ``Broken``."""
    kept = journey.document("evidence")
    if kept is None:
        raise Broken("evidence knows nothing of the journey")
    count, head = kept.state["count"], kept.state["head"]
    # Writers that lost a race or died have left strays; they lead nowhere.
    entries = {(entry["index"], entry["link"]): entry for entry in journey.world.entries.get(journey.id, ())}
    path: Entries = []
    link = head
    for index in range(count, 0, -1):
        entry = entries.get((index, link))
        if entry is None:
            raise Broken(f"fact {index} is missing")
        path.append(entry)
        link = entry["previous"]
    path.reverse()
    before = sha(b"toubao-chain-v1" + journey.id.encode())
    for entry in path:
        link = _link(journey.id, before, entry)
        if link.hex() != entry["link"] or entry["previous"] != before.hex():
            raise Broken(f"fact {entry['index']} has another hash")
        before = link
    return path


def attributes(journey_id: str, entry: Json) -> Json:
    return {
        "specversion": "1.0",
        "id": entry["id"],
        "source": entry["source"],
        "type": entry["type"],
        "subject": journey_id,
        "time": entry["time"],
        "sequence": entry["sequence"],
        "dataschema": entry["dataschema"],
    }


def _link(journey_id: str, before: bytes, entry: Json) -> bytes:
    named = attributes(journey_id, entry)
    leaf = sha(canonical(named) + b"\n" + entry["data"].encode())
    if leaf.hex() != entry["leaf"]:
        raise Broken(f"fact {entry['index']} is not what was heard")
    data = json.loads(entry["data"])
    wanted = _view_keys(data)
    if set(entry["salts"]) != set(wanted):
        raise Broken(f"fact {entry['index']} has other views than it needs")
    views = b"".join(
        sha(
            bytes.fromhex(entry["salts"][product])
            + canonical({"attributes": named, "product": product, "data": _view(data, product)})
        )
        for product in sorted(wanted)
    )
    return sha(before + leaf + (sha(views) if views else b""))


# -- views: what a fact of several products says of one -----------------------------------------------------------


def _products(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*(_products(member) for member in value))
    if not isinstance(value, dict):
        return set()
    found: set[str] = set()
    for key, member in value.items():
        if key == "product" and isinstance(member, str):
            found.add(member)
        elif key == "locks" and isinstance(member, dict):
            found |= member.keys()
        elif key == "products" and isinstance(member, list):
            found |= {name for name in member if isinstance(name, str)} | _products(member)
        else:
            found |= _products(member)
    return found


def _view_keys(data: Json) -> list[str]:
    products = _products(data)
    if len(products) > 1:
        return sorted(products)
    return ["*"] if not products and ("total_fen" in data or "fen" in data) else []


def _foreign(value: Any, product: str) -> bool:
    return isinstance(value, dict) and "product" in value and value["product"] != product


def _view(data: Json, product: str) -> Json:
    if _foreign(data, product):
        return {}
    return {key: value for key, value in _cut(data, product).items() if key not in ("total_fen", "fen")}


def _cut(value: Any, product: str) -> Any:
    if isinstance(value, list):
        return [_cut(member, product) for member in value if not _foreign(member, product)]
    if not isinstance(value, dict):
        return value
    left: Json = {}
    for key, member in value.items():
        if key == "locks" and isinstance(member, dict):
            left[key] = {of: lock for of, lock in member.items() if of == product}
        elif key in ("products", "policies") and member and _all_names(member):
            left[key] = [name for name, of in zip(member, value.get("products", []), strict=False) if of == product]
        elif not _foreign(member, product):
            left[key] = _cut(member, product)
    return left


def _all_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(member, str) for member in value)
