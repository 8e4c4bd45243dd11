"""The confirmation card: who, what and how much, in the words of the products' own data.

Numbers and names are opened from the vault for this one answer and kept nowhere.
"""

from __future__ import annotations

import asyncio
from typing import Final

from contracts.commands.proposal import ProposalView
from contracts.facts.proposal import ProductTerms
from contracts.values import Contract, DocumentRef, Fen, Instant, Sha256, Slug, sha256_hex
from gateway.masking import masked_values
from products import Formats, Product, Release, cover_lines, draw
from products.model import Question, Surrender
from products.opened import committed, values
from servicekit.documents.paper import paper_date, paper_period, paper_time, yuan
from servicekit.vault import Vault

FORMATS: Final = Formats(yuan=yuan, day=paper_date, moment=paper_time, period=paper_period)


class Row(Contract):
    label: str
    text: str


class CardSection(Contract):
    title: str
    rows: tuple[Row, ...]


class CardCover(Contract):
    name: str
    limit: str
    note: str
    premium_fen: Fen
    """0 where another cover's premium includes it."""


class CardTax(Contract):
    tax: Slug
    name: str
    fen: Fen


class CardDocument(Contract):
    """One text to read, on a page of its own (I2)."""

    document: DocumentRef
    title: str
    kind: str
    characters: int
    minimum_dwell_seconds: int
    """By the text's length; what the server asks for comes with the answer to open-document."""


class CardPoint(Contract):
    point: Slug
    title: str
    text: str
    document: Slug
    clause: str
    sha256: Sha256


class ProductCard(Contract):
    """One product. Never ticked beforehand: ``chosen`` of an optional one is what the customer did (I4)."""

    product: Slug
    name: str
    marketing_name: str | None
    summary: str
    filing_number: str
    clause_code: str
    insurer: str
    hotline: str
    complaint: str
    optional: bool
    chosen: bool
    confirmed: bool
    lock: Sha256
    covers: tuple[CardCover, ...]
    sections: tuple[CardSection, ...]
    premium_fen: Fen
    taxes: tuple[CardTax, ...]
    total_fen: Fen
    period: str
    period_from: Instant
    period_to: Instant
    documents: tuple[CardDocument, ...]
    points: tuple[CardPoint, ...]
    needs_questions: tuple[Question, ...]
    questions: tuple[Question, ...]
    surrender: Surrender
    declaration: str
    statement: str


class Card(Contract):
    revealed: bool
    """False: personal values are masked."""
    products: tuple[ProductCard, ...]
    total_fen: Fen
    """Of the products in the purchase now."""
    totals: dict[Slug, Fen]
    """Optional product → the total with it, so that the price with and without can be shown (I4)."""


async def card_of(view: ProposalView, release: Release, vault: Vault, *, reveal: bool) -> Card:
    """Raises ``Unopenable`` when a value cannot be opened."""
    wanted = {key: value for terms in view.products for key, value in committed(view, terms).items()}
    # The fields of two products may go by one name, so those are opened for each product.
    shared = {key: value for key, value in wanted.items() if not key.startswith("fields.")}
    texts = dict(
        zip(
            shared,
            await asyncio.gather(*(vault.open_text(view.journey_id, value) for value in shared.values())),
            strict=True,
        )
    )
    cards = [
        await _product_card(view, terms, release.products[terms.product], texts, vault, reveal=reveal)
        for terms in view.products
    ]
    chosen = set(view.chosen)
    total = sum(card.total_fen for card in cards if card.product in chosen)
    return Card(
        revealed=reveal,
        products=tuple(cards),
        total_fen=total,
        totals={
            card.product: total + (0 if card.product in chosen else card.total_fen) for card in cards if card.optional
        },
    )


async def _product_card(
    view: ProposalView, terms: ProductTerms, product: Product, shared: dict[str, str], vault: Vault, *, reveal: bool
) -> ProductCard:
    own = {f"fields.{key}": await vault.open_text(view.journey_id, value) for key, value in terms.fields.items()}
    texts = {**shared, **own}
    given = values(product, view, terms, texts if reveal else masked_values(product, texts))
    names = {tax.code: tax.name for tax in product.taxes}
    points = [point for point in product.deadly_points if point.code in terms.points]
    documents = [(reference, release_document(product, reference)) for reference in terms.documents]
    return ProductCard(
        product=terms.product,
        name=product.name,
        marketing_name=product.marketing_name,
        summary=product.summary,
        filing_number=product.filing_number,
        clause_code=product.clause_code,
        insurer=product.insurer.name,
        hotline=product.insurer.hotline,
        complaint=product.insurer.complaint,
        optional=terms.optional,
        chosen=terms.product in view.chosen,
        confirmed=terms.product in view.confirmed,
        lock=terms.lock,
        covers=tuple(
            CardCover(name=line.name, limit=line.limit, note=line.note, premium_fen=line.premium_fen)
            for line in cover_lines(product, given["part"], given["subject"], FORMATS)
        ),
        sections=tuple(
            CardSection(title=section.title, rows=tuple(Row(label=label, text=text) for label, text in section.rows))
            for section in draw(product, product.form, given, FORMATS)
            if section.rows
        ),
        premium_fen=terms.premium_fen,
        taxes=tuple(CardTax(tax=tax.kind, name=names.get(tax.kind, tax.kind), fen=tax.fen) for tax in terms.taxes),
        total_fen=terms.premium_fen + sum(tax.fen for tax in terms.taxes),
        period=paper_period(terms.period_from, terms.period_to),
        period_from=terms.period_from,
        period_to=terms.period_to,
        documents=tuple(
            CardDocument(
                document=reference,
                title=document.title,
                kind=document.kind,
                characters=document.characters,
                minimum_dwell_seconds=document.minimum_dwell_seconds,
            )
            for reference, document in documents
            if document is not None
        ),
        points=tuple(
            CardPoint(
                point=point.code,
                title=point.title,
                text=point.text,
                document=point.document,
                clause=point.clause,
                sha256=sha256_hex(f"{point.title}\n{point.text}".encode()),
            )
            for point in points
        ),
        needs_questions=product.needs_questions,
        questions=tuple(q for q in product.disclosure_questions if q.code in terms.questions),
        surrender=product.surrender,
        declaration=product.declaration.sentence,
        statement=product.declaration.statement,
    )


def release_document(product: Product, reference: DocumentRef):
    return next((d for d in product.documents if d.sha256 == reference.sha256), None)
