"""The log lines, and that nothing personal is in them."""

import asyncio
import dataclasses
import io
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ulid import ULID

from servicekit.telemetry.logs import MAX_TEXT, Formatter, configure_logs, mask
from servicekit.telemetry.traces import configure_traces, span

Lines = Callable[[], list[dict[str, Any]]]

ID = "440301199003074514"
PHONE = "13812345678"
CARD = "6222021234567890128"
NAME = "欧阳娜娜"


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Configured logging, and what it wrote as parsed lines."""
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, sys.excepthook
    for handler in handlers:  # pytest's own must survive
        root.removeHandler(handler)
    out = io.StringIO()
    configure_logs("signing", "DEBUG", out)
    yield lambda: [json.loads(line) for line in out.getvalue().splitlines()]
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(False)
    sys.excepthook = hook


log = logging.getLogger("services.signing")


# --- the line


def test_a_line_is_json_with_time_level_service_logger_message_and_extras(lines: Lines) -> None:
    journey = str(ULID())
    log.info("accepted %s of %d", "strokes", 3, extra={"journey_id": journey, "code": "ink_too_fast"})
    (line,) = lines()
    when = datetime.fromisoformat(line.pop("time"))
    assert when.utcoffset() == UTC.utcoffset(None)
    assert line == {
        "level": "INFO",
        "service": "signing",
        "logger": "services.signing",
        "message": "accepted strokes of 3",
        "journey_id": journey,
        "code": "ink_too_fast",
    }


def test_a_line_within_a_span_names_its_trace(lines: Lines) -> None:
    configure_traces("signing")
    with span("sign") as current:
        log.info("within")
    log.info("without")
    within, without = lines()
    context = current.get_span_context()
    assert within["trace_id"] == f"{context.trace_id:032x}"
    assert within["span_id"] == f"{context.span_id:016x}"
    assert "trace_id" not in without


def test_an_extra_cannot_pass_for_a_field_of_the_line(lines: Lines) -> None:
    log.info("x", extra={"service": "payment", "time": 1, "level": "no", "trace_id": "no", "logger": "no"})
    (line,) = lines()
    assert (line["service"], line["level"], line["logger"]) == ("signing", "INFO", "services.signing")
    assert "trace_id" not in line


def test_one_record_is_one_line_whatever_is_in_it(lines: Lines) -> None:
    log.info("first\nsecond\r\n\u2028third \x00 \ud800 😀 汉字", extra={"k\ney": "v\nalue"})
    (line,) = lines()
    assert line["message"].startswith("first\nsecond")
    assert "😀 汉字" in line["message"]


def test_levels_are_kept_and_configuring_twice_does_not_double(lines: Lines) -> None:
    out = io.StringIO()
    configure_logs("signing", "warning", out)
    log.info("quiet")
    log.warning("loud")
    assert [json.loads(line)["message"] for line in out.getvalue().splitlines()] == ["loud"]
    assert lines() == []


def test_standard_output_is_the_default(lines: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("signing")
    log.info("here")
    assert json.loads(capsys.readouterr().out)["message"] == "here"
    assert lines() == []


def formatted(message: object, *arguments: object) -> dict[str, Any]:
    """What the formatter alone makes of a record (the test runner's own handler refuses some of these)."""
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, message, arguments, None)
    line: dict[str, Any] = json.loads(Formatter("signing").format(record))
    return line


def test_arguments_that_do_not_fit_lose_no_line_and_print_no_value() -> None:
    assert formatted("one %d", f"姓名{NAME}")["message"] == "one %d [arguments that do not fit]"
    assert formatted("one %s", PHONE, NAME)["message"] == "one %s [arguments that do not fit]"
    assert formatted("one %(b)s", {"a": NAME})["message"] == "one %(b)s [arguments that do not fit]"


