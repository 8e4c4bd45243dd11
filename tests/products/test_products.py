"""The house's own products: what a customer must find in them."""

from __future__ import annotations

import re
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from products import (
    DocumentKind,
    Formats,
    Notice,
    Product,
    RetentionClass,
    cover_lines,
    draw,
    minimum_dwell,
    read_notices,
    read_products,
)
from products.model import Document


def every_document(products: dict[str, Product], notices: dict[str, Notice]) -> list[Document]:
    own = [document for product in products.values() for document in product.documents]
    return own + [notice.document for notice in notices.values()]


@pytest.fixture(scope="session")
def notices(folder: Path) -> dict[str, Notice]:
    return read_notices(folder)


def test_the_three_products_are_there(products: dict[str, Product]) -> None:
    assert set(products) == {"motor_compulsory", "motor_commercial", "driver_passenger_accident"}
    assert [p.code for p in products.values() if p.optional] == ["driver_passenger_accident"]
    assert not products["driver_passenger_accident"].parties.insured.named
    assert len({p.line_code for p in products.values()}) == 3


def test_the_commercial_covers(products: dict[str, Product]) -> None:
    covers = products["motor_commercial"].covers
    assert sum(cover.additional for cover in covers) == 3
    assert {"vehicle_damage", "third_party", "driver_liability", "passenger_liability"} <= {
        cover.code for cover in covers if not cover.additional
    }


@pytest.mark.parametrize(
    ("product", "document", "characters", "exclusions"),
    [
        ("motor_commercial", "clauses", 6000, 25),
        ("motor_commercial", "exclusions", 3000, 25),
        ("driver_passenger_accident", "clauses", 2500, 10),
        ("driver_passenger_accident", "exclusions", 1500, 10),
        ("motor_compulsory", "clauses", 2500, 5),
        ("motor_compulsory", "exclusions", 1000, 5),
    ],
)
def test_documents_have_real_length(
    products: dict[str, Product], product: str, document: str, characters: int, exclusions: int
) -> None:
    text = products[product].document(document)
    assert text is not None
    assert len(re.findall(r"[\u4e00-\u9fff]", text.text())) >= characters
    assert len(text.exclusions) >= exclusions


def test_I2_exclusions_are_itemised_and_explained_one_by_one(products: dict[str, Product]) -> None:
    for product in products.values():
        documents = [d for d in product.documents if d.kind is DocumentKind.EXCLUSIONS]
        assert documents
        for document in documents:
            assert document.mandatory
            assert document.single_page
            ids = [block.exclusion for block in document.exclusions]
            assert ids == [f"e{n}" for n in range(1, len(ids) + 1)]
            assert [block.number for block in document.exclusions] == list(range(1, len(ids) + 1))
            for block in document.exclusions:
                assert block.conspicuous
                for part in ("概念：", "内容：", "后果："):
                    assert part in block.text


def test_exclusion_items_name_clauses_that_exist(products: dict[str, Product]) -> None:
    for product in products.values():
        clauses, items = product.document("clauses"), product.document("exclusions")
        assert clauses is not None
        assert items is not None
        articles = {m for block in clauses.paragraphs for m in re.findall(r"^第[一二三四五六七八九十]+条", block.text)}
        named = set(re.findall(r"第[一二三四五六七八九十]+条", items.text()))
        assert named <= articles


def test_I3_the_minimum_dwell_follows_the_length() -> None:
    assert [minimum_dwell(n) for n in (1, 1500, 1501, 7000, 149_999, 150_000, 10**7)] == [3, 3, 4, 14, 300, 300, 300]


def test_I3_every_document_carries_its_dwell(products: dict[str, Product], notices: dict[str, Notice]) -> None:
    for document in every_document(products, notices):
        assert document.minimum_dwell_seconds == minimum_dwell(document.characters)
        assert document.characters == sum(not c.isspace() for c in document.text().replace("\n", ""))


def test_I4_no_key_could_select_anything_beforehand() -> None:
    def names(schema: Any) -> set[str]:
        if isinstance(schema, dict):
            return set(schema.get("properties", ())) | {n for v in schema.values() for n in names(v)}
        return {n for v in schema for n in names(v)} if isinstance(schema, list) else set()

    for model in (Product, Notice):
        assert not names(model.model_json_schema()) & {"default", "selected", "checked", "preselected", "ticked"}


def test_I6_each_product_has_its_own_documents(products: dict[str, Product]) -> None:
    hashes = [d.sha256 for product in products.values() for d in product.documents]
    assert len(hashes) == len(set(hashes))
    for product in products.values():
        kinds = {document.kind for document in product.documents if document.mandatory}
        assert {DocumentKind.NOTICE, DocumentKind.CLAUSES, DocumentKind.EXCLUSIONS} <= kinds


def test_I9_each_consent_is_a_text_of_its_own(notices: dict[str, Notice]) -> None:
    assert {"recording", "privacy", "face_consent", "account_check", "payment_authorisation"} == set(notices)
    assert len({notice.document.sha256 for notice in notices.values()}) == len(notices)
    assert not notices["face_consent"].required  # I8: refusing it never ends the journey
    assert notices["recording"].stage == "entry"
    assert notices["recording"].act == "acknowledge"


