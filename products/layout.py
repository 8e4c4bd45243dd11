"""Draws the application form and the policy of any product from its layout and the proposal's values.

Pure. How money and time are written is passed in (`Formats`), so that all paper of the house writes them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, cast

from products.model import ID_TYPE_NAMES, FieldRule, FieldType, Layout, NoSum, Product


@dataclass(frozen=True, slots=True)
class Formats:
    """How values are written on paper."""

    yuan: Callable[[int], str]
    """Fen → ``1,234.56``."""
    day: Callable[[date], str]
    moment: Callable[[datetime], str]
    period: Callable[[datetime, datetime], str]


@dataclass(frozen=True, slots=True)
class DrawnSection:
    """One section: its rows as (label, text), or the name of a table, or a text."""

    title: str
    rows: tuple[tuple[str, str], ...] = ()
    table: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class CoverLine:
    """One line of the table of covers. ``premium_fen`` is 0 where another cover's premium includes it."""

    name: str
    limit: str
    note: str
    premium_fen: int


def draw(product: Product, layout: Layout, values: Mapping[str, Any], formats: Formats) -> tuple[DrawnSection, ...]:
    """``values`` has the roots a layout speaks of: ``policyholder``, ``insured``, ``subject`` and ``fields`` as
    the channel sent them, ``part`` (the product's part of the proposal) and ``policy`` (see `POLICY_FIELDS`;
    times as aware datetimes). A row without a value is left out.
    """
    drawn: list[DrawnSection] = []
    for section in layout.sections:
        rows = [(row.label, _value(product, row.source, values, formats)) for row in section.rows]
        kept = tuple((label, text) for label, text in rows if text)
        if kept or not section.rows:
            drawn.append(DrawnSection(section.title, kept, section.table, section.text))
    return tuple(drawn)


def without(layout: Layout, sources: frozenset[str]) -> Layout:
    """The layout's rows but those that name one of ``sources``; only sections that still have rows are left.

    For paper that has places of its own for some things and must not print them twice.
    """
    kept = [
        section.model_copy(update={"rows": rows})
        for section in layout.sections
        if (rows := tuple(row for row in section.rows if row.source not in sources))
    ]
    return layout.model_copy(update={"sections": tuple(kept)})


def cover_lines(
    product: Product, part: Mapping[str, Any], subject: Mapping[str, Any], formats: Formats
) -> tuple[CoverLine, ...]:
    """The chosen covers in the product's order, from a part that passed `check_product`."""
    chosen: dict[str, Mapping[str, Any]] = {line["cover"]: line for line in part["covers"]}
    lines: list[CoverLine] = []
    for cover in product.covers:
        line = chosen.get(cover.code)
        if line is None:
            continue
        if isinstance(cover.sum, NoSum):
            bound = [field for field in product.fields if cover.code in field.required_with]
            own = [(field, part.get("fields", {}).get(field.code)) for field in bound]
            limit = "；".join(field_text(field, value, formats) for field, value in own if value is not None)
        else:
            limit = formats.yuan(line["sum_fen"])
            if cover.seats is not None:
                root, _, name = cover.seats.partition(".")
                seats = (subject if root == "subject" else part.get("fields", {})).get(name)
                limit += f"×{seats}座"
        lines.append(CoverLine(cover.name, limit, cover.note or "", line["premium_fen"]))
    return tuple(lines)


def field_text(rule: FieldRule, value: object, formats: Formats) -> str:
    """A checked value of a field as paper shows it."""
    unit = rule.unit or ""
    match rule.type:
        case FieldType.BOOLEAN:
            return "是" if value else "否"
        case FieldType.CHOICE:
            return next((choice.name for choice in rule.choices if choice.code == value), str(value))
        case FieldType.DATE:
            return formats.day(date.fromisoformat(str(value)))
        case FieldType.FEN:
            return f"{formats.yuan(cast(int, value))}元"
        case _:
            return f"{value}{unit}"


def _value(product: Product, source: str, values: Mapping[str, Any], formats: Formats) -> str:
    root, _, name = source.partition(".")
    if root == "product":
        return _product_text(product, name)
    part: Mapping[str, Any] = values.get("part") or {}
    if root == "part":
        return _part_text(part, name, formats)
    held: Mapping[str, Any] = (part.get("fields") if root == "fields" else values.get(root)) or {}
    value = held.get(name)
    if value is None or value == "":
        return ""
    rules = {"subject": product.subject.fields, "fields": product.fields}.get(root, ())
    rule = next((rule for rule in rules if rule.code == name), None)
    if rule is not None:
        return field_text(rule, value, formats)
    if isinstance(value, datetime):
        return formats.moment(value)
    return ID_TYPE_NAMES.get(value, str(value)) if name == "id_type" else str(value)


def _part_text(part: Mapping[str, Any], name: str, formats: Formats) -> str:
    taxes = sum(tax["fen"] for tax in part.get("taxes", ()))
    match name:
        case "period":
            begins, ends = (datetime.fromisoformat(part["period"][key]) for key in ("from", "to"))
            return formats.period(begins, ends)
        case "taxes_fen":
            return f"{formats.yuan(taxes)}元"
        case "total_fen":
            return f"{formats.yuan(part['premium_fen'] + taxes)}元"
        case _:
            return f"{formats.yuan(part['premium_fen'])}元"


def _product_text(product: Product, name: str) -> str:
    insurer = product.insurer
    texts = {
        "name": product.name,
        "marketing_name": product.marketing_name or "",
        "filing_number": product.filing_number,
        "clause_code": product.clause_code,
        "insurer": insurer.name,
        "address": insurer.address,
        "hotline": insurer.hotline,
        "complaint": insurer.complaint,
        "website": insurer.website,
        "insured": product.parties.insured.text,
        "disputes": product.disputes,
    }
    return texts[name]
