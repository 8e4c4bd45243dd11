"""The values of one product of an opened journey, as paper and pages need them: its commitments by name, and what
they open to put back into the shape the channel sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from contracts.facts.proposal import Party, ProductTerms
from contracts.values import Committed
from products.model import FieldRule, FieldType, Product


class Bought(Protocol):
    """Who buys what: the fact that opened the journey, or the proposal's view of it."""

    @property
    def policyholder(self) -> Party: ...
    @property
    def insured(self) -> Party | None: ...
    @property
    def subject(self) -> Mapping[str, Committed]: ...


_PARTY = ("name", "id_number", "phone", "address")


def committed(opened: Bought, terms: ProductTerms) -> dict[str, Committed]:
    """Every personal value of the journey and of this product, under ``policyholder.name``, ``subject.vin``…"""
    found: dict[str, Committed] = {}
    for role, party in (("policyholder", opened.policyholder), ("insured", opened.insured)):
        if party is not None:
            found |= {f"{role}.{key}": getattr(party, key) for key in _PARTY}
    found |= {f"subject.{key}": value for key, value in opened.subject.items()}
    found |= {f"fields.{key}": value for key, value in terms.fields.items()}
    return found


def values(product: Product, opened: Bought, terms: ProductTerms, texts: Mapping[str, str]) -> dict[str, Any]:
    """``texts`` are the opened values of ``committed``. Returns the roots a layout speaks of, except ``policy``."""

    def party(role: str, who: Party | None) -> dict[str, Any]:
        if who is None:
            return {}
        return {"id_type": who.id_type, **{key: texts[f"{role}.{key}"] for key in _PARTY}}

    def typed(root: str, rules: tuple[FieldRule, ...], keys: Mapping[str, Any]) -> dict[str, Any]:
        by_code = {rule.code: rule for rule in rules}
        return {key: value_of(by_code[key], texts[f"{root}.{key}"]) for key in keys if key in by_code}

    return {
        "policyholder": party("policyholder", opened.policyholder),
        "insured": party("insured", opened.insured),
        "subject": typed("subject", product.subject.fields, opened.subject),
        "part": {
            "product": terms.product,
            "covers": [cover.model_dump() for cover in terms.covers],
            "premium_fen": terms.premium_fen,
            "taxes": [{"tax": tax.kind, "fen": tax.fen} for tax in terms.taxes],
            "period": {"from": terms.period_from.isoformat(), "to": terms.period_to.isoformat()},
            "fields": typed("fields", product.fields, terms.fields),
        },
    }


def value_of(rule: FieldRule, text: str) -> str | int | bool:
    """A committed text as the value the channel sent."""
    match rule.type:
        case FieldType.INTEGER | FieldType.FEN:
            return int(text)
        case FieldType.BOOLEAN:
            return text == "true"
        case _:
            return text
