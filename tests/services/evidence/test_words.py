"""Every fact there is has its sentence, and so has every request that may be refused."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest

from contracts.commands.base import Command, request_types
from contracts.facts import identity, notify, payment, signing
from contracts.facts.base import Refusal, fact_types
from contracts.problems import KINDS
from contracts.subjects import AFTERCARE_SERVICES, JOURNEY_SERVICES
from services.evidence import words as module
from services.evidence.words import ACTS, FINDINGS, PLAIN, SERVICES, Names, act, duration, refusal_code, words
from services.notify.templates import load_templates

NAMES = Names(None)
SHA = "a" * 64
SHOWN: dict[str, dict[str, Any]] = {
    "journey_opened": {"products": [{"product": "motor"}]},
    "proposal_withdrawn": {"reason": "wrong_data"},
    "session_opened": {"attempt": 2},
    "session_voided": {"attempt": 1, "reason": "device_changed"},
    "mode_chosen": {"mode": "elder"},
    "recording_acknowledged": {"notice": {"notice": "recording", "sha256": SHA}},
    "consent_given": {"notice": {"notice": "privacy", "sha256": SHA}},
    "consent_declined": {"notice": {"notice": "privacy", "sha256": SHA}, "withdrawn": True},
    "otp_sent": {"purpose": "identity"},
    "otp_verified": {"purpose": "alternative_path"},
    "real_name_checked": {"matched": True},
    "bank_card_checked": {"matched": False},
    "face_checked": {"passed": True},
    "identity_verified": {"method": "face", "reproof": True},
    "reproof_required": {"idle_seconds": 601},
    "document_opened": {"document": {"document": "clauses", "sha256": SHA}},
    "document_confirmed": {
        "document": {"document": "clauses", "sha256": SHA}, "dwell_ms": 65_000, "minimum_dwell_ms": 60_000,
        "dwell_scale": 1,
    },
    "point_acknowledged": {"product": "motor", "point": "no_pay"},
    "needs_answered": {"product": "motor", "advice": ["budget"]},
    "ink_rejected": {"attempt_no": 2, "reason": "ink_dot"},
    "phrase_rejected": {"reason": "phrase_unclear"},
    "review_requested": {"attempt_no": 4, "review_no": 1, "reason": "handwriting_unclear"},
    "review_decided": {"reviewer": "li.na", "finding": "legible"},
    "review_closed": {"reason": "terms_changed"},
    "forms_signed": {"items": [{}, {}], "legibility": "pass"},
    "payment_confirmed": {"transaction_id": "T1"},
    "order_closed": {"reason": "expired"},
    "refund_requested": {"reason": "not_issued"},
    "policy_issued": {"product": "motor", "policy_no": "P1"},
    "message_queued": {"template": "otp"},
    "message_sent": {"template": "link"},
    "message_failed": {"template": "otp", "reason": "expired"},
    "head_anchored": {"count": 7},
    "pack_exported": {"masked": False, "reason": "法院调取"},
    "refused": {"command": "verify_otp", "code": "otp_wrong"},
    "referral_step_reported": {"step": "login"},
    "survey_answered": {"score": 9},
}  # fmt: skip


@pytest.mark.parametrize("kind", [k for k in fact_types().values() if k.__module__.startswith("contracts.")])
def test_every_fact_has_its_sentence(kind: type[Any]) -> None:
    assert kind.name in PLAIN.keys() ^ SHOWN.keys(), "either plain or said with its values"
    said = words(kind.name, SHOWN.get(kind.name, {}), NAMES)
    assert re.search("[\u4e00-\u9fff]", said)
    assert kind.name not in said
    assert kind.service in SERVICES


def test_every_service_has_its_name() -> None:
    assert {*JOURNEY_SERVICES, *AFTERCARE_SERVICES} <= SERVICES.keys()


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("mode_chosen", {"mode": "standard"}, "切换到标准模式"),
        ("session_voided", SHOWN["session_voided"], "第 1 次会话作废，未签名的步骤须重做：换了设备"),
        ("reproof_required", SHOWN["reproof_required"], "离开 10 分 1 秒，要求再次核验身份"),
        ("document_confirmed", SHOWN["document_confirmed"], "读完并确认：clauses，停留 1 分 5 秒（至少 1 分）"),
        (
            "document_confirmed",
            {**SHOWN["document_confirmed"], "dwell_scale": 0.05},
            "读完并确认：clauses，停留 1 分 5 秒（至少 1 分，阅读时间被缩短，不能作为证明）",
        ),
        ("ink_rejected", SHOWN["ink_rejected"], "第 2 次手写签名未被接受：写的是一个点，不是字"),
        ("review_requested", SHOWN["review_requested"], "第 4 次手写签名转人工核对（第 1 次）：有的字没有认出来"),
        ("review_decided", SHOWN["review_decided"], "工作人员 li.na 核对签名：能辨认为投保人姓名"),
        ("review_closed", SHOWN["review_closed"], "人工核对结束，未签名：投保内容已变更"),
        (
            "review_closed",
            {"reason": "handwriting_another_name"},
            "人工核对结束，未签名：不是投保人的姓名",
        ),
        (
            "forms_signed",
            {"items": [{}], "legibility": "manual"},
            "手写签名，列明 1 份文件，字迹人工判定；此前全部事实已加盖时间戳",
        ),
        ("refused", SHOWN["refused"], "“核对验证码”未予办理：验证码不正确"),
        (
            "refused",
            {"command": "sign_forms_by_channel", "code": "not_the_customer"},
            "渠道试图代投保人“手写签名”，未予办理：这一步只能由投保人本人在自己的手机上完成",
        ),
        ("refused", {"command": "issue", "code": "glyph_missing", "product": "motor"}, None),
        ("point_acknowledged", SHOWN["point_acknowledged"], "motor：确认重点提示“no_pay”"),
        ("consent_declined", {**SHOWN["consent_declined"], "withdrawn": False}, "不同意：privacy"),
        ("message_failed", SHOWN["message_failed"], "短信未能发出（验证码）：已过有效时间"),
    ],
)
def test_how_it_is_said(name: str, data: dict[str, Any], said: str | None) -> None:
    if said is None:
        said = "motor：“出单”未予办理：保单里有一个字暂时印不出来"
    assert words(name, data, NAMES) == said


def test_every_request_that_may_be_refused_has_its_words() -> None:
    # Other tests of this process may have made up requests of their own.
    ours = [kind for kind in request_types().values() if kind.__module__.startswith("contracts.")]
    verbs = {kind.verb for kind in ours if issubclass(kind, Command)}
    assert verbs <= ACTS.keys()
    for kind in fact_types().values():
        if issubclass(kind, Refusal) and kind is not Refusal:
            assert words(kind.name, {"command": "x", "code": "not_signed"}, NAMES)
    assert act("nobody_knows_it") == "“nobody_knows_it”"


def test_every_reason_a_fact_may_give_has_its_words() -> None:
    tables = {
        "_CLOSED": payment.OrderClosed.model_fields["reason"].annotation,
        "_REFUNDS": payment.RefundReason,
        "_UNSENT": notify.FailureReason,
        "_VOIDED": identity.SessionVoided.model_fields["reason"].annotation,
        "_PURPOSES": identity.Purpose,
        "METHODS": identity.Method,
        "FINDINGS": signing.ReviewDecided.model_fields["finding"].annotation,
        "LEGIBILITY": signing.FormsSigned.model_fields["legibility"].annotation,
    }
    for table, reasons in tables.items():
        assert set(get_args(reasons)) == set(getattr(module, table)), table
    assert set(load_templates()) == set(module._MESSAGES)


def test_the_codes_of_refusals_are_in_the_table() -> None:
    assert refusal_code("refused", {"code": "not_signed"}) == "not_signed"
    for name, data in (
        ("real_name_checked", {"matched": False}),
        ("face_checked", {"passed": False}),
        ("bank_card_checked", {"matched": False}),
    ):
        assert refusal_code(name, data) in KINDS
    assert refusal_code("face_checked", {"passed": True}) is None
    for finding in FINDINGS.keys() - {"legible"}:
        assert refusal_code("review_closed", {"reason": finding}) in KINDS
    for reason in module._OVERTAKEN:
        assert refusal_code("review_closed", {"reason": reason}) is None
    assert refusal_code("terms_confirmed", {}) is None


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [
        (0, "0.0 秒"),
        (3400, "3.4 秒"),
        (59_999, "60.0 秒"),
        (60_000, "1 分"),
        (125_000, "2 分 5 秒"),
        (3_780_000, "1 小时 3 分"),
    ],
)
def test_durations(milliseconds: int, said: str) -> None:
    assert duration(milliseconds) == said
