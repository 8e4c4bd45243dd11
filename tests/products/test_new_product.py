"""A new line of business is a new folder: nothing of the code knows it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from products import Formats, ProductError, check_proposal, draw, load_release, read_products
from products.publish import publish

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)

YAML = """
code: bicycle_theft
version: "1"
name: 自行车盗窃保险
insurer:
  name: 中安财产保险股份有限公司
  address: 北京市西城区平安里西大街100号
  hotline: 955XX
  website: www.zacx.example
  complaint: 拨打955XX转8
filing_number: 备-001
clause_code: C-1
line: property
line_code: BIKE
optional: true
retention: over_one_year
summary: 自行车被偷，按约定的金额赔。
subject:
  kind: bicycle
  title: 投保自行车
  fields:
    - {code: frame_no, label: 车架号, type: text, required: true, pattern: "[A-Z0-9]{6,12}"}
    - {code: locked, label: 有没有锁, type: boolean, required: true}
    - {code: price_fen, label: 购买价格, type: fen, required: true, min: 10000, max: 5000000}
parties:
  policyholder: {id_types: [id_card, passport], min_age: 16}
  insured: {named: false, text: 自行车的所有人}
covers:
  - code: theft
    name: 盗窃保险金
    required: true
    unit: policy
    sum: {rule: range, min_fen: 10000, max_fen: 5000000, compare: {other: subject.price_fen, rule: at_most}}
premium: {min_fen: 100, max_fen: 100000}
period: {min_months: 1, max_months: 24, starts: [midnight], latest_start_days: 30}
deadly_points:
  - {code: unlocked, title: 没有上锁不赔, text: 被偷时没有上锁的，不赔。, document: clauses, clause: 第二条}
needs_questions:
  - code: duplicate_cover
    text: 这辆车是否已经买过同样的保险？
    answers:
      - {code: "no", text: 没有, outcome: accept}
      - {code: "yes", text: 有, outcome: advise_stop, advice: 您可能不需要再买一份。}
surrender: {title: 退保, conditions: [随时可以退保。], how: 拨打955XX。}
disputes: 协商解决。
declaration: {sentence: 保险人已明确说明免除保险人责任条款的内容及法律后果。, statement: 本人已阅读。}
documents:
  - code: clauses
    title: 自行车盗窃保险条款
    kind: clauses
    file: documents/clauses.md
    version: "1"
    clause_code: C-1
    mandatory: true
  - code: exclusions
    title: 自行车盗窃保险免责事项说明书
    kind: exclusions
    file: documents/exclusions.md
    version: "1"
    clause_code: C-1-E
    mandatory: true
form:
  title: 自行车盗窃保险投保单
  sections:
    - title: 自行车
      rows:
        - {label: 车架号, source: subject.frame_no}
        - {label: 上锁, source: subject.locked}
        - {label: 价格, source: subject.price_fen}
    - {title: 险种, table: covers}
policy:
  title: 自行车盗窃保险单
  sections:
    - title: 保单
      rows: [{label: 保险单号, source: policy.number}]
"""


@pytest.fixture
def bicycles(tmp_path: Path) -> Path:
    home = tmp_path / "made_up" / "bicycle_theft"
    (home / "documents").mkdir(parents=True)
    (home / "product.yaml").write_text(YAML)
    (home / "documents/clauses.md").write_text("# 条款\n\n第一条 被偷就赔。\n\n第二条 没有上锁的，**不赔**。\n")
    (home / "documents/exclusions.md").write_text("# 说明书\n\n1. **没有上锁，不赔**。概念：锁。\n")
    return home.parent


def bought(person: dict[str, Any]) -> dict[str, Any]:
    return {
        "policyholder": person,
        "subject": {"frame_no": "AB1234", "locked": True, "price_fen": 300000},
        "products": [
            {
                "product": "bicycle_theft",
                "covers": [{"cover": "theft", "sum_fen": 250000, "premium_fen": 3000}],
                "premium_fen": 3000,
                "period": {"from": "2026-12-01T00:00:00+08:00", "to": "2028-06-01T00:00:00+08:00"},
            }
        ],
    }


def test_a_made_up_product_is_read_published_and_validated(
    bicycles: Path, folder: Path, tmp_path: Path, person: dict[str, Any]
) -> None:
    published = publish([folder, bicycles], tmp_path / "releases")
    release = load_release(published.hash, tmp_path / "releases")
    assert set(release.products) == set(read_products(folder)) | {"bicycle_theft"}
    assert release.notices
    product = release.products["bicycle_theft"]
    assert [d.minimum_dwell_seconds for d in product.documents] == [3, 3]
    proposal = bought(person)
    assert check_proposal(release.products, proposal, now=NOW) == []
    proposal["subject"]["frame_no"] = "短"
    proposal["products"][0]["covers"][0]["sum_fen"] = 400000
    assert {error.pointer for error in check_proposal(release.products, proposal, now=NOW)} == {
        "/subject/frame_no",
        "/products/0/covers/0/sum_fen",
    }


def test_its_form_is_drawn(bicycles: Path, person: dict[str, Any]) -> None:
    product = read_products(bicycles)["bicycle_theft"]
    formats = Formats(yuan=str, day=str, moment=str, period=lambda a, b: f"{a}{b}")
    values = {**bought(person), "part": bought(person)["products"][0]}
    sections = draw(product, product.form, values, formats)
    assert sections[0].rows == (("车架号", "AB1234"), ("上锁", "是"), ("价格", "300000元"))
    assert sections[1].table == "covers"


def test_different_subjects_are_not_mixed(
    bicycles: Path, folder: Path, person: dict[str, Any], proposal: dict[str, Any]
) -> None:
    products = {**read_products(folder), **read_products(bicycles)}
    proposal["products"].append(bought(person)["products"][0])
    codes = {error.code for error in check_proposal(products, proposal, now=NOW)}
    assert "mixed_subjects" in codes


def test_I2_a_product_without_exclusions_document_is_refused(bicycles: Path) -> None:
    path = bicycles / "bicycle_theft/documents/exclusions.md"
    path.write_text("# 说明书\n\n没有一项一项写。\n")
    with pytest.raises(ProductError, match="itemises no exclusion"):
        read_products(bicycles)
