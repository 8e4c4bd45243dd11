"""Published facts keep their shape; what is generated is what is committed."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import pytest

from contracts.compatibility import breaks
from contracts.facts.base import HeardFact, fact_types, read_fact
from contracts.facts.payment import PaymentConfirmed
from contracts.generate import HOME, broken, generate, schema_of


@pytest.fixture
def published() -> dict[str, Any]:
    return schema_of(PaymentConfirmed)


@pytest.fixture
def proposed(published: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(published)


def test_generating_again_changes_nothing() -> None:
    made = generate()
    assert {str(path.relative_to(HOME)) for path in HOME.rglob("*.json")} == set(made)
    for name, text in made.items():
        assert (HOME / name).read_text("utf-8") == text, f"{name}: run `make contracts` and commit"


def test_no_published_fact_is_broken_by_the_contracts_of_today() -> None:
    assert broken(generate()) == []


def test_a_published_fact_is_never_taken_back() -> None:
    made = generate()
    del made["facts/payment.payment_confirmed.v1.json"]
    assert broken(made) == ["facts/payment.payment_confirmed.v1.json: a published fact is gone"]


def test_the_same_shape_breaks_nothing(published: dict[str, Any], proposed: dict[str, Any]) -> None:
    proposed["properties"]["note"] = {"type": "string", "default": ""}
    proposed["properties"]["heard_by"]["enum"].append("statement")
    assert breaks(published, proposed) == []


def test_a_published_fact_cannot_lose_a_field(published: dict[str, Any], proposed: dict[str, Any]) -> None:
    del proposed["properties"]["transaction_id"]
    proposed["required"].remove("transaction_id")
    assert breaks(published, proposed) == ["/transaction_id: field lost"]


def test_a_published_fact_cannot_retype_a_field(published: dict[str, Any], proposed: dict[str, Any]) -> None:
    proposed["properties"]["total_fen"] = {"type": "string"}
    assert breaks(published, proposed) == ["/total_fen: type changed from integer to string"]


def test_nor_a_field_of_what_it_holds(published: dict[str, Any], proposed: dict[str, Any]) -> None:
    proposed["$defs"]["PremiumLine"]["properties"]["fen"] = {"type": "number"}
    assert breaks(published, proposed) == ["/lines/items/fen: type changed from integer to number"]


def test_a_published_fact_cannot_gain_a_required_field(published: dict[str, Any], proposed: dict[str, Any]) -> None:
    proposed["properties"]["payer"] = {"type": "string"}
    proposed["required"].append("payer")
    assert breaks(published, proposed) == ["/payer: required now"]


def test_a_published_fact_cannot_narrow_an_enum(published: dict[str, Any], proposed: dict[str, Any]) -> None:
    proposed["properties"]["heard_by"]["enum"].remove("query")
    assert breaks(published, proposed) == ["/heard_by: enum lost 'query'"]


def test_nor_turn_a_free_text_into_one(published: dict[str, Any], proposed: dict[str, Any]) -> None:
    proposed["$defs"]["PremiumLine"]["properties"]["kind"] = {"type": "string", "enum": ["premium"]}
    assert breaks(published, proposed) == ["/lines/items/kind: restricted to an enum"]


def test_every_schema_is_valid_json_schema() -> None:
    for name, text in generate().items():
        if name.startswith("facts/"):
            jsonschema.Draft202012Validator.check_schema(json.loads(text))


def test_asyncapi_names_every_message_once_and_points_nowhere_empty() -> None:
    document = json.loads(generate()["asyncapi.json"])
    assert document["asyncapi"] == "3.0.0"
    missing: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            pointer = value.get("$ref")
            if isinstance(pointer, str):
                if pointer.startswith("./"):
                    missing.extend([] if (HOME / pointer).exists() else [pointer])
                else:
                    found: Any = document
                    for part in pointer.removeprefix("#/").split("/"):
                        found = found.get(part) if isinstance(found, dict) else None
                    missing.extend([] if found is not None else [pointer])
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)

    walk(document)
    assert missing == []
    addresses = [channel["address"] for channel in document["channels"].values() if channel["address"]]
    assert len(addresses) == len(set(addresses))
    for kind in fact_types().values():
        if kind.__module__.startswith("contracts."):
            assert f"{kind.service}.{kind.name}.v{kind.version}" in document["channels"]


def test_a_reader_ignores_what_it_does_not_know() -> None:
    fact = read_fact("toubao.future.thing.v9", '{"at": "2026-11-23T02:00:00Z", "new": 1}')
    assert isinstance(fact, HeardFact)
    known = read_fact("toubao.payment.order_accepted.v1", '{"at":"2026-11-23T02:00:00Z","order_no":"T1","new":1}')
    assert known.model_dump(mode="json") == {"at": "2026-11-23T02:00:00Z", "order_no": "T1"}
