"""Validates what a channel proposes, from the products' data alone.

Pure: the products, the proposal and the time come in, a list of `FieldError` goes out (empty: accepted).
Any JSON value may be passed; nothing raises on hostile input.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, cast

from contracts.problems import MOST_FAULTS
from products.model import (
    ChoiceSum,
    Comparison,
    Cover,
    FieldRule,
    FieldType,
    FixedSum,
    PeriodRule,
    Product,
    RangeSum,
)
from products.party_check import ADULT, CHINA, FieldError, at, check_party, unfit_character

__all__ = ["FieldError", "add_months", "check_party", "check_product", "check_proposal", "check_subject"]

PART_KEYS = ("product", "covers", "premium_fen", "taxes", "period", "fields")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOST_FEN = 10**13
_LONGEST_TEXT = 200
_MOST_ENTRIES = 100

Json = dict[str, Any]


class _Errors:
    """Faults in the order they were found, one of a kind a place."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], FieldError] = {}

    def add(self, pointer: str, code: str, message: str) -> None:
        if len(self.found) < MOST_FAULTS:
            self.found.setdefault((pointer, code), FieldError(pointer=pointer, code=code, message=message))

    def object(self, value: object, pointer: str, name: str) -> Json | None:
        if value is None:
            self.add(pointer, "missing", f"没有{name}。")
        elif not isinstance(value, dict):
            self.add(pointer, "not_an_object", f"{name}的格式不对。")
        else:
            return cast(Json, value)
        return None

    def array(self, value: object, pointer: str, name: str) -> list[Any] | None:
        if value is None:
            self.add(pointer, "missing", f"没有{name}。")
        elif not isinstance(value, list):
            self.add(pointer, "not_an_array", f"{name}的格式不对。")
        elif len(cast(list[Any], value)) > _MOST_ENTRIES:
            self.add(pointer, "too_long", f"{name}太多。")
        else:
            return cast(list[Any], value)
        return None

    def known_keys(self, value: Json, pointer: str, known: Sequence[str] | frozenset[str]) -> None:
        for key in value:
            if key not in known:
                self.add(at(pointer, key), "unknown_field", "没有这个填写项，请删除。")

    def fen(self, value: object, pointer: str, name: str) -> int | None:
        """A whole number of fen, zero included."""
        if value is None:
            self.add(pointer, "missing", f"没有填写{name}。")
        elif not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST_FEN:
            self.add(pointer, "not_fen", f"{name}应当是以分为单位的整数。")
        else:
            return value
        return None


def check_proposal(products: Mapping[str, Product], proposal: object, *, now: datetime) -> list[FieldError]:
    """Check the parts of a proposal that products speak of: ``products``, ``subject``, ``policyholder`` and
    ``insured``. Other keys belong to the caller and are not looked at.

    ``now`` is an aware time. Pointers start at the proposal's root. An insured is needed only by products
    that name one, and checked wherever one is given.
    """
    errors = _Errors()
    body = errors.object(proposal, "", "投保信息")
    if body is None:
        return list(errors.found.values())
    parts = errors.array(body.get("products"), "/products", "投保产品")
    chosen: list[Product] = []
    for i, part in enumerate(parts or ()):
        pointer = at("/products", i)
        entry = errors.object(part, pointer, "投保产品")
        if entry is None:
            continue
        code = entry.get("product")
        product = products.get(code) if isinstance(code, str) else None
        if product is None:
            errors.add(at(pointer, "product"), "unknown_product", "没有这个产品。")
        elif product in chosen:
            errors.add(at(pointer, "product"), "duplicate", "同一产品只能投保一次。")
        else:
            chosen.append(product)
            _part(errors, product, entry, body.get("subject"), now, pointer)
    if parts is not None and not parts:
        errors.add("/products", "empty", "至少要投保一个产品。")
    if not chosen:
        return list(errors.found.values())
    if len({product.subject.kind for product in chosen}) > 1:
        errors.add("/products", "mixed_subjects", "这些产品的投保标的不同，请分开投保。")
    _subject(errors, chosen, body.get("subject"), now, "/subject")
    found = list(errors.found.values())
    known = {(error.pointer, error.code) for error in found}
    for product in chosen:
        people = check_party(body.get("policyholder"), "/policyholder", now=now, rule=product.parties.policyholder)
        insured = product.parties.insured.party
        if insured is not None or body.get("insured") is not None:
            people += check_party(body.get("insured"), "/insured", now=now, rule=insured or ADULT, who="被保险人")
        for error in people:
            if (error.pointer, error.code) not in known:
                known.add((error.pointer, error.code))
                found.append(error)
    return found