def test_I17_the_tax_is_no_part_of_the_premium(products: dict[str, Product]) -> None:
    assert [tax.code for tax in products["motor_compulsory"].taxes] == ["vehicle_tax"]
    assert all("tax" not in cover.code for product in products.values() for cover in product.covers)


def test_I22_retention_follows_the_period(products: dict[str, Product]) -> None:
    assert {product.retention for product in products.values()} == {RetentionClass.UP_TO_ONE_YEAR}
    short, long = RetentionClass.UP_TO_ONE_YEAR, RetentionClass.OVER_ONE_YEAR
    assert short.keep_until(date(2027, 12, 1)) == date(2032, 12, 1)
    assert long.keep_until(date(2028, 2, 29)) == date(2038, 3, 1)
    assert short.keep_until(date(2027, 12, 1), date(2031, 1, 1)) == date(2034, 1, 1)


def test_I30_need_and_duplicate_cover_are_asked(products: dict[str, Product]) -> None:
    for product in products.values():
        assert "duplicate_cover" in {question.code for question in product.needs_questions}
        for question in product.needs_questions:
            assert any(answer.outcome == "advise_stop" and answer.advice for answer in question.answers)


def test_I31_every_document_shows_who_insures_and_where_to_complain(products: dict[str, Product]) -> None:
    for product in products.values():
        for document in product.documents:
            header = product.header(document, "某某保险代理有限公司")
            assert header.insurer == "中安财产保险股份有限公司"
            assert header.intermediary == "某某保险代理有限公司"
            assert header.hotline == "955XX"
            assert header.complaint
            assert header.clause_code
            assert header.filing_number


def test_I31_notices_say_it_too(notices: dict[str, Notice]) -> None:
    for notice in notices.values():
        assert notice.insurer.name == "中安财产保险股份有限公司"
        assert notice.insurer.hotline
        assert notice.insurer.complaint
        assert notice.document.clause_code


def test_I32_surrender_is_told_before_signing(products: dict[str, Product]) -> None:
    for product in products.values():
        assert product.surrender.conditions
        assert product.surrender.how
        notice = product.document("notice")
        assert notice is not None
        assert "退保" in notice.text()


def test_the_declaration_has_the_words_of_the_trade(products: dict[str, Product]) -> None:
    for product in products.values():
        assert product.declaration.sentence == "保险人已明确说明免除保险人责任条款的内容及法律后果。"


def test_no_customer_reads_of_forced_bundles(products: dict[str, Product], folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.suffix in (".md", ".yaml"):
            assert "搭售" not in path.read_text()
    assert products


def test_html_is_escaped_and_without_attributes_a_csp_forbids(products: dict[str, Product]) -> None:
    for product in products.values():
        for document in product.documents:
            html = document.html()
            assert set(re.findall(r"<(\w+)", html)) <= {"h1", "h2", "h3", "p", "strong", "span"}
            assert set(re.findall(r" (\w+)=", html)) <= {"id", "class"}
            assert len(re.findall(r'<p id="p\d+"', html)) == len(document.paragraphs)
            assert "*" not in document.text()


FORMATS = Formats(
    yuan=lambda fen: f"{fen / 100:,.2f}",
    day=lambda day: day.isoformat(),
    moment=lambda moment: moment.isoformat(),
    period=lambda begins, ends: f"{begins:%Y-%m-%d}/{ends:%Y-%m-%d}",
)


def test_forms_and_policies_are_drawn_from_data_alone(
    products: dict[str, Product], proposal: dict[str, Any], now: datetime
) -> None:
    for part in proposal["products"]:
        product = products[part["product"]]
        values = {**proposal, "part": part, "policy": {"form_number": "F1", "number": "N1", "paid_at": now}}
        form = {section.title: section for section in draw(product, product.form, values, FORMATS)}
        assert ("姓名", "欧阳静怡") in form["投保人"].rows
        assert ("证件类型", "居民身份证") in form["投保人"].rows
        assert ("使用性质", "家庭自用") in form["投保车辆"].rows
        assert ("保险期间", "2026-12-01/2027-12-01") in form["投保约定"].rows
        assert any(section.table == "covers" for section in form.values())
        policy = {section.title: section for section in draw(product, product.policy, values, FORMATS)}
        assert ("保险单号", "N1") in policy["保险单"].rows
        assert ("客服电话", "955XX") in policy["保险人"].rows
        lines = cover_lines(product, part, proposal["subject"], FORMATS)
        assert sum(line.premium_fen for line in lines) == part["premium_fen"]
        assert all(line.limit for line in lines)


def test_a_sum_per_seat_says_so(products: dict[str, Product], proposal: dict[str, Any]) -> None:
    lines = cover_lines(products["motor_commercial"], proposal["products"][1], proposal["subject"], FORMATS)
    assert [line.limit for line in lines] == ["120,000.00", "2,000,000.00", "10,000.00×4座", "10%"]


def test_reading_twice_gives_the_same(folder: Path, products: dict[str, Product]) -> None:
    assert read_products(folder) == products