def test_a_stream_that_fails_prints_no_value(lines: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    configure_logs("signing", "INFO", stream)
    stream.close()
    log.info("phone %s", PHONE)
    printed = capsys.readouterr().err
    assert "was lost: ValueError" in printed
    assert PHONE not in printed
    configure_logs("signing", "INFO", io.StringIO())
    assert lines() == []


# --- what is masked

PERSONAL = [
    # identity numbers
    (ID, ID),
    ("44030119900307451X", "44030119900307451X"),
    ("身份证号44030119900307451x，", "44030119900307451x"),
    ("440301 19900307 4514", "19900307"),
    ("440301-1990-03-07-4514", "1990"),
    ("4403 0119 9003 0745 14", "9003"),
    ("4 4 0 3 0 1 1 9 9 0 0 3 0 7 4 5 1 4", "9 9 0"),
    ("440301 19900307 451-X", "19900307"),
    ("４４０３０１１９９００３０７４５１４", "４４０３"),
    ("４４０３０１１９９００３０７４５１Ｘ", "４４０３"),
    ("440301\u200b19900307\u200b4514", "19900307"),
    ("440301%2019900307%204514", "19900307"),
    ("idNo440301199003074514", ID),
    ("'id': 440301199003074513", "440301199003074513"),  # a wrong check digit is still somebody's
    ("440301900307451", "440301900307451"),
    ("440301 900307 451", "900307"),
    # phones
    (PHONE, PHONE),
    ("+8613812345678", PHONE),
    ("8613812345678", PHONE),
    ("008613812345678", PHONE),
    ("+86 138 1234 5678", "1234"),
    ("+86-138-1234-5678", "1234"),
    ("(+86) 138-12345678", "12345678"),
    ("+86(138)1234 5678", "5678"),
    ("138.1234.5678", "1234"),
    ("1381234 5678", "1381234"),
    ("1 3 8 1 2 3 4 5 6 7 8", "1 3 8"),
    ("138–1234–5678", "1234"),
    ("138\u00a01234\u30005678", "1234"),
    ("１３８１２３４５６７８", "１３８"),
    ("%2B86%20138%201234%205678", "5678"),
    ("%EF%BC%91%EF%BC%93%EF%BC%98%EF%BC%91%EF%BC%92", "%EF%BC%91"),
    ("tel13812345678", PHONE),
    ("手机13812345678元", PHONE),
    ("user_13812345678", PHONE),
    ("wx13812345678", PHONE),
    ("u13812345678x", PHONE),
    ("13812345678.pdf", PHONE),
    ("13812345678-2", PHONE),
    ("a.13812345678", PHONE),
    ("440301199003074514_front.jpg", ID),
    ("https://h/sms/13812345678/send?x=1", PHONE),
    ("1 13812345678 13912345678 440301199003074514", PHONE),
    ("2026-11-23 13812345678", PHONE),
    ("phone=1381234567", "1381234567"),  # mistyped
    # bank cards
    (CARD, CARD),
    ("6222 0212 3456 7890 128", "3456"),
    ("6222-0212-3456-7890-128", "3456"),
    ("4111111111111111", "4111111111111111"),
    ("4111 1111 1111 1111", "1111"),
    ("378282246310005", "378282246310005"),
    ("3782 822463 10005", "822463"),
    ("银行卡6222021234567890128到账", CARD),
    # names
    ("姓名：欧阳娜娜", NAME),
    ("姓名欧阳娜娜", NAME),
    ("姓名 欧阳娜娜", NAME),
    ("投保人：张三 已签名", "张三"),
    ("投保人张三已签名", "张三"),
    ("投保人姓名=张三", "张三"),
    ("被保险人 李四", "李四"),
    ("被保险人为李四", "李四"),
    ("被保险人名称：某某贸易有限公司", "某某贸易"),
    ("车主:迪丽热巴·迪力木拉提", "迪力木拉提"),
    ("name=张三", "张三"),
    ("name='张三'", "张三"),
    ("name: 张三", "张三"),
    ("name=John Smith", "Smith"),
    ("name=ZHANG SAN", "SAN"),
    ("policyholder_name=张三", "张三"),
    ("holderName=张三", "张三"),
    ("insured.name=张三", "张三"),
    ("policyholder=张三", "张三"),
    ("{'insured': '张三'}", "张三"),
    ("{'name': \"O'Brien\"}", "Brien"),
    ('{"name": "张三", "phone": "138"}', "张三"),
    ('{"name":"张三"}', "张三"),
    (r'{"name": "\u5f20\u4e09"}', r"\u5f20"),
    (r"{\"name\": \"张三\"}", "张三"),
    (r"{\"姓名\": \"张三\"}", "张三"),
    (r"b'{\"name\": \"\xe5\xbc\xa0\"}'", "xe5"),
    ("GET /a?name=%E5%BC%A0%E4%B8%89&x=1", "%BC%A0"),
    ("GET /a?q=%E5%BC%A0%E4%B8%89&x=1", "%BC%A0"),
    ("/a?%22name%22%3A%22Zhang%22", "Zhang"),
    # e-mail
    ("zhang.san+x@mail.example.com.cn", "zhang"),
    ("zhang%40example.com", "zhang"),
    ("张三@example.com", "张三"),
    ("ｚｈａｎｇ＠example.com", "ｚｈａｎｇ"),
    # plates and VINs
    ("粤B12345", "B12345"),
    ("粤B·12345", "12345"),
    ("粤B 12345", "12345"),
    ("粤BD12345", "BD12345"),
    ("京A1234学", "A1234"),
    ("沪a·d12345", "d12345"),
    ("粤Ｂ１２３４５", "１２３４５"),
    ("粤Z1234港", "Z1234"),
    ("/q?plate=%E7%B2%A4B12345", "B12345"),
    ("LSVAA4182E2184847", "LSVAA"),
    ("vin LSVAA4182E2184847,", "LSVAA"),
    ("1M8GDM9AXKP042788", "1M8GDM"),  # ISO 3779 example with a sound check digit
    ("lsvaa4182e2184847", "lsvaa"),
    ("车架号：ABC123", "ABC123"),
    # addresses
    ("地址：广东省深圳市南山区科技园1栋202室", "科技园"),
    ("地址广东省深圳市南山区", "南山区"),
    ("家庭住址 = 南山区科技园1栋", "科技园"),
    ('{"address": "深圳市南山区, 1栋"}', "1栋"),
    ("home_address=88 Nanshan Road, Shenzhen", "Nanshan"),
    ("address=南山区科技园", "科技园"),
    # what validation prints
    ("value [type=x, input_value='欧阳', input_type=str]", "欧阳"),
    ("[{'type': 'x', 'loc': ('a',), 'input': '欧阳'}]", "欧阳"),
    ("[{'type': 'missing', 'loc': ('a',), 'input': {'b': {'c': '欧阳'}}}]", "欧阳"),
]


@pytest.mark.parametrize(("text", "part"), PERSONAL, ids=range(len(PERSONAL)))
def test_personal_values_are_masked_wherever_they_stand(text: str, part: str) -> None:
    assert part in text, "the sample holds what it is about"
    for around in ("{}", "前面 {} 后面", 'msg="{}"', "a\n{}\nb", "[{}]", "错误：{}。"):
        masked = mask(around.format(text))
        assert part not in masked, masked
        assert mask(masked) == masked


def test_a_masked_text_says_what_was_there_and_keeps_the_rest() -> None:
    text = f"投保人姓名：张三，身份证{ID}，手机+86 138 1234 5678，粤B12345，journey 3"
    assert mask(text) == "投保人姓名:[name]，身份证[id]，手机+[phone]，[plate]，journey 3"
    assert mask('{"name": "张三", "age": 30}') == '{"name": "[name]", "age": 30}'
    assert mask("GET /p?name=张三&page=2 200") == "GET /p?name=[name]&page=2 200"


# --- what is left alone

HARMLESS = [
    "",
    "started",
    "01JDB3XQ5Z7K8M9N0P1Q2R3S4T",
    "journey.01JDB3XQ5Z7K8M9N0P1Q2R3S4T.proposal.opened",
    "cmd.evidence.attest took 13 ms",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "4403011990030745144403011990030745144403011990030745144403011990",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "550e8400-e29b-41d4-a716-446655440000",
    "policy PDAA202644030000000123",
    "policies PDZA20264403000000000017, PDAT20264403000000000025",
    "P26440300000000000123",
    "2026-11-23T11:35:13.123456Z",
    "2026-11-23 11:35:13,123",
    "2026-11-23T19:35:13+08:00",
    "20261123113513",
    "20261123113513123",
    "1795433713",
    "1795433713.123456",
    "1795433713123",
    "1795433713123456",
    "1795433713123456789",
    "took 0.13812345678 s, 0.5123456789012345 s",
    "ports 4222, 8222, 27017 and 65535",
    "connect 127.0.0.1:4222 nats://127.0.0.1:4222",
    "bind on address ('127.0.0.1', 4222): address already in use",
    "address=127.0.0.1:4222",
    "address: http://127.0.0.1:8000/",
    "监听地址 127.0.0.1:8000",
    "192.168.113.100 172.16.100.100",
    "premium 100000 fen, 950000 fen",
    "HTTP/1.1 200 1345 13",
    "consumer_name=disclosure hostname=web-1 filename=a.pdf",
    "<Task pending name='Task-12' coro=<run() running at app.py:13>>",
    "投保人确认了条款",
    "被保险人与投保人的关系",
    "投保单已签名",
    "version 3.11.4 nats 2.9.10 python-ulid 4.1.0",
    "100%20 of 50%",
    "price ￥950．00（含税）：合计",
    "card_declined id_check_failed phone_is_salespersons",
    "ink_too_fast proof_nonce_stale",
    "policyholder=confirmed customer: 3",
    "b7ad6b7169203331 a13812345678bcde",
    "card no P2622202123456789012",
    "DN6222021234567890128",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_operators_need_is_left_as_it_is(text: str) -> None:
    assert mask(text) == text


def test_ids_hashes_and_times_are_never_masked() -> None:
    for number in range(2000):
        moment = 1_700_000_000_000_000_000 + number * 77_777_777_777_777
        ulid = ULID.from_timestamp(1_700_000_000 + number * 1000)
        hashed = f"{hash((number, 'a')) & (2**64 - 1):016x}" * 4
        policy = f"PDAA2026{4400 + number % 100}{number * 4_999_999:010d}{number % 10}"
        for text in (str(ulid), hashed, policy, str(moment), str(moment // 10**3), str(moment // 10**6)):
            assert mask(text) == text


@given(
    st.sampled_from([ID, PHONE, CARD, "粤B12345", "zhang@example.com", "LSVAA4182E2184847"]),
    st.text(alphabet=" ,.;:!?\n\t\"'/()[]{}=&汉字，。：", max_size=12),
    st.text(alphabet=" ,;:!?\n\t\"'/()[]{}=&汉字，。：", max_size=12),
)
def test_a_number_is_masked_whatever_signs_stand_around(value: str, before: str, after: str) -> None:
    assert value not in mask(before + value + after)


@given(st.text(max_size=300))
@settings(max_examples=300)
def test_masking_never_fails_and_once_is_enough(text: str) -> None:
    masked = mask(text)
    masked.encode()
    assert mask(masked) == masked


@pytest.mark.parametrize(
    "piece",
    ["1", "1 ", "a", "a.", "name=", "姓名", "地址", "%20", "%E5", "\\u", "@", '"name": "', "粤", "X1-", "("],
)
def test_masking_is_quick_on_hostile_text(piece: str) -> None:
    started = time.process_time()
    mask(piece * (MAX_TEXT // len(piece)))
    assert time.process_time() - started < 2.0


def test_a_cut_text_does_not_show_half_a_number() -> None:
    for shift in range(20):
        text = "x" * (MAX_TEXT - shift - 1) + " " + ID + "y" * 10
        assert "44030" not in mask(text)
        assert len(mask(text)) < MAX_TEXT


# --- where it can hide: arguments, extras, exceptions


class Proposal(BaseModel):
    model_config = ConfigDict(extra="forbid")
    holder: str = Field(max_length=2)
    phone: int


@dataclasses.dataclass
class Person:
    name: str


class Colour(Enum):
    PHONE = PHONE


class Rude:
    def __str__(self) -> str:
        raise RuntimeError(PHONE)


def test_arguments_of_every_kind_are_masked() -> None:
    written_lines: list[dict[str, Any]] = []

    def said(message: object, *arguments: object) -> None:
        written_lines.append(formatted(message, *arguments))

    said("%s", PHONE)
    said("%d", int(PHONE))
    said("%(a)s", {"a": f"姓名：{NAME}"})
    said("%(name)s", {"name": NAME})
    said("%s", {"name": NAME, "phone": {"nested": [PHONE]}})
    said("%s", [ID, (PHONE,)])
    said("%s and %s", {"address": NAME}, {"k": {"姓名": NAME}})
    said(PHONE)
    said({"phone": PHONE, "name": NAME})
    said("%s", Proposal.model_construct(holder=NAME, phone=int(PHONE)))
    said("%s", f"{NAME}".encode())
    said(ValueError(f"手机 {PHONE}"))
    said("%s", ValueError(f"手机 {PHONE}"))
    said("%s", Rude())
    said(Rude())
    written = json.dumps(written_lines, ensure_ascii=False)
    assert len(written_lines) == 15
    for value in (PHONE, ID, NAME):
        assert value not in written, written


def test_extras_of_every_kind_are_masked_by_look_and_by_key(lines: Lines) -> None:
    cyclic: dict[str, Any] = {"phone": PHONE}
    cyclic["self"] = cyclic
    log.info(
        "x",
        extra={
            "note": f"call {PHONE}",
            "number": int(PHONE),
            "money": Decimal(CARD),
            "deep": {"a": [{"b": ({"name": NAME}, {ID: 1})}]},
            "phone": "000",
            "holder_name": NAME,
            "投保人": NAME,
            "seen": {PHONE},
            "raw": NAME.encode(),
            "model": Proposal.model_construct(holder=NAME, phone=1),
            "person": Person(NAME),
            "error": ValueError(f"name={NAME}"),
            "enum": Colour.PHONE,
            "path": Path(f"/tmp/{PHONE}"),
            "cyclic": cyclic,
            "rude": Rude(),
            PHONE: 1,
        },
    )
    (line,) = lines()
    written = json.dumps(line, ensure_ascii=False)
    for value in (PHONE, ID, NAME, CARD, "000"):
        assert value not in written, written
    assert line["phone"] == "[masked]"
    assert line["deep"]["a"][0]["b"][0] == {"name": "[masked]"}
    assert line["person"] == "<Person>"


def test_harmless_extras_keep_their_types(lines: Lines) -> None:
    extra = {
        "port": 4222,
        "seconds": 0.13812345678,
        "ok": True,
        "none": None,
        "list": [1, "a"],
        "map": {"k": 1},
    }
    log.info("x", extra={**extra, "at": datetime(2026, 3, 1, tzinfo=UTC), "ulid": ULID.from_timestamp(1)})
    (line,) = lines()
    assert {key: line[key] for key in extra} == extra
    assert line["at"] == "2026-03-01T00:00:00+00:00"
    assert len(line["ulid"]) == 26


def raise_with_local() -> None:
    secret_local = NAME
    raise ValueError(f"no such phone {PHONE}" + secret_local[:0])


def test_a_traceback_shows_where_but_no_values(lines: Lines) -> None:
    try:
        try:
            raise_with_local()
        except ValueError as cause:
            cause.add_note(f"note {ID}")
            raise KeyError(f"姓名：{NAME}") from cause
    except KeyError:
        log.exception("failed for %s", PHONE)
    (line,) = lines()
    assert "raise_with_local" in line["exception"]
    assert "direct cause" in line["exception"]
    assert "builtins.ValueError: no such phone [phone]" in line["exception"]
    for value in (PHONE, ID, NAME):
        assert value not in json.dumps(line, ensure_ascii=False)


def test_validation_errors_show_place_and_kind_but_no_input(lines: Lines) -> None:
    given = {"holder": NAME, "phone": "一三八", "extra": "阿里木"}
    try:
        Proposal.model_validate(given)
    except ValidationError as error:
        log.exception("invalid: %s", error)  # noqa: TRY401 - the careless way
        log.error("as text: " + str(error))  # noqa: G003, TRY400 - the careless way
        log.error("as repr: %r", [error])  # noqa: TRY400
        log.error("errors", extra={"errors": error.errors(), "json": error.json()})  # noqa: TRY400
    try:
        try:
            Proposal.model_validate(given)
        except ValidationError as error:
            raise ExceptionGroup("many", [error, ValueError(PHONE)]) from error
    except ExceptionGroup:
        log.exception("group")
    written = json.dumps(lines(), ensure_ascii=False)
    for value in (NAME, "一三八", "阿里木", PHONE):
        assert value not in written, written
    first = lines()[0]
    assert "3 invalid: holder (string_too_long); phone (int_parsing); extra (extra_forbidden)" in first["message"]
    assert "3 invalid: holder (string_too_long)" in first["exception"]


def test_stack_information_is_masked(lines: Lines) -> None:
    log.info("x", stack_info=True)
    (line,) = lines()
    assert "test_stack_information_is_masked" in line["stack"]


def test_an_uncaught_exception_goes_the_same_way(lines: Lines) -> None:
    try:
        raise_with_local()
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    (line,) = lines()
    assert (line["level"], line["logger"]) == ("CRITICAL", "uncaught")
    assert PHONE not in json.dumps(line)


async def test_what_asyncio_says_of_a_lost_task_is_masked(lines: Lines) -> None:
    async def fail() -> None:
        Proposal.model_validate({"holder": NAME, "phone": PHONE})

    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    loop = asyncio.get_running_loop()
    loop.default_exception_handler({"message": "lost", "task": task, "exception": task.exception()})
    (line,) = [line for line in lines() if line["level"] == "ERROR"]
    assert line["logger"] == "asyncio"
    assert NAME not in json.dumps(line, ensure_ascii=False)


def test_warnings_go_the_same_way(lines: Lines) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn(f"phone {PHONE}", UserWarning, stacklevel=1)
        logging.captureWarnings(False)
    (line,) = lines()
    assert line["logger"] == "py.warnings"
    assert PHONE not in line["message"]