def check_product(
    product: Product,
    part: object,
    subject: object,
    *,
    now: datetime,
    pointer: str = "/products/0",
    subject_pointer: str = "/subject",
) -> list[FieldError]:
    """Check one product's part of a proposal and the subject fields this product declares.

    Keys of the subject that only another product declares are not refused here (see `check_proposal`).
    """
    errors = _Errors()
    entry = errors.object(part, pointer, "投保产品")
    if entry is not None:
        _part(errors, product, entry, subject, now, pointer)
    values = errors.object(subject, subject_pointer, product.subject.title)
    if values is not None:
        _subject_fields(errors, product, values, subject_pointer, now)
    return list(errors.found.values())


def check_subject(products: Sequence[Product], subject: object, *, now: datetime) -> list[FieldError]:
    """Check the subject shared by these products; a key none of them declares is refused."""
    errors = _Errors()
    _subject(errors, products, subject, now, "/subject")
    return list(errors.found.values())


def add_months(start: datetime, months: int) -> datetime:
    """The end of a period of whole months, by the calendar of Asia/Shanghai.

    Where the last month lacks the day, its last day is covered in full: the end is midnight after it.
    """
    local = start.astimezone(CHINA)
    year, month = divmod(local.year * 12 + local.month - 1 + months, 12)
    last = monthrange(year, month + 1)[1]
    if local.day <= last:
        return local.replace(year=year, month=month + 1)
    midnight = local.replace(year=year, month=month + 1, day=last, hour=0, minute=0, second=0)
    return midnight + timedelta(days=1)


def _subject(errors: _Errors, products: Sequence[Product], subject: object, now: datetime, pointer: str) -> None:
    values = errors.object(subject, pointer, products[0].subject.title)
    if values is None:
        return
    known = frozenset(field.code for product in products for field in product.subject.fields)
    errors.known_keys(values, pointer, known)
    for product in products:
        _subject_fields(errors, product, values, pointer, now)


def _subject_fields(errors: _Errors, product: Product, values: Json, pointer: str, now: datetime) -> None:
    _fields(errors, product.subject.fields, values, pointer, now, _numbers(None, values), frozenset())


def _numbers(fields: object, subject: object) -> dict[str, int]:
    """The whole numbers comparisons may refer to, by path."""
    roots = {"fields": fields, "subject": subject}
    return {
        f"{root}.{key}": value
        for root, values in roots.items()
        if isinstance(values, dict)
        for key, value in cast(Json, values).items()
        if isinstance(value, int) and not isinstance(value, bool)
    }


def _part(errors: _Errors, product: Product, part: Json, subject: object, now: datetime, pointer: str) -> None:
    errors.known_keys(part, pointer, PART_KEYS)
    if part.get("product") != product.code:
        errors.add(at(pointer, "product"), "wrong_product", "产品代码不符。")
    raw_fields = part.get("fields", {})
    fields = errors.object(raw_fields, at(pointer, "fields"), "产品填写项")
    numbers = _numbers(fields, subject)
    covers = _covers(errors, product, part, numbers, pointer)
    if fields is not None:
        errors.known_keys(fields, at(pointer, "fields"), [field.code for field in product.fields])
        _fields(errors, product.fields, fields, at(pointer, "fields"), now, numbers, covers)
    _taxes(errors, product, part.get("taxes", []), at(pointer, "taxes"))
    _period(errors, product.period, part.get("period"), at(pointer, "period"), now)


