"""Checks of a natural person's data as a channel submits it: name, identity document, phone, address.

Generic: a product only says which documents and ages it takes (`products.model.PartyRule`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import date, datetime
from zoneinfo import ZoneInfo

from contracts.problems import pointer as below
from contracts.values import Contract
from products.model import ID_TYPE_NAMES, PARTY_FIELDS, PartyRule

CHINA = ZoneInfo("Asia/Shanghai")
ADULT = PartyRule(id_types=("id_card",), min_age=18)
"""A person of full capacity who can be checked by name and ID number."""

MOBILE = re.compile(r"1[3-9][0-9]{9}")
_HAN = "\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_HAN_NAME = re.compile(f"[{_HAN}]+(?:·[{_HAN}]+)*")
_LATIN_NAME = re.compile(r"[A-Za-z]+(?:[ .'’-]{1,2}[A-Za-z]+)*\.?")
_ID_SHAPES = {
    "passport": re.compile(r"[A-Z0-9]{5,20}"),
    "travel_permit": re.compile(r"(?:[HM][0-9]{8}(?:[0-9]{2})?|[0-9]{8}(?:[0-9]{2})?)"),
}
# First two digits: the province (GB/T 2260); 8 and 9 are used by residents from Hong Kong, Macao, Taiwan and
# abroad.
_ID_NUMBER = re.compile(r"(?:1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]|91)[0-9]{15}[0-9X]")
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


class FieldError(Contract):
    """What is wrong with one value of a proposal.

    ``pointer`` is an RFC 6901 JSON pointer into what the channel sent, ``code`` a stable slug, ``message`` a
    plain Chinese sentence. The refused value itself is never repeated.
    """

    pointer: str
    code: str
    message: str


def at(pointer: str, *keys: str | int) -> str:
    """A JSON pointer below ``pointer``, with ``~`` and ``/`` escaped (RFC 6901 §3).

    A key that may not be repeated becomes ``?`` (``contracts.problems.pointer``).
    """
    return pointer + below(*keys)


def unfit_character(text: str) -> bool:
    """Whether a text holds what a page or paper cannot show honestly.

    Control, bidirectional and invisible format characters, line separators, private use, surrogates and
    unassigned code points. Han characters newer than Python's Unicode tables are taken.
    """
    return any(
        unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
        and not 0x20000 <= ord(character) <= 0x3FFFD
        for character in text
    )


def id_check_character(first17: str) -> str:
    """The 18th character of a resident ID number (GB 11643, ISO 7064 MOD 11-2)."""
    return "10X98765432"[sum(int(d) * w for d, w in zip(first17, _WEIGHTS, strict=True)) % 11]


def id_birthday(number: str) -> date | None:
    """The date of birth in an 18-character ID number, or ``None`` when the number cannot be right."""
    if _ID_NUMBER.fullmatch(number) is None or id_check_character(number[:17]) != number[17]:
        return None
    try:
        return date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return None


def age_on(birthday: date, day: date) -> int:
    """Full years of age; who is born on 29 February completes a year on 1 March."""
    return day.year - birthday.year - ((day.month, day.day) < (birthday.month, birthday.day))


def check_party(
    party: object, pointer: str, *, now: datetime, rule: PartyRule = ADULT, who: str = "投保人"
) -> list[FieldError]:
    """Every fault of one person; ``now`` is an aware time, ages count by the calendar of Asia/Shanghai."""
    if not isinstance(party, dict):
        return [FieldError(pointer=pointer, code="not_an_object", message=f"请填写{who}信息。")]
    values: dict[object, object] = dict(party)  # pyright: ignore[reportUnknownArgumentType]
    errors = [
        FieldError(pointer=at(pointer, str(key)), code="unknown_field", message="没有这个填写项，请删除。")
        for key in values
        if key not in PARTY_FIELDS
    ]
    texts: dict[str, str] = {}
    labels = {
        "name": "姓名",
        "id_type": "证件类型",
        "id_number": "证件号码",
        "phone": "手机号码",
        "address": "地址",
    }

    def refuse(key: str, code: str, message: str) -> None:
        errors.append(FieldError(pointer=at(pointer, key), code=code, message=f"{who}{labels[key]}{message}"))

    for key in PARTY_FIELDS:
        value = values.get(key)
        if value is None or value == "":
            refuse(key, "missing", "没有填写。")
        elif not isinstance(value, str):
            refuse(key, "not_a_text", "应当是文字。")
        elif unfit_character(value):
            refuse(key, "unfit_character", "里有看不见的或不能使用的字符。")
        elif value != value.strip():
            refuse(key, "outer_space", "前后不能有空格。")
        else:
            texts[key] = value

    id_type = texts.get("id_type")
    if id_type is not None and id_type not in rule.id_types:
        names = "、".join(ID_TYPE_NAMES[code] for code in rule.id_types)
        refuse("id_type", "not_a_choice", f"应当是：{names}。")
        id_type = None
    if "name" in texts:
        _check_name(texts["name"], id_type, refuse)
    if "phone" in texts and MOBILE.fullmatch(texts["phone"]) is None:
        refuse("phone", "pattern", "应当是11位中国大陆手机号码。")
    if "address" in texts and not 5 <= len(texts["address"]) <= 120:
        refuse("address", "length", "应当写到门牌号，5到120个字。")
    if "id_number" in texts and id_type is not None:
        number = texts["id_number"]
        if id_type in _ID_SHAPES:
            if _ID_SHAPES[id_type].fullmatch(number) is None:
                refuse("id_number", "pattern", "与证件类型不符，请核对。")
        else:
            birthday = id_birthday(number)
            today = now.astimezone(CHINA).date()
            if birthday is None or birthday > today or birthday.year < 1880:
                refuse("id_number", "checksum", "不正确，请逐位核对（末位字母用大写X）。")
            elif not rule.min_age <= age_on(birthday, today) <= rule.max_age:
                refuse("id_number", "age", f"对应的年龄应当在{rule.min_age}到{rule.max_age}周岁之间。")
    return errors


def _check_name(name: str, id_type: str | None, refuse: Callable[[str, str, str], None]) -> None:
    latin = id_type in ("passport", "permanent_residence", "travel_permit")
    if not 2 <= len(name) <= (40 if latin else 20):
        refuse("name", "length", "应当是2到20个字。")
    elif _HAN_NAME.fullmatch(name) is None and not (latin and _LATIN_NAME.fullmatch(name)):
        refuse("name", "pattern", "应当与证件上的汉字姓名一致，间隔号用“·”。")
