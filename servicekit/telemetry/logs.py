"""JSON logs that hold nothing personal.

Every text that leaves through a log line (message, arguments, extras, traceback) passes :func:`mask` first,
as does what goes into traces and health answers. The filter is the second line of defence: code does not log
personal values in the first place. It rather masks a word too many than a person too few, but leaves alone
what operators live by: ULIDs, hashes, policy numbers, times, ports.
"""

import dataclasses
import json
import logging
import re
import sys
import traceback
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from types import TracebackType
from typing import Any, Final, TextIO, cast

from opentelemetry import trace
from pydantic import BaseModel
from pythonjsonlogger.core import RESERVED_ATTRS, LogData
from pythonjsonlogger.json import JsonFormatter
from ulid import ULID

MAX_TEXT: Final = 32_768
"""Characters of one text of a log line; the rest is cut."""

_CUT_MARGIN: Final = 200
_MAX_DEPTH: Final = 8
_MAX_ITEMS: Final = 200
_MAX_CHAIN: Final = 10
_MAX_FRAMES: Final = 50

_OWN_FIELDS: Final = (
    "time",
    "level",
    "service",
    "logger",
    "message",
    "trace_id",
    "span_id",
    "exception",
    "stack",
)
_LINE_ENDS: Final = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}
_NOT_EXTRA: Final = frozenset({*RESERVED_ATTRS, *_OWN_FIELDS, "taskName", "color_message"})


