"""Proposals are judged from the products' data alone, and each fault is named by its pointer."""

from __future__ import annotations

import copy
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from products import (
    FieldError,
    Product,
    add_months,
    check_party,
    check_product,
    check_proposal,
    check_subject,
)
from products.model import ChoiceSum, FixedSum, RangeSum
from products.party_check import CHINA, age_on, id_birthday, id_check_character

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
once = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def parent(value: Any, pointer: str) -> tuple[Any, str | int]:
    *path, last = [key.replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:]]
    for key in path:
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value, int(last) if isinstance(value, list) else last


def put(value: Any, pointer: str, new: object) -> Any:
    changed = copy.deepcopy(value)
    holder, key = parent(changed, pointer)
    if new is ...:
        del holder[key]
    else:
        holder[key] = new
    return changed


def pointers(errors: list[FieldError]) -> set[str]:
    return {error.pointer for error in errors}


def test_a_good_proposal_passes(products: dict[str, Product], proposal: dict[str, Any]) -> None:
    assert check_proposal(products, proposal, now=NOW) == []


def test_each_product_passes_alone(products: dict[str, Product], proposal: dict[str, Any]) -> None:
    for part in proposal["products"]:
        assert check_product(products[part["product"]], part, proposal["subject"], now=NOW) == []
        alone = {**proposal, "products": [part]}
        known = {field.code for field in products[part["product"]].subject.fields}
        alone["subject"] = {key: value for key, value in proposal["subject"].items() if key in known}
        assert check_proposal(products, alone, now=NOW) == []


def test_unnamed_cover_needs_no_insured(products: dict[str, Product], proposal: dict[str, Any]) -> None:
    keys = ("plate_no", "vin", "brand_model", "use_nature", "seats", "owner")
    alone = {
        "products": [proposal["products"][2]],
        "policyholder": proposal["policyholder"],
        "subject": {key: proposal["subject"][key] for key in keys},
    }
    assert check_proposal(products, alone, now=NOW) == []
    assert "/insured" in pointers(check_proposal(products, {**proposal, "insured": None}, now=NOW))