def _covers(errors: _Errors, product: Product, part: Json, numbers: Mapping[str, int], pointer: str) -> frozenset[str]:
    place = at(pointer, "covers")
    covers = errors.array(part.get("covers"), place, "险种")
    premium = errors.fen(part.get("premium_fen"), at(pointer, "premium_fen"), "保险费")
    bounds = product.premium
    if premium is not None and not bounds.min_fen <= premium <= bounds.max_fen:
        errors.add(at(pointer, "premium_fen"), "out_of_range", "保险费不在这个产品允许的范围内。")
    if covers is None:
        return frozenset()
    if not covers:
        errors.add(place, "empty", "至少要选择一个险种。")
    chosen: dict[str, tuple[int, Cover]] = {}
    total: int | None = 0
    for i, entry in enumerate(covers):
        line = errors.object(entry, at(place, i), "险种")
        if line is None:
            total = None
            continue
        errors.known_keys(line, at(place, i), ("cover", "sum_fen", "premium_fen"))
        code = line.get("cover")
        cover = product.cover(code) if isinstance(code, str) else None
        if cover is None:
            errors.add(at(place, i, "cover"), "unknown_cover", "这个产品没有这个险种。")
        elif cover.code in chosen:
            errors.add(at(place, i, "cover"), "duplicate", f"{cover.name}重复。")
        else:
            chosen[cover.code] = (i, cover)
        name = cover.name if cover else "险种"
        fen = errors.fen(line.get("premium_fen"), at(place, i, "premium_fen"), f"{name}的保险费")
        total = None if fen is None or total is None else total + fen
        if cover is not None and fen is not None and (fen > 0) != (cover.premium == "priced"):
            what = "应当大于零。" if cover.premium == "priced" else "已包含在其他险种里，应当填0。"
            errors.add(at(place, i, "premium_fen"), "premium", f"{name}的保险费{what}")
        amount = errors.fen(line.get("sum_fen"), at(place, i, "sum_fen"), f"{name}的保险金额")
        if cover is not None and amount is not None:
            _sum(errors, cover, amount, numbers, at(place, i, "sum_fen"))
    for cover in product.covers:
        if cover.required and cover.code not in chosen:
            errors.add(place, "required_cover", f"必须包含{cover.name}。")
    for i, cover in chosen.values():
        if cover.requires_any and not any(code in chosen for code in cover.requires_any):
            names = "或".join(other.name for other in product.covers if other.code in cover.requires_any)
            errors.add(at(place, i, "cover"), "requires_other", f"投保{cover.name}，要先投保{names}。")
    if chosen and all(cover.additional for _, cover in chosen.values()):
        errors.add(place, "additional_alone", "附加险不能单独投保。")
    if premium is not None and total is not None and total != premium:
        errors.add(at(pointer, "premium_fen"), "not_the_sum", "保险费合计与各险种保险费之和不一致。")
    return frozenset(chosen)


def _sum(errors: _Errors, cover: Cover, fen: int, numbers: Mapping[str, int], pointer: str) -> None:
    match cover.sum:
        case FixedSum(fen=fixed):
            good = fen == fixed
        case ChoiceSum(fen=choices):
            good = fen in choices
        case RangeSum() as rule:
            good = rule.min_fen <= fen <= rule.max_fen and (fen - rule.min_fen) % rule.step_fen == 0
            if rule.compare is not None:
                _compare(errors, rule.compare, fen, numbers, pointer, f"{cover.name}的保险金额")
        case _:
            good = fen == 0
    if not good:
        errors.add(pointer, "sum", f"{cover.name}的保险金额不在可选范围内。")


def _compare(
    errors: _Errors, rule: Comparison, value: int, numbers: Mapping[str, int], pointer: str, name: str
) -> None:
    other = numbers.get(rule.other)
    if other is None:
        return  # its own check names it as missing or wrong
    limit = other + rule.offset
    if rule.rule == "equal" and value != limit:
        errors.add(pointer, "inconsistent", f"{name}与其他填写内容不一致。")
    elif rule.rule == "at_most" and value > limit:
        errors.add(pointer, "inconsistent", f"{name}超过了其他填写内容允许的上限。")


def _fields(
    errors: _Errors,
    rules: Sequence[FieldRule],
    values: Json,
    pointer: str,
    now: datetime,
    numbers: Mapping[str, int],
    covers: frozenset[str],
) -> None:
    for rule in rules:
        value = values.get(rule.code)
        place = at(pointer, rule.code)
        bound = rule.required_with
        if value is None or value == "":
            if rule.required or any(code in covers for code in bound):
                errors.add(place, "missing", f"{rule.label}没有填写。")
        elif bound and not any(code in covers for code in bound):
            errors.add(place, "not_applicable", f"没有选择对应的险种，不要填写{rule.label}。")
        else:
            _value(errors, rule, value, place, now, numbers)


def _value(
    errors: _Errors,
    rule: FieldRule,
    value: object,
    pointer: str,
    now: datetime,
    numbers: Mapping[str, int],
) -> None:
    hint = rule.hint or "请核对。"
    match rule.type:
        case FieldType.BOOLEAN:
            if not isinstance(value, bool):
                errors.add(pointer, "not_a_boolean", f"{rule.label}应当是“是”或“否”。")
        case FieldType.INTEGER | FieldType.FEN:
            if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _MOST_FEN:
                errors.add(pointer, "not_a_number", f"{rule.label}应当是整数。")
            elif (rule.min is not None and value < rule.min) or (rule.max is not None and value > rule.max):
                errors.add(pointer, "out_of_range", f"{rule.label}超出范围。{hint}")
            elif rule.compare is not None:
                _compare(errors, rule.compare, value, numbers, pointer, rule.label)
        case FieldType.CHOICE:
            if not isinstance(value, str) or all(choice.code != value for choice in rule.choices):
                names = "、".join(choice.name for choice in rule.choices)
                errors.add(pointer, "not_a_choice", f"{rule.label}应当是：{names}。")
        case FieldType.DATE:
            day = _date(value)
            if day is None:
                errors.add(pointer, "not_a_date", f"{rule.label}应当是“年-月-日”，例如2024-06-01。")
            elif rule.past and day > now.astimezone(CHINA).date():
                errors.add(pointer, "in_future", f"{rule.label}不能晚于今天。")
        case FieldType.TEXT:
            if not isinstance(value, str):
                errors.add(pointer, "not_a_text", f"{rule.label}应当是文字。")
            elif unfit_character(value):
                errors.add(pointer, "unfit_character", f"{rule.label}里有看不见的或不能使用的字符。")
            elif value != value.strip():
                errors.add(pointer, "outer_space", f"{rule.label}前后不能有空格。")
            elif not (rule.min or 1) <= len(value) <= (rule.max or _LONGEST_TEXT):
                errors.add(pointer, "length", f"{rule.label}的长度不对。{hint}")
            elif rule.pattern is not None and re.fullmatch(rule.pattern, value, re.ASCII) is None:
                errors.add(pointer, "pattern", f"{rule.label}的格式不对。{hint}")


