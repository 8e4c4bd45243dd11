"""What a policy says, from the product's data and the journey's values. Pure.

The paper has places of its own for some things (number, code, insurer, premium, period); rows of a product's
layout that name them are not printed twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from contracts.facts.proposal import JourneyOpened, ProductTerms
from products import Product
from products.layout import Formats, cover_lines, draw, without
from servicekit.documents.paper import paper_date, paper_period, paper_time, yuan
from servicekit.documents.sheet import Amount, Cover, Row, Section, fitted_row
from services.issuance.numbers import grouped
from services.issuance.policy_pdf import PolicyDocument

FORMATS: Final = Formats(yuan=yuan, day=paper_date, moment=paper_time, period=paper_period)

_OWN_PLACE: Final = frozenset(
    (
        "policy.number",
        "policy.form_number",
        "policy.verify_code",
        "part.period",
        "part.premium_fen",
        "part.taxes_fen",
        "part.total_fen",
        "product.insurer",
        "product.address",
        "product.hotline",
        "product.disputes",
    )
)
_MOMENTS: Final = frozenset(("policy.confirmed_at", "policy.paid_at", "policy.issued_at", "policy.printed_at"))
_SALE: Final = frozenset(("policy.channel", "policy.intermediary", "policy.salesperson"))
_SYSTEM: Final = "系统自动"
HEADINGS: Final = ("承保险种", "保险金额／责任限额（元）", "约定", "保险费（元）")


@dataclass(frozen=True, slots=True)
class Issued:
    """What is known of one policy at the moment it is made, beside its terms."""

    number: str
    form_number: str
    code: str
    confirmed_at: datetime
    paid_at: datetime
    at: datetime
    channel: str
    intermediary: str
    salesperson: str
    verify_url: str


def policy_document(
    product: Product, opened: JourneyOpened, terms: ProductTerms, shown: Mapping[str, Any], issued: Issued
) -> PolicyDocument:
    """``shown`` is what ``products.opened.values`` gives. Raises pydantic.ValidationError where the figures do not
    add up or a text does not fit the sheet.
    """
    values = {
        **shown,
        "policy": {
            "number": issued.number,
            "form_number": issued.form_number,
            "verify_code": grouped(issued.code),
            "confirmed_at": issued.confirmed_at,
            "paid_at": issued.paid_at,
            "issued_at": issued.at,
            "channel": issued.channel,
            "intermediary": issued.intermediary,
            "salesperson": issued.salesperson,
        },
    }
    names = {tax.code: tax.name for tax in product.taxes}
    total = terms.premium_fen + sum(tax.fen for tax in terms.taxes)
    lines = cover_lines(product, shown["part"], shown["subject"], FORMATS)
    return PolicyDocument(
        title=product.policy.title,
        policy_number=issued.number,
        application_number=issued.form_number,
        created=issued.at,
        insurer_name=product.insurer.name,
        insurer_address=product.insurer.address,
        insurer_hotline=product.insurer.hotline,
        confirmation=(
            *_rows(product, values, _MOMENTS),
            Row(label="签单日期", value=paper_date(issued.at)),
        ),
        sections=tuple(
            Section(title=section.title, rows=tuple(fitted_row(label, text) for label, text in section.rows))
            for section in draw(product, without(product.policy, _OWN_PLACE | _MOMENTS | _SALE), values, FORMATS)
            if section.rows
        ),
        covers=tuple(
            Cover(name=line.name, limit=line.limit, deductible=line.note[:200], fen=line.premium_fen) for line in lines
        ),
        headings=HEADINGS,
        premium_fen=terms.premium_fen,
        taxes=tuple(Amount(label=names.get(tax.kind, tax.kind), fen=tax.fen) for tax in terms.taxes),
        total_fen=total,
        period=paper_period(terms.period_from, terms.period_to),
        special_terms=tuple(f"{term.title}：{term.text}" for term in product.special_terms),
        dispute_resolution=product.disputes,
        channel=(
            *_rows(product, values, _SALE),
            Row(label="制单", value=_SYSTEM),
            Row(label="核保", value=_SYSTEM),
        ),
        notices=(
            *(
                sentence + "。"
                for section in product.policy.sections
                for sentence in (section.text or "").split("。")
                if sentence
            ),
            # How to leave again is told where the contract is kept (I32).
            f"{product.surrender.title}：{''.join(product.surrender.conditions)}{product.surrender.how}",
        ),
        verification_code=grouped(issued.code),
        verify_at=f"{issued.verify_url}#{issued.number}.{issued.code}",
        record=_record(opened, terms, shown, issued, total),
    )


def _rows(product: Product, values: Mapping[str, Any], sources: frozenset[str]) -> tuple[Row, ...]:
    others = frozenset(row.source for section in product.policy.sections for row in section.rows) - sources
    drawn = draw(product, without(product.policy, others), values, FORMATS)
    return tuple(fitted_row(label, text) for section in drawn for label, text in section.rows)


def _record(
    opened: JourneyOpened, terms: ProductTerms, shown: Mapping[str, Any], issued: Issued, total: int
) -> dict[str, Any]:
    """The policy for machines: what the paper says, under the same seal."""
    return {
        "policy_number": issued.number,
        "application_number": issued.form_number,
        "product": terms.product,
        "product_version": terms.product_version,
        "release": opened.release,
        "terms_lock": terms.lock,
        "policyholder": shown["policyholder"],
        "insured": shown["insured"],
        "subject": shown["subject"],
        "fields": shown["part"]["fields"],
        "covers": shown["part"]["covers"],
        "premium_fen": terms.premium_fen,
        "taxes": shown["part"]["taxes"],
        "total_fen": total,
        "period": shown["part"]["period"],
        "applied_at": issued.confirmed_at.isoformat(),
        "paid_at": issued.paid_at.isoformat(),
        "issued_at": issued.at.isoformat(),
        "channel": issued.channel,
    }