BAD: list[tuple[str, object, str, str]] = [
    # pointer changed, new value (... removes it), pointer named, code
    ("/products/0/product", "motor_marine", "/products/0/product", "unknown_product"),
    ("/products/0/product", "motor_commercial", "/products/1/product", "duplicate"),
    ("/products/0/product", ["x"], "/products/0/product", "unknown_product"),
    ("/products/0", 7, "/products/0", "not_an_object"),
    ("/products", [], "/products", "empty"),
    ("/products", {}, "/products", "not_an_array"),
    ("/products/0/covers", [], "/products/0/covers", "empty"),
    ("/products/0/covers", [], "/products/0/covers", "required_cover"),
    ("/products/0/covers", ..., "/products/0/covers", "missing"),
    ("/products/0/covers/0/sum_fen", 20000001, "/products/0/covers/0/sum_fen", "sum"),
    ("/products/0/covers/0/sum_fen", True, "/products/0/covers/0/sum_fen", "not_fen"),
    ("/products/0/covers/0/sum_fen", 2e7, "/products/0/covers/0/sum_fen", "not_fen"),
    ("/products/0/covers/0/premium_fen", 0, "/products/0/covers/0/premium_fen", "premium"),
    ("/products/0/covers/0/premium_fen", -66500, "/products/0/covers/0/premium_fen", "not_fen"),
    ("/products/0/covers/0/premium_fen", 66501, "/products/0/premium_fen", "not_the_sum"),
    ("/products/0/premium_fen", 66499, "/products/0/premium_fen", "not_the_sum"),
    ("/products/0/premium_fen", 0, "/products/0/premium_fen", "out_of_range"),
    ("/products/0/premium_fen", ..., "/products/0/premium_fen", "missing"),
    ("/products/0/taxes", [], "/products/0/taxes", "required_tax"),
    ("/products/0/taxes/0/tax", "stamp", "/products/0/taxes/0/tax", "unknown_tax"),
    ("/products/0/taxes/0/fen", -1, "/products/0/taxes/0/fen", "not_fen"),
    ("/products/0/taxes/0/fen", 10**12, "/products/0/taxes/0/fen", "out_of_range"),
    ("/products/1/taxes", [{"tax": "vehicle_tax", "fen": 1}], "/products/1/taxes/0/tax", "unknown_tax"),
    ("/products/0/selected", True, "/products/0/selected", "unknown_field"),
    ("/products/0/a~1b", True, "/products/0/a~1b", "unknown_field"),
    ("/products/0/\ud800", True, "/products/0/?", "unknown_field"),
    ("/policyholder/\ud800", "x", "/policyholder/?", "unknown_field"),
    ("/products/0/covers/0/note", "x", "/products/0/covers/0/note", "unknown_field"),
    ("/products/0/fields/colour", "red", "/products/0/fields/colour", "unknown_field"),
    ("/products/0/period", ..., "/products/0/period", "missing"),
    ("/products/0/period/from", "2026-11-23T00:00:00+08:00", "/products/0/period/from", "not_in_future"),
    ("/products/0/period/from", "2027-06-01T00:00:00+08:00", "/products/0/period/from", "too_late"),
    ("/products/0/period/from", "2026-12-01T00:00:00", "/products/0/period/from", "not_a_time"),
    ("/products/0/period/from", "2026-13-01T00:00:00+08:00", "/products/0/period/from", "not_a_time"),
    ("/products/0/period/from", "2026-12-01T00:00:00+08:00\n", "/products/0/period/from", "not_a_time"),
    ("/products/0/period/from", "9999-12-31T00:00:00+08:00", "/products/0/period/from", "not_a_time"),
    ("/products/0/period/from", 1764518400, "/products/0/period/from", "not_a_time"),
    ("/products/0/period/from", "2026-12-01T00:00:30+08:00", "/products/0/period/from", "not_a_minute"),
    ("/products/2/period/from", "2026-12-01T00:00:00Z", "/products/2/period/from", "not_midnight"),
    ("/products/0/period/to", "2027-11-30T00:00:00+08:00", "/products/0/period/to", "length"),
    ("/products/0/period/to", "2026-11-30T00:00:00+08:00", "/products/0/period/to", "before_start"),
    ("/products/1/covers/0/sum_fen", 12000100, "/products/1/covers/0/sum_fen", "inconsistent"),
    ("/products/1/covers/0/sum_fen", 11999950, "/products/1/covers/0/sum_fen", "sum"),
    ("/products/1/covers/1/sum_fen", 123, "/products/1/covers/1/sum_fen", "sum"),
    ("/products/1/covers/3/sum_fen", 5, "/products/1/covers/3/sum_fen", "sum"),
    ("/products/1/covers/3/premium_fen", 5, "/products/1/covers/3/premium_fen", "premium"),
    ("/products/1/covers/1/cover", "vehicle_damage", "/products/1/covers/1/cover", "duplicate"),
    ("/products/1/covers/1/cover", {}, "/products/1/covers/1/cover", "unknown_cover"),
    ("/products/1/covers/0/cover", "wheel_damage", "/products/1/covers/0/cover", "requires_other"),
    ("/products/1/fields/passenger_seats", 3, "/products/1/fields/passenger_seats", "inconsistent"),
    ("/products/1/fields/passenger_seats", ..., "/products/1/fields/passenger_seats", "missing"),
    ("/products/1/fields/passenger_seats", 99, "/products/1/fields/passenger_seats", "out_of_range"),
    ("/products/1/fields/deductible_percent", "7", "/products/1/fields/deductible_percent", "not_a_choice"),
    ("/products/1/fields/deductible_percent", 10, "/products/1/fields/deductible_percent", "not_a_choice"),
    ("/products/1/fields", [], "/products/1/fields", "not_an_object"),
    ("/products/2/fields/insured_seats", 4, "/products/2/fields/insured_seats", "inconsistent"),
    ("/products/2/covers/0/cover", "hospital_allowance", "/products/2/covers", "required_cover"),
    ("/subject", ..., "/subject", "missing"),
    ("/subject/seats", 7, "/products/2/fields/insured_seats", "inconsistent"),
    ("/subject/seats", True, "/subject/seats", "not_a_number"),
    ("/subject/seats", "5", "/subject/seats", "not_a_number"),
    ("/subject/seats", 1, "/subject/seats", "out_of_range"),
    ("/subject/colour", "red", "/subject/colour", "unknown_field"),
    ("/subject/plate_no", "京A1234", "/subject/plate_no", "pattern"),
    ("/subject/plate_no", "京A12345\n", "/subject/plate_no", "unfit_character"),
    ("/subject/plate_no", "", "/subject/plate_no", "missing"),
    ("/subject/vin", "LSVAU2180N218329I", "/subject/vin", "pattern"),
    ("/subject/vin", "ＬSVAU2180N2183294", "/subject/vin", "pattern"),
    ("/subject/brand_model", "大众\u202eSVW", "/subject/brand_model", "unfit_character"),
    ("/subject/brand_model", "大众\x00", "/subject/brand_model", "unfit_character"),
    ("/subject/brand_model", " 大众", "/subject/brand_model", "outer_space"),
    ("/subject/brand_model", "长" * 61, "/subject/brand_model", "length"),
    ("/subject/use_nature", "business", "/subject/use_nature", "not_a_choice"),
    ("/subject/first_registered", "2026-11-24", "/subject/first_registered", "in_future"),
    ("/subject/first_registered", "2022-02-30", "/subject/first_registered", "not_a_date"),
    ("/subject/first_registered", "20220601", "/subject/first_registered", "not_a_date"),
    ("/policyholder", ..., "/policyholder", "not_an_object"),
    ("/policyholder/gender", "x", "/policyholder/gender", "unknown_field"),
    ("/policyholder/name", "张", "/policyholder/name", "length"),
    ("/policyholder/name", "张" * 21, "/policyholder/name", "length"),
    ("/policyholder/name", "张 三", "/policyholder/name", "pattern"),
    ("/policyholder/name", "·张三", "/policyholder/name", "pattern"),
    ("/policyholder/name", "张三1", "/policyholder/name", "pattern"),
    ("/policyholder/name", "张\u200b三", "/policyholder/name", "unfit_character"),
    ("/policyholder/name", ["张三"], "/policyholder/name", "not_a_text"),
    ("/policyholder/id_type", "driving_licence", "/policyholder/id_type", "not_a_choice"),
    ("/policyholder/id_number", "110105194912310021", "/policyholder/id_number", "checksum"),
    ("/policyholder/id_number", "11010519491231002x", "/policyholder/id_number", "checksum"),
    ("/policyholder/id_number", "11010519491231002X\n", "/policyholder/id_number", "unfit_character"),
    ("/policyholder/phone", "12800001234", "/policyholder/phone", "pattern"),
    ("/policyholder/phone", "１3800001234", "/policyholder/phone", "pattern"),
    ("/policyholder/phone", 13800001234, "/policyholder/phone", "not_a_text"),
    ("/policyholder/address", "北京", "/policyholder/address", "length"),
    ("/insured/address", ..., "/insured/address", "missing"),
]