def configure_logs(service: str, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send every logger of this process to ``stream`` (standard output) as JSON lines.

    Fields: time (UTC, ISO 8601), level, service, logger, message, trace_id and span_id of the current span,
    then whatever ``extra`` gave; ``exception`` and ``stack`` where there is one. Replaces earlier handlers of
    the root. Warnings and uncaught exceptions go the same way, for their usual way prints values.
    """
    out = sys.stdout if stream is None else stream
    handler = _Handler(out)
    handler.setFormatter(Formatter(service))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught


class Formatter(JsonFormatter):
    """One JSON object a record, every value masked."""

    def __init__(self, service: str) -> None:
        super().__init__(json_ensure_ascii=False)  # pyright: ignore[reportUnknownMemberType]
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        context = trace.get_current_span().get_span_context()
        line: LogData = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "service": self._service,
            "logger": mask(record.name),
            "message": mask(_message(record)),
        }
        if context.is_valid:
            line["trace_id"] = trace.format_trace_id(context.trace_id)
            line["span_id"] = trace.format_span_id(context.span_id)
        for key, value in record.__dict__.items():
            if key not in _NOT_EXTRA and not key.startswith("_"):
                line[mask(key)] = _masked(value, key)
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = mask(render_exception(record.exc_info[1]))
        elif record.exc_text:
            line["exception"] = mask(record.exc_text)
        if record.stack_info:
            line["stack"] = mask(record.stack_info)
        # JSON leaves these as they are, and some readers take them for the end of a line.
        return self.jsonify_log_record(line).translate(_LINE_ENDS)


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name logging gives it
        # The inherited one prints the record's raw arguments.
        if logging.raiseExceptions and sys.stderr is not None:
            failure = sys.exc_info()[0]
            sys.stderr.write(f"a log line of {record.name} was lost: {failure.__name__ if failure else '?'}\n")


def render_exception(error: BaseException) -> str:
    """A traceback without local values, chained exceptions included; not yet masked.

    Errors of validation show where and what kind, never the value that was refused.
    """
    return "".join(_render(error, set())).rstrip("\n")


def _render(error: BaseException, seen: set[int]) -> Iterable[str]:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen and len(seen) < _MAX_CHAIN:
        yield from _render(before, seen)
        if error.__cause__ is not None:
            yield "\nThe above exception was the direct cause of the following exception:\n\n"
        else:
            yield "\nDuring handling of the above exception, another exception occurred:\n\n"
    if error.__traceback__ is not None:
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(error.__traceback__, limit=-_MAX_FRAMES)
    yield f"{type(error).__module__}.{type(error).__qualname__}: {_says(error)}\n"
    for note in getattr(error, "__notes__", ()):
        yield f"{note}\n"
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        for number, member in enumerate(group.exceptions, 1):
            if id(member) not in seen and len(seen) < _MAX_CHAIN:
                yield f"--- {number} of {len(group.exceptions)} ---\n"
                yield from _render(member, seen)


def _says(error: BaseException) -> str:
    """What an exception says, without the input that a validation error would quote."""
    try:
        if callable(errors := getattr(error, "errors", None)):
            # pydantic's ValidationError and those that wrap its list (FastAPI): msg, input, ctx quote values.
            found = [
                f"{'.'.join(str(part) for part in each['loc'])} ({each['type']})"
                for each in cast("list[dict[str, Any]]", errors())
            ]
            return f"{len(found)} invalid: " + "; ".join(found)
    except Exception:  # noqa: BLE001 - a log line must not raise, whatever the error's own code does
        return "[details withheld]"
    return _text(error)


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - somebody's __str__
        return f"<unprintable {type(value).__qualname__}>"


def _message(record: logging.LogRecord) -> str:
    if isinstance(record.msg, BaseException):
        return _says(record.msg)
    arguments: Any = record.args
    if isinstance(arguments, tuple):
        arguments = tuple(_argument(each) for each in cast("tuple[object, ...]", arguments))
    elif isinstance(arguments, Mapping):
        arguments = {
            key: "[masked]" if _PERSONAL_KEY.search(str(key)) else _argument(each)
            for key, each in cast("Mapping[object, object]", arguments).items()
        }
    template = _text(record.msg)
    if not arguments:
        return template
    try:
        return template % arguments
    except Exception:  # noqa: BLE001 - somebody's __str__, or arguments too many
        return f"{template} [arguments that do not fit]"


def _argument(value: object) -> object:
    if isinstance(value, BaseException):
        return _says(value)
    if isinstance(value, BaseModel):
        return f"<{type(value).__name__}>"
    if isinstance(value, bytes | bytearray):
        return f"<{len(value)} bytes>"
    if isinstance(value, dict | list | tuple | set | frozenset):
        # Through JSON's eyes, so that a value is masked by its key as in an extra.
        return json.dumps(_masked(cast("object", value), ""), ensure_ascii=False, default=_text)
    return value


def _masked(value: object, key: str, depth: int = 0) -> object:
    """A JSON value for ``value`` with everything personal masked, whatever was handed in."""
    if value is None or isinstance(value, bool):
        return value
    if key == "input" or (_PERSONAL_KEY.search(key) and not _is_container(value)):
        return "[masked]"
    if isinstance(value, Enum):
        return _masked(cast("object", value.value), key, depth + 1)
    if isinstance(value, int | float | Decimal):
        shown = str(value)
        if mask(shown) != shown:
            return mask(shown)
        return value if isinstance(value, int | float) else shown
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes | bytearray):
        return f"<{len(value)} bytes>"
    if isinstance(value, BaseException):
        return mask(f"{type(value).__qualname__}: {_says(value)}")
    if isinstance(value, ULID | PurePath):
        return mask(str(value))
    if depth >= _MAX_DEPTH:
        return "[too deep]"
    if isinstance(value, BaseModel) or dataclasses.is_dataclass(value):
        # A model of ours may hold anything about anybody; which one it was is enough.
        return f"<{(value if isinstance(value, type) else type(value)).__name__}>"
    if isinstance(value, Mapping):
        entries = list(cast("Mapping[object, object]", value).items())[:_MAX_ITEMS]
        return {mask(_text(name)): _masked(inner, _text(name), depth + 1) for name, inner in entries}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(inner, key, depth + 1) for inner in list(cast("Iterable[object]", value))[:_MAX_ITEMS]]
    return mask(_text(value))


def _is_container(value: object) -> bool:
    return isinstance(value, Mapping | list | tuple | set | frozenset)


def _log_uncaught(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("uncaught").critical("the process ends", exc_info=(kind, error, where))


# --- the filter

_HAN: Final = r"\u3400-\u9fff\U00020000-\U0003ffff"

# Full-width letters, digits and the signs used within numbers, to their ASCII twins; what is invisible goes.
_PLAIN: Final[dict[int, int | str | None]] = {
    **{wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F) if chr(wide - 0xFEE0).isalnum()},
    **{ord(wide): plain for wide, plain in zip("＋－＠＿．＝：（）", "+-@_.=:()", strict=True)},
    **dict.fromkeys((0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF, 0x00AD)),
}

# What looks like a number or VIN to the patterns below, and is an id or a hash.
_SAFE: Final = re.compile(
    r"""(?<![0-9A-Za-z]) (
        [0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}               # traceparent
      | [0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}                     # UUID
      | [0-9a-f]{128} | [0-9a-f]{96} | [0-9a-f]{64} | [0-9a-f]{40} | [0-9a-f]{32}
      | (?=[0-9]*[A-Z]) [0-7][0-9A-HJKMNP-TV-Z]{25}                     # ULID
    ) (?![0-9A-Za-z])""",
    re.VERBOSE,
)

_WHOSE: Final = (
    r"(?:policy_?holder|holder|insured|insurant|customer|cust|payer|payee|owner|beneficiary|real|full|first|last"
    r"|given|family|sur|user|person|contact|applicant|proposer|signer|signatory|driver|recipient|account|card|bank"
    r"|id|home|mailing|postal|street|receiver|mobile|cell|salesperson)"
)
_NAMES_EN: Final = rf"(?:{_WHOSE}[_\-]?)?name"
_NUMBERS_EN: Final = (
    rf"(?:{_WHOSE}[_\-]?)?(?:id_?(?:card|number|num|no)|id_?card_?(?:number|num|no)|cert(?:ificate)?_?(?:number|num|no)"
    r"|(?:tele)?phone(?:_?(?:number|num|no))?|mobile(?:_?(?:number|num|no))?|bank_?card(?:_?(?:number|num|no))?"
    r"|card_?(?:number|num|no)|account_?(?:number|num|no)|vin|engine_?(?:number|num|no)"
    r"|(?:licen[cs]e_?)?plate(?:_?(?:number|num|no))?|birth_?(?:day|date)|date_of_birth|e?mail)"
)
_ADDRESS_EN: Final = rf"(?:{_WHOSE}[_\-]?)?addr(?:ess)?"
_PEOPLE: Final = (
    r"(?:投保人|被保险人|被保人|受益人|行驶证车主|车主|驾驶人|联系人|持卡人|付款人|缴费人|收款人|开户人|领款人"
    r"|经办人|法定代表人|业务员|客户|用户|户名)"
)
_NUMBERS_CN: Final = (
    r"(?:身份证号码?|身份证|证件号码?|手机号码?|手机|联系电话|电话号码?|电话|银行卡号?|卡号|账号|帐号|车架号"
    r"|车辆识别代号|发动机号码?|号牌号码|车牌号码?|车牌|电子邮箱|邮箱|出生日期)"
)
_PERSONAL_KEY: Final = re.compile(
    rf"(?:^|[._\-])(?:{_NAMES_EN}|{_NUMBERS_EN}|{_ADDRESS_EN}|strokes)$|^{_PEOPLE}$|姓名|{_NUMBERS_CN}|地址|住址",
    re.IGNORECASE,
)
"""Keys whose value is personal whatever it looks like."""

_SURNAMES: Final = (
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧肖程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎闫余潘杜"
    "戴夏钟汪田任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文欧司诸上慕"
)

_IS: Final = r"(?>\\*[\"']?[ \t]*[:=][ \t]*)"
_QUOTED: Final = r"(?P<quote>\\*[\"'])(?:(?!(?P=quote))[^\n]){1,200}"
_BARE: Final = r"[^\s&,;，；。、\"'<>|(){}\[\]=\\]{1,64}"

_LABELLED: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), shown)
    for pattern, shown in (
        # What pydantic and FastAPI print of a refused input.
        (r"(?P<label>\binput_value=)(?!\[masked\]).{0,2000}?(?=, input_type=|$)", "[masked]"),
        (
            r"(?P<label>[\"']input[\"']:[ ]?)(?P<value>(?P<quote>[\"'])(?:(?!(?P=quote))[^\n]){1,2000})",
            "[masked]",
        ),
        # An input of many values has no end that a pattern could find.
        (r"(?P<label>[\"']input[\"']:[ ]?)(?=[^\"'\s\[]|\[(?!masked\]))[^\n]+", "[masked]"),
        (rf"(?P<label>(?<![0-9A-Za-z_]){_NUMBERS_EN}{_IS})(?P<value>{_QUOTED}|\+?{_BARE})", "[masked]"),
        (rf"(?P<label>{_NUMBERS_CN}{_IS})(?P<value>{_QUOTED}|\+?{_BARE})", "[masked]"),
        (
            (
                rf"(?P<label>(?<![0-9A-Za-z_]){_NAMES_EN}{_IS})(?!\\*[\"']?Task-[0-9])"
                rf"(?P<value>{_QUOTED}|{_BARE}(?:[ +](?-i:[A-Z])[a-z'’\-]*(?![0-9A-Za-z_=:]))*)"
            ),
            "[name]",
        ),
        (
            (rf"(?P<label>(?:姓名|名字|{_PEOPLE}(?:名称)?){_IS})(?P<value>{_QUOTED}|{_BARE})"),
            "[name]",
        ),
        (
            (
                rf"(?P<label>(?:姓名|{_PEOPLE}(?:名称)?)(?:为|是|\s)[ ]?)"
                rf"(?P<value>[{_HAN}][{_HAN}·•・]{{1,19}})"
            ),
            "[name]",
        ),
        (rf"(?P<label>(?<![0-9A-Za-z]){_WHOSE}{_IS}\\*[\"']?)(?P<value>[{_HAN}][{_HAN}·•・]{{1,19}})", "[name]"),
        (rf"(?P<label>姓名)(?P<value>[{_HAN}][{_HAN}·•・]{{1,3}})", "[name]"),
        (rf"(?P<label>{_PEOPLE})(?P<value>[{_SURNAMES}][{_HAN}]{{1,2}})", "[name]"),
        (
            (
                rf"(?P<label>(?<![0-9A-Za-z_]){_ADDRESS_EN}{_IS})"
                r"(?!\\*[\"']?(?:[a-z+]+://|\[|[0-9]{1,3}(?:\.[0-9]{1,3}){3}|localhost\b|[a-z0-9.\-]+:[0-9]|0x|\())"
                rf"(?P<value>{_QUOTED}|[^\"'\n\r;；。&|<>{{}}\\]{{1,120}})"
            ),
            "[address]",
        ),
        (
            (
                r"(?P<label>(?:地址|住址)(?>\\*[\"']?[ \t]*[:=为是]?[ \t]*))"
                r"(?!\\*[\"']?(?:[a-z+]+://|\[|[0-9]{1,3}(?:\.[0-9]{1,3}){3}|localhost\b))"
                rf"(?P<value>{_QUOTED}|[^\"'\n\r;；。&|<>{{}}\\]{{1,120}})"
            ),
            "[address]",
        ),
    )
)

_UNLABELLED: Final = (
    (re.compile(r"[\w.%+\-]{1,64}@[A-Za-z0-9\-]{1,63}(?:\.[A-Za-z0-9\-]{1,63}){1,8}"), "[email]"),
    (
        re.compile(
            r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使领]"
            r"[ ]?[A-HJ-NP-Z][ ·•・.\-]{0,2}"
            r"(?=[A-Z0-9]{0,5}[0-9])[A-HJ-NP-Z0-9]{4,6}[挂学警港澳使领]?(?![A-Za-z0-9])",
            re.IGNORECASE,
        ),
        "[plate]",
    ),
    # Words of Chinese left in a URL: nothing of ours puts any there.
    (re.compile(r"(?:%[EFef][0-9A-Fa-f](?:%[89ABab][0-9A-Fa-f]){2,3}[A-Za-z0-9·.\-]*)+"), "[text]"),
)

_VIN: Final = re.compile(r"(?<![0-9A-Za-z])[A-HJ-NPR-Z0-9]{17}(?![0-9A-Za-z])", re.IGNORECASE)
_VIN_WEIGHTS: Final = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
_VIN_VALUES: Final = dict(
    zip(
        "ABCDEFGHJKLMNPRSTUVWXYZ",
        (1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 7, 9, 2, 3, 4, 5, 6, 7, 8, 9),
        strict=True,
    )
)

_BETWEEN: Final = r"[ \t\u00a0\u3000.·_()\-\u2010-\u2015\u2212]{0,3}"
_RUN: Final = re.compile(rf"[0-9](?:{_BETWEEN}[0-9])*(?:{_BETWEEN}[Xx](?![0-9A-Za-z]))?")
_PART: Final = re.compile(r"[0-9]+|[Xx]")
_HEX_LETTERS: Final = "ABCDEFabcdef"
_LEAD: Final = re.compile(r"(?:tel|phone|mobile|mob|sms|card|acct|account|bank|id|no|num|number)$", re.IGNORECASE)

_ID_18: Final = re.compile(
    r"(?:1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]|9[1-9])[0-9]{4}"
    r"(?:18|19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9Xx]"
)
_ID_15: Final = re.compile(
    r"(?:1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3])[0-9]{4}"
    r"[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}"
)
_PHONE: Final = re.compile(r"1[3-9][0-9]{9}")
_CARD: Final = re.compile(r"(?:[34569]|22[2-9]|2[3-6][0-9]|27[01]|2720)[0-9]+")
"""The beginnings that card schemes use (ISO/IEC 7812): no Unix time and no date of this century has one."""

_SHAPES_ID_15: Final = frozenset({(15,), (6, 6, 3), (6, 2, 2, 2, 3)})
_SHAPES_PHONE: Final = frozenset(
    {(11,), (3, 4, 4), (3, 8), (7, 4), (3, 3, 5), (4, 3, 4), (4, 4, 3), (5, 6), (3, 2, 2, 2, 2), (1, 2, 4, 4)}
)
_SHAPES_CARD: Final = frozenset(
    {(4, 4, 4, 4), (4, 4, 4, 4, 1), (4, 4, 4, 4, 2), (4, 4, 4, 4, 3), (4, 6, 5), (4, 6, 4), (6, 13), (6, 10)}
    | {
        (6, 4, 4, 4),
        (6, 4, 4, 4, 1),
        (5, 5, 5, 4),
        (8, 8),
        (4, 4, 4, 7),
        (4, 4, 4, 3),
        (4, 12),
        (4, 15),
        (12, 4),
    }
)


def mask(text: str) -> str:
    r"""``text`` with everything personal replaced by what it was: [id], [phone], [card], [name], [email], ...

    Known forms are found anywhere, also split by spaces or dashes, in full-width digits, percent-encoded or
    ``\u``-escaped; names and addresses after their labels. A text without any comes back as it was.
    """
    if len(text) > MAX_TEXT:
        # The cut may halve a number, and half a number has no recognisable form.
        text = mask(text[:MAX_TEXT])[: MAX_TEXT - _CUT_MARGIN] + " [cut]"
    # A lone surrogate cannot be written to any stream.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    plain = _plain(text)
    masked = plain
    for pattern, shown in _LABELLED:
        masked = pattern.sub(lambda found, shown=shown: _after_label(found, shown), masked)
    for pattern, shown in _UNLABELLED:
        masked = pattern.sub(shown, masked)
    # Every second piece is an id or a hash.
    pieces = _SAFE.split(masked)
    pieces[::2] = [_RUN.sub(_numbers, _VIN.sub(_vin, piece)) for piece in pieces[::2]]
    masked = "".join(pieces)
    return text if masked == plain else masked


def _plain(text: str) -> str:
    if "%" in text:
        for _ in range(2):
            text = re.sub(r"%([2-7][0-9A-Fa-f])", lambda found: chr(int(found[1], 16)), text)
    if "\\u" in text:
        text = re.sub(
            r"\\u([0-9A-Fa-f]{4})",
            lambda found: found[0] if 0xD800 <= (code := int(found[1], 16)) < 0xE000 or code < 0x20 else chr(code),
            text,
        )
    return text.translate(_PLAIN)


def _after_label(found: re.Match[str], shown: str) -> str:
    opening = found["quote"] if "quote" in found.re.groupindex and found["quote"] else ""
    return f"{found['label']}{opening}{shown}"


def _vin(found: re.Match[str]) -> str:
    vin = found[0].upper()
    letters = sum(not character.isdigit() for character in vin)
    if letters < 2:
        return found[0]
    total = sum(
        weight * (int(character) if character.isdigit() else _VIN_VALUES[character])
        for weight, character in zip(_VIN_WEIGHTS, vin, strict=True)
    )
    # GB 16735 / ISO 3779: position 9 checks; a Chinese maker's begins with L and ends in a four-digit serial.
    sound = "0123456789X"[total % 11] == vin[8]
    return "[vin]" if sound or (vin[0] == "L" and vin[-4:].isdigit()) else found[0]


def _numbers(found: re.Match[str]) -> str:
    """One run of digits and separators with each number of a person in it masked."""
    run, text, start = found[0], found.string, found.start()
    parts = list(_PART.finditer(run))
    before = text[max(0, start - 12) : start]
    after = text[found.end() : found.end() + 1]
    # Digits that go on from letters are part of some code of letters and digits, unless the letters say what
    # they are. For a phone only letters of a hexadecimal number speak against it: u13812345678 is a user.
    letter_before = before[-1:] if before[-1:].isascii() and before[-1:].isalpha() else ""
    labelled = letter_before != "" and _LEAD.search(before) is not None
    in_code = letter_before != "" and not labelled
    in_hex = in_code and letter_before in _HEX_LETTERS
    before_hex = after != "" and after in _HEX_LETTERS
    out: list[str] = []
    done = 0
    first = 0
    while first < len(parts):
        hit: tuple[int, str] | None = None
        digits = ""
        shape: tuple[int, ...] = ()
        fraction = run[parts[first - 1].end() : parts[first].start()] == "." if first else False
        for last in range(first, len(parts)):
            digits += parts[last][0]
            shape = (*shape, len(parts[last][0]))
            if len(digits) > 19:
                break
            decimals = fraction and len(shape) == 1
            at_end = last == len(parts) - 1 and before_hex
            phone = not (decimals or at_end or (first == 0 and in_hex))
            other = not (decimals or at_end or (first == 0 and in_code))
            kind = _kind(digits, shape, phone=phone, other=other)
            if kind is not None:
                hit = last, kind
        if hit is None:
            first += 1
            continue
        out += run[done : parts[first].start()], hit[1]
        done = parts[hit[0]].end()
        first = hit[0] + 1
    return "".join(out) + run[done:]


def _kind(digits: str, shape: tuple[int, ...], *, phone: bool, other: bool) -> str | None:
    """What these digits, grouped so, are. An 18-digit identity number is known anywhere by the date in it."""
    if _ID_18.fullmatch(digits):
        return "[id]"
    if not digits.isdigit():
        return None
    one_by_one = len(shape) == len(digits)
    if other and _ID_15.fullmatch(digits) and (shape in _SHAPES_ID_15 or one_by_one):
        return "[id]"
    for country in ("", "86", "0086"):
        local = (shape[0] - len(country), *shape[1:])
        grouped = one_by_one or local in _SHAPES_PHONE or (local[0] == 0 and local[1:] in _SHAPES_PHONE)
        if phone and grouped and digits.startswith(country) and _PHONE.fullmatch(digits[len(country) :]):
            return "[phone]"
    whole = 13 <= len(digits) <= 19 and (len(shape) == 1 or shape in _SHAPES_CARD or one_by_one)
    return "[card]" if other and whole and _CARD.fullmatch(digits) and _luhn(digits) else None


def _luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0
