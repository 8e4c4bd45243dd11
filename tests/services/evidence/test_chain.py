"""The chain's rules, and that the verifier, written apart, comes to the same."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.values import canonical_json
from servicekit.runner import new_ulid
from servicekit.store import StoredFact
from services.evidence import chain, verify

JOURNEY = "01M84XR9A6V8QWQ6WD7GBC0C2F"
SLUGS = st.sampled_from(["motor", "seats", "home"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "document"]), inner, max_size=3)
        | st.fixed_dictionaries({"product": SLUGS, "x": inner})
    ),
    max_leaves=8,
)
DATA = st.fixed_dictionaries(
    {"at": st.just("2026-11-23T02:00:00Z")},
    optional={
        "product": SLUGS,
        "locks": st.dictionaries(SLUGS, st.text(max_size=3), max_size=3),
        "lines": st.lists(st.fixed_dictionaries({"product": SLUGS, "fen": st.integers()}), max_size=3),
        "products": st.lists(SLUGS, max_size=3),
        "policies": st.lists(st.text(min_size=1, max_size=3), max_size=3),
        "total_fen": st.integers(),
        "fen": st.integers(),
        "rest": VALUES,
    },
)


def fact(data: dict[str, Any], sequence: int = 1, source: str = "payment") -> StoredFact:
    return StoredFact(
        id=new_ulid(),
        source=f"/services/{source}",
        type=f"toubao.{source}.order_placed.v1",
        subject=JOURNEY,
        time="2026-11-23T02:00:00.000000+00:00",
        sequence=sequence,
        dataschema="urn:x",
        data=json.dumps(data, ensure_ascii=False),
    )


def salt() -> bytes:
    return b"0123456789abcdef"


def extend(*facts: StoredFact) -> list[chain.Entry]:
    return chain.extend(JOURNEY, None, 0, facts, salt)


@given(DATA)
def test_producer_and_verifier_agree_on_views(data: dict[str, Any]) -> None:
    [entry] = extend(fact(data))
    keys = verify.view_keys(entry.content())
    assert [*entry.salts] == keys
    for key in keys:
        assert entry.view(key) == verify.view_bytes(entry.attributes(), entry.content(), key)


@given(DATA, SLUGS)
def test_I21_a_view_speaks_of_no_other_product_and_no_sum(data: dict[str, Any], product: str) -> None:
    shown = chain.view_of(data, product)
    assert chain.products_in(shown) <= {product}
    assert not {"fen", "total_fen"} & shown.keys()


@given(st.lists(DATA, min_size=1, max_size=6), st.data())
def test_I19_any_change_to_what_is_kept_is_noticed(datas: list[dict[str, Any]], draw: st.DataObject) -> None:
    entries = extend(*(fact(data, i) for i, data in enumerate(datas, 1)))
    head, count = entries[-1].link, len(entries)
    assert chain.whole(JOURNEY, entries[::-1], head, count) == entries
    at = draw.draw(st.integers(0, count - 1))
    name, value = draw.draw(
        st.sampled_from(
            [
                ("data", json.dumps({**datas[at], "at": "2026-11-23T02:00:01Z"})),
                ("id", new_ulid()),
                ("time", "2026-11-23T02:00:01.000000+00:00"),
                ("type", "toubao.payment.other.v1"),
                ("source", "/services/other"),
                ("dataschema", "urn:y"),
                ("sequence", 77),
                ("index", 77),
                ("leaf", "1" * 64),
                ("link", "1" * 64),
                ("previous", "1" * 64),
                ("journey_id", "01M84XR9A6V8QWQ6WD7GBC0C2G"),
            ]
        )
    )
    spoilt = [e.model_copy(update={name: value}) if i == at else e for i, e in enumerate(entries)]
    with pytest.raises(chain.Damaged):
        chain.whole(JOURNEY, spoilt, head, count)
    with pytest.raises(chain.Damaged):
        chain.whole(JOURNEY, [e for i, e in enumerate(entries) if i != at], head, count)


def test_the_documented_example() -> None:
    """docs/evidence.md shows these very values."""
    [entry] = extend(
        StoredFact(
            id="01M84XR9A6V8QWQ6WD7GBC0C2E",
            source="/services/proposal",
            type="toubao.proposal.link_sent.v1",
            subject=JOURNEY,
            time="2026-11-23T02:00:00.000000+00:00",
            sequence=1,
            dataschema="urn:toubao:contracts:proposal.link_sent.v1",
            data='{"at":"2026-11-23T02:00:00Z","message_id":"m1"}',
        )
    )
    documented = (Path(__file__).parents[3] / "docs" / "evidence.md").read_text()
    for value in (chain.beginning(JOURNEY), entry.leaf, entry.link, canonical_json(entry.attributes()).decode()):
        assert value in documented


def test_the_verifier_stands_alone() -> None:
    """The standard library, cryptography and asn1crypto; nothing of ours."""
    tree = ast.parse(Path(verify.__file__).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    outside = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert outside == {"cryptography", "asn1crypto"}