@pytest.mark.parametrize(("pointer", "new", "named", "code"), BAD)
def test_each_fault_is_named_by_its_pointer(
    products: dict[str, Product],
    proposal: dict[str, Any],
    pointer: str,
    new: object,
    named: str,
    code: str,
) -> None:
    errors = check_proposal(products, put(proposal, pointer, new), now=NOW)
    assert (named, code) in {(error.pointer, error.code) for error in errors}
    assert all(error.message.endswith(("。", "）。")) for error in errors)


def test_a_refused_value_is_never_repeated(products: dict[str, Product], proposal: dict[str, Any]) -> None:
    for pointer in ("/policyholder/name", "/policyholder/id_number", "/policyholder/phone", "/subject/vin"):
        for error in check_proposal(products, put(proposal, pointer, "SECRET-4711"), now=NOW):
            assert "4711" not in error.model_dump_json()


def leaves(value: Any, pointer: str = "") -> list[str]:
    if isinstance(value, dict):
        return [p for key, item in value.items() for p in leaves(item, f"{pointer}/{key}")]
    if isinstance(value, list) and value:
        return [p for i, item in enumerate(value) for p in leaves(item, f"{pointer}/{i}")]
    return [] if isinstance(value, list | dict) else [pointer]


@once
@given(data=st.data())
def test_any_field_of_a_wrong_kind_is_named(
    products: dict[str, Product], proposal: dict[str, Any], data: st.DataObject
) -> None:
    pointer = data.draw(st.sampled_from(leaves(proposal)))
    wrong = data.draw(st.sampled_from([None, "\u202e", "\ud800", -1, 10**30, 1.5, [], {}, True, float("nan")]))
    assert pointer in pointers(check_proposal(products, put(proposal, pointer, wrong), now=NOW))