def _date(value: object) -> date | None:
    if not isinstance(value, str) or _DATE.fullmatch(value) is None:
        return None
    try:
        day = date.fromisoformat(value)
    except ValueError:
        return None
    return day if day.year >= 1900 else None


def _taxes(errors: _Errors, product: Product, value: object, pointer: str) -> None:
    taxes = errors.array(value, pointer, "税款")
    if taxes is None:
        return
    rules = {tax.code: tax for tax in product.taxes}
    seen: set[str] = set()
    for i, entry in enumerate(taxes):
        line = errors.object(entry, at(pointer, i), "税款")
        if line is None:
            continue
        errors.known_keys(line, at(pointer, i), ("tax", "fen"))
        code = line.get("tax")
        rule = rules.get(code) if isinstance(code, str) else None
        if rule is None:
            errors.add(at(pointer, i, "tax"), "unknown_tax", "这个产品不代收这种税。")
        elif rule.code in seen:
            errors.add(at(pointer, i, "tax"), "duplicate", f"{rule.name}重复。")
        else:
            seen.add(rule.code)
        fen = errors.fen(line.get("fen"), at(pointer, i, "fen"), rule.name if rule else "税款")
        if fen is not None and rule is not None and fen > rule.max_fen:
            errors.add(at(pointer, i, "fen"), "out_of_range", f"{rule.name}超出范围。")
    for rule in product.taxes:
        if rule.required and rule.code not in seen:
            errors.add(pointer, "required_tax", f"必须写明{rule.name}，没有税款时填0。")


def _period(errors: _Errors, rule: PeriodRule, value: object, pointer: str, now: datetime) -> None:
    period = errors.object(value, pointer, "保险期间")
    if period is None:
        return
    errors.known_keys(period, pointer, ("from", "to"))
    start = _moment(errors, period.get("from"), at(pointer, "from"), "保险起期")
    end = _moment(errors, period.get("to"), at(pointer, "to"), "保险止期")
    if start is None:
        return
    if start <= now:
        errors.add(at(pointer, "from"), "not_in_future", "保险起期必须在现在之后。")
    elif start > now + timedelta(days=rule.latest_start_days):
        errors.add(at(pointer, "from"), "too_late", f"保险起期不能晚于{rule.latest_start_days}天以后。")
    local = start.astimezone(CHINA)
    if local.second:
        errors.add(at(pointer, "from"), "not_a_minute", "保险起期应当精确到分钟。")
    elif "immediate" not in rule.starts and (local.hour, local.minute) != (0, 0):
        errors.add(at(pointer, "from"), "not_midnight", "保险起期应当是某日零时。")
    if end is None:
        return
    if end <= start:
        errors.add(at(pointer, "to"), "before_start", "保险止期必须在保险起期之后。")
        return
    if rule.min_months == rule.max_months:
        if end != add_months(start, rule.max_months):
            errors.add(at(pointer, "to"), "length", f"保险期间应当正好是{rule.max_months}个月。")
    elif not add_months(start, rule.min_months) <= end <= add_months(start, rule.max_months):
        errors.add(at(pointer, "to"), "length", f"保险期间应当是{rule.min_months}到{rule.max_months}个月。")


def _moment(errors: _Errors, value: object, pointer: str, name: str) -> datetime | None:
    if value is None:
        errors.add(pointer, "missing", f"没有填写{name}。")
        return None
    moment = None
    if isinstance(value, str) and _TIME.fullmatch(value):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
    if moment is None or not 2000 <= moment.year <= 2200:
        errors.add(pointer, "not_a_time", f"{name}应当是带时区的时间，例如2026-12-01T00:00:00+08:00。")
        return None
    return moment