anything = st.text(st.characters(exclude_categories=()), max_size=10)
"""Lone surrogates too: JSON can carry them."""
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | anything,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(anything, inner, max_size=3),
    max_leaves=8,
)


@once
@given(data=st.data())
def test_hostile_json_never_raises(products: dict[str, Product], proposal: dict[str, Any], data: st.DataObject) -> None:
    value = data.draw(json_values)
    check_proposal(products, value, now=NOW)
    places = ["/products", "/products/0", "/products/1/covers", "/products/1/covers/0", "/products/0/taxes"]
    places += ["/products/1/fields", "/products/0/period", "/subject", "/policyholder", "/insured"]
    check_proposal(products, put(proposal, data.draw(st.sampled_from(places)), value), now=NOW)
    for product in products.values():
        check_product(product, value, value, now=NOW)


@once
@given(data=st.data())
def test_valid_proposals_pass(products: dict[str, Product], proposal: dict[str, Any], data: st.DataObject) -> None:
    """Whatever the commercial product's data allows is accepted."""
    product = products["motor_commercial"]
    seats = data.draw(st.integers(2, 9))
    value = data.draw(st.integers(1000, 10_000_000)) * 100
    subject = {**proposal["subject"], "seats": seats, "actual_value_fen": value}
    mains = [cover for cover in product.covers if not cover.additional]
    chosen = data.draw(st.lists(st.sampled_from(mains), min_size=1, unique_by=lambda cover: cover.code))
    codes = {cover.code for cover in chosen}
    allowed = [c for c in product.covers if c.additional and codes & set(c.requires_any)]
    if allowed:
        chosen += data.draw(st.lists(st.sampled_from(allowed), unique_by=lambda cover: cover.code))
    lines: list[dict[str, Any]] = []
    for cover in chosen:
        match cover.sum:
            case FixedSum(fen=fen):
                amount = fen
            case ChoiceSum(fen=choices):
                amount = data.draw(st.sampled_from(choices))
            case RangeSum() as rule:
                steps = (min(rule.max_fen, value) - rule.min_fen) // rule.step_fen
                amount = rule.min_fen + rule.step_fen * data.draw(st.integers(0, steps))
            case _:
                amount = 0
        premium = data.draw(st.integers(100, 500_000)) if cover.premium == "priced" else 0
        lines.append({"cover": cover.code, "sum_fen": amount, "premium_fen": premium})
    codes = {cover.code for cover in chosen}
    fields: dict[str, Any] = {}
    if "passenger_liability" in codes:
        fields["passenger_seats"] = seats - 1
    if "absolute_deductible" in codes:
        fields["deductible_percent"] = data.draw(st.sampled_from(["5", "10", "15", "20"]))
    start = (NOW.astimezone(CHINA) + timedelta(minutes=data.draw(st.integers(1, 89 * 24 * 60)))).replace(second=0)
    part = {
        "product": product.code,
        "covers": lines,
        "premium_fen": sum(line["premium_fen"] for line in lines),
        "period": {"from": start.isoformat(), "to": add_months(start, 12).isoformat()},
        "fields": fields,
    }
    whole = {**proposal, "subject": subject, "products": [part]}
    assert check_proposal(products, whole, now=NOW) == []
    i = data.draw(st.integers(0, len(lines) - 1))
    dearer = put(whole, f"/products/0/covers/{i}/premium_fen", lines[i]["premium_fen"] + 1)
    assert "/products/0/premium_fen" in pointers(check_proposal(products, dearer, now=NOW))


def test_pointers_start_where_the_caller_says(products: dict[str, Product], proposal: dict[str, Any]) -> None:
    part = {**proposal["products"][0], "covers": []}
    errors = check_product(products["motor_compulsory"], part, {}, now=NOW, pointer="/a/0", subject_pointer="/b")
    assert {"/a/0/covers", "/b/vin"} <= pointers(errors)
    assert pointers(check_subject([products["motor_compulsory"]], {}, now=NOW)) >= {"/subject/vin"}


@pytest.mark.parametrize(
    ("start", "months", "end"),
    [
        (datetime(2026, 12, 1, tzinfo=CHINA), 12, datetime(2027, 12, 1, tzinfo=CHINA)),
        (datetime(2028, 2, 29, tzinfo=CHINA), 12, datetime(2029, 3, 1, tzinfo=CHINA)),
        (datetime(2027, 2, 28, tzinfo=CHINA), 12, datetime(2028, 2, 28, tzinfo=CHINA)),
        (datetime(2026, 12, 31, tzinfo=CHINA), 2, datetime(2027, 3, 1, tzinfo=CHINA)),
        (datetime(2026, 11, 30, 16, tzinfo=UTC), 12, datetime(2027, 12, 1, tzinfo=CHINA)),
    ],
)
def test_a_year_is_a_year_by_the_calendar(start: datetime, months: int, end: datetime) -> None:
    assert add_months(start, months) == end


def numbered(birthday: date, serial: int) -> str:
    first = f"110105{birthday:%Y%m%d}{serial:03d}"
    return first + id_check_character(first)


@given(st.dates(date(1900, 1, 1), date(2026, 1, 1)), st.integers(0, 999), st.integers(0, 17), st.integers(1, 9))
def test_one_wrong_digit_is_always_found(birthday: date, serial: int, place: int, step: int) -> None:
    number = numbered(birthday, serial)
    assert id_birthday(number) == birthday
    if number[place] != "X":
        wrong = number[:place] + str((int(number[place]) + step) % 10) + number[place + 1 :]
        assert id_birthday(wrong) is None


@pytest.mark.parametrize("name", ["张三", "欧阳静怡", "阿卜杜拉·买买提", "𬭚一", "㛃䶮", "\U00031350三", "〇一"])
def test_rare_and_minority_names_are_taken(person: dict[str, Any], name: str) -> None:
    assert check_party({**person, "name": name}, "/p", now=NOW) == []


def test_age_counts_in_shanghai(person: dict[str, Any]) -> None:
    birthday = date(2008, 11, 24)
    young = {**person, "id_number": numbered(birthday, 1)}
    evening, midnight = datetime(2026, 11, 23, 15, 59, tzinfo=UTC), datetime(2026, 11, 23, 16, 0, tzinfo=UTC)
    assert [error.code for error in check_party(young, "/p", now=evening)] == ["age"]
    assert check_party(young, "/p", now=midnight) == []
    assert age_on(date(2008, 2, 29), date(2026, 2, 28)) == 17
    assert age_on(date(2008, 2, 29), date(2026, 3, 1)) == 18
