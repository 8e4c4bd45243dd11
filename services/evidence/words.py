"""Every fact in a Chinese sentence, for the printed report and for whoever looks at a journey's file. Pure.

Nothing personal is said: only what the fact itself carries in the clear, with the titles of the release.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from contracts.problems import KINDS
from products import Release

SERVICES: Final = {
    "proposal": "投保",
    "identity": "身份",
    "disclosure": "阅读",
    "signing": "签名",
    "payment": "缴费",
    "issuance": "出单",
    "evidence": "存证",
    "notify": "短信",
    "nps": "回访",
    "appdownload": "应用下载",
    "partner": "渠道通知",
}
METHODS: Final = {"face": "人脸核验", "bank_card": "短信验证码加银行卡核验"}
LEGIBILITY: Final = {"not_judged": "未判定", "pass": "通过", "manual": "人工判定"}

_FAILED_CHECKS: Final = {
    "real_name_checked": ("matched", "real_name_failed"),
    "face_checked": ("passed", "face_failed"),
    "bank_card_checked": ("matched", "bank_card_failed"),
}
"""Facts that are the record of a refusal, in place of a plain one, when their answer is no."""


class Names:
    """Titles of products and documents, as the release gives them; without one, the names facts use themselves."""

    def __init__(self, release: Release | None) -> None:
        self._products = {} if release is None else dict(release.products)
        self._documents: dict[str, tuple[str, str]] = {}
        self.insurer = ""
        for product in self._products.values():
            self._documents |= {d.sha256: (d.title, d.kind.value) for d in product.documents}
        for notice in () if release is None else release.notices.values():
            self._documents[notice.document.sha256] = (notice.document.title, notice.document.kind.value)
            self.insurer = notice.insurer.name

    def product(self, slug: str) -> str:
        known = self._products.get(slug)
        return slug if known is None else known.name

    def document(self, sha256: str, slug: str) -> str:
        return self._documents.get(sha256, (slug, ""))[0]

    def kind(self, sha256: str) -> str:
        """Kind of a document (``products.model.DocumentKind``); empty where it is not known."""
        return self._documents.get(sha256, ("", ""))[1]

    def point(self, product: str, slug: str) -> str:
        known = self._products.get(product)
        points = () if known is None else known.deadly_points
        return next((point.title for point in points if point.code == slug), slug)


def refusal_code(name: str, data: Mapping[str, Any]) -> str | None:
    """The code (``contracts.problems.KINDS``) of a fact that puts a refusal on record; none for any other."""
    if name == "refused":
        return str(data["code"])
    if name in {"ink_rejected", "phrase_rejected"} or (name == "review_closed" and data["reason"] in FINDINGS):
        return str(data["reason"])
    answer, code = _FAILED_CHECKS.get(name, ("", ""))
    return code if answer and not data[answer] else None


def attempt_of(data: Mapping[str, Any]) -> int | None:
    """The device session a fact was made in, where it says so."""
    proof = cast("Mapping[str, Any]", data.get("proof") or {})
    said = data.get("attempt", proof.get("attempt"))
    return said if isinstance(said, int) else None


def words(name: str, data: Mapping[str, Any], names: Names) -> str:
    """One fact in a sentence, without anything personal. ``data`` is the fact, or its view of one product."""
    of = names.product(str(data["product"])) if data.get("product") else ""
    said = _with_values(name, data, names)
    if said is None:
        said = PLAIN.get(name, name)
    return f"{of}：{said}" if of else said


def _with_values(name: str, data: Mapping[str, Any], names: Names) -> str | None:
    """What depends on more than the fact's name."""
    match name:
        case "journey_opened":
            return "渠道提交投保，系统受理：" + "、".join(names.product(p["product"]) for p in data["products"])
        case "proposal_withdrawn":
            return "投保被撤回：" + _WITHDRAWN[data["reason"]]
        case "session_opened":
            return f"投保人在手机上打开投保，设备密钥登记（第 {data['attempt']} 次会话）"
        case "session_voided":
            return f"第 {data['attempt']} 次会话作废，未签名的步骤须重做：{_VOIDED[data['reason']]}"
        case "mode_chosen":
            return "切换到长辈模式" if data["mode"] == "elder" else "切换到标准模式"
        case "consent_given" | "consent_declined" | "recording_acknowledged":
            title = names.document(data["notice"]["sha256"], data["notice"]["notice"])
            if name == "consent_declined":
                return ("撤回同意：" if data.get("withdrawn") else "不同意：") + title
            return ("同意：" if name == "consent_given" else "知悉：") + title
        case "otp_sent" | "otp_verified":
            what = "发送短信验证码" if name == "otp_sent" else "短信验证码核对通过"
            return f"{what}（{_PURPOSES[data['purpose']]}）"
        case "real_name_checked" | "bank_card_checked":
            what = "姓名与证件号码" if name == "real_name_checked" else "银行卡四要素"
            return f"{what}核验{'一致' if data['matched'] else '不一致'}"
        case "face_checked":
            return f"人脸核验{'通过' if data['passed'] else '未通过'}"
        case "identity_verified":
            again = "再次核验" if data.get("reproof") else "核验"
            return f"身份{again}通过：" + METHODS.get(str(data["method"]), str(data["method"]))
        case "reproof_required":
            return f"离开 {duration(int(data['idle_seconds']) * 1000)}，要求再次核验身份"
        case "document_opened":
            return "打开文件：" + _title(data, names)
        case "document_confirmed":
            asked = duration(int(data["minimum_dwell_ms"]))
            shortened = "" if data["dwell_scale"] == 1 else "，阅读时间被缩短，不能作为证明"
            stayed = duration(int(data["dwell_ms"]))
            return f"读完并确认：{_title(data, names)}，停留 {stayed}（至少 {asked}{shortened}）"
        case "point_acknowledged":
            return f"确认重点提示“{names.point(str(data['product']), str(data['point']))}”"
        case "needs_answered":
            return "回答需求问题，系统建议不购买" if data["advice"] else "回答需求问题"
        case "ink_rejected":
            return f"第 {data['attempt_no']} 次手写签名未被接受：{_title_of(str(data['reason']))}"
        case "phrase_rejected":
            return f"亲笔抄写声明未被接受：{_title_of(str(data['reason']))}"
        case "review_requested":
            why = _title_of(str(data["reason"])).rstrip("。")
            return f"第 {data['attempt_no']} 次手写签名转人工核对（第 {data['review_no']} 次）：{why}"
        case "review_decided":
            return f"工作人员 {data['reviewer']} 核对签名：{FINDINGS[data['finding']]}"
        case "review_closed":
            why = FINDINGS.get(data["reason"]) or _OVERTAKEN.get(data["reason"], data["reason"])
            return f"人工核对结束，未签名：{why}"
        case "forms_signed":
            legible = LEGIBILITY.get(str(data["legibility"]), str(data["legibility"]))
            return f"手写签名，列明 {len(data['items'])} 份文件，字迹{legible}；此前全部事实已加盖时间戳"
        case "payment_confirmed":
            return f"保费到账，支付流水号 {data['transaction_id']}"
        case "order_closed":
            return "付款关闭：" + _CLOSED[data["reason"]]
        case "refund_requested":
            return "申请原路退款：" + _REFUNDS[data["reason"]]
        case "policy_issued":
            return f"保单 {data['policy_no']} 签发"
        case "message_queued" | "message_sent" | "message_failed":
            what = _MESSAGES.get(str(data["template"]), str(data["template"]))
            return {
                "message_queued": f"短信等待发送（{what}）",
                "message_sent": f"短信已交给运营商（{what}）",
                "message_failed": f"短信未能发出（{what}）：{_UNSENT.get(str(data.get('reason')), '')}",
            }[name]
        case "head_anchored":
            return f"前 {data['count']} 条事实签名并加盖时间戳"
        case "pack_exported":
            shown = "遮盖个人信息" if data["masked"] else "显示完整个人信息"
            return f"导出证据包（{shown}），理由：{data['reason']}"
        case "refused":
            return f"{act(str(data['command']))}未予办理：{_title_of(str(data['code']))}"
        case "referral_step_reported":
            return "应用报告：" + _REFERRAL[data["step"]]
        case "survey_answered":
            return f"填写回访问卷：{data['score']} 分"
        case _:
            return None


def act(command: str) -> str:
    """A refused request in words. An intruder's is kept as ``<what>_by_<who>`` (I13)."""
    what, by, who = command.rpartition("_by_")
    if by and who in _INTRUDERS:
        return f"{_INTRUDERS[who]}试图代投保人“{ACTS.get(what, what)}”，"
    return f"“{ACTS.get(command, command)}”"


def duration(milliseconds: int) -> str:
    """``3.4 秒``, ``2 分 5 秒``, ``1 小时 3 分``."""
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.1f} 秒"
    minutes, seconds = divmod(milliseconds // 1000, 60)
    if minutes < 60:
        return f"{minutes} 分 {seconds} 秒" if seconds else f"{minutes} 分"
    return f"{minutes // 60} 小时 {minutes % 60} 分"


def _title(data: Mapping[str, Any], names: Names) -> str:
    return names.document(data["document"]["sha256"], data["document"]["document"])


def _title_of(code: str) -> str:
    kind = KINDS.get(code)
    return kind.title.rstrip("。") if kind else code


_WITHDRAWN: Final = {"channel_request": "渠道要求", "customer_request": "投保人要求", "wrong_data": "信息有误"}
_VOIDED: Final = {"device_changed": "换了设备", "person_changed": "未能证明是同一人", "absolute_limit": "超过时限"}
_PURPOSES: Final = {"identity": "核验身份", "alternative_path": "不刷脸的核验方式"}
_CLOSED: Final = {
    "cancelled": "投保人取消",
    "expired": "超过付款时限",
    "refused_by_channel": "支付通道拒绝",
    "journey_void": "投保已失效",
    "wrong_amount": "金额不符",
    "terms_changed": "投保内容已变更",
}
_REFUNDS: Final = {
    "wrong_amount": "金额不符",
    "too_late": "超过付款时限",
    "journey_void": "投保已失效",
    "terms_changed": "投保内容已变更",
    "duplicate": "重复付款",
    "not_issued": "未能出单",
    "staff_request": "工作人员办理",
}
FINDINGS: Final = {
    "legible": "能辨认为投保人姓名",
    "handwriting_unclear": "看不清，请投保人重写",
    "handwriting_another_name": "不是投保人的姓名",
}
_OVERTAKEN: Final = {
    "session_voided": "会话已作废",
    "journey_ended": "投保已终止",
    "terms_changed": "投保内容已变更",
}
_MESSAGES: Final = {"link": "投保链接", "otp": "验证码"}
_UNSENT: Final = {
    "provider_refused": "运营商拒绝",
    "provider_unreachable": "运营商没有回应",
    "shredded": "信息已销毁",
    "expired": "已过有效时间",
    "unfit": "内容与模板不符",
}
_REFERRAL: Final = {"click": "打开链接", "install": "安装", "register": "注册", "login": "登录"}
_INTRUDERS: Final = {"channel": "渠道", "staff": "工作人员", "partner": "合作方", "nobody": "无凭证者"}

PLAIN: Final = {
    "link_sent": "投保链接以短信发给投保人",
    "product_chosen": "投保人选择了这个可选产品",
    "product_dropped": "投保人去掉了这个可选产品",
    "terms_confirmed": "投保人确认投保内容",
    "proposal_expired": "投保已过期",
    "face_started": "投保人前往核验平台刷脸",
    "help_requested": "投保人请求人工帮助",
    "continued_of_own_will": "看到不建议购买的提示后，投保人明确选择继续",
    "questions_answered": "如实告知问题已回答",
    "form_prepared": "投保单生成",
    "form_reviewed": "投保人核对投保单并确认",
    "phrase_copied": "投保人亲笔抄写声明中的一句",
    "form_pending": "投保单等候认证机构或时间戳机构，尚未完成",
    "form_sealed": "投保单载入投保人数字签名与手写笔迹，并由保险人签章",
    "order_placed": "投保人下单付款；此前全部事实已加盖时间戳",
    "order_accepted": "支付通道受理付款",
    "payer_refused": "付款账户不是投保人本人，未收款",
    "refunded": "退款完成",
    "policies_numbered": "生成保单号；此前全部事实已加盖时间戳",
    "journey_issued": "全部保单出具完毕",
    "survey_due": "可以邀请投保人填写回访问卷",
    "survey_invited": "邀请投保人填写回访问卷",
    "survey_withheld": "近期已邀请过，不再打扰",
    "survey_skipped": "投保人跳过回访问卷",
    "referral_due": "可以向投保人介绍公司应用",
    "referral_offered": "向投保人介绍公司应用",
}
"""Facts said in full by their name alone."""

ACTS: Final = {
    # what a journey may be asked to do, and be refused
    "submit": "提交投保",
    "withdraw": "撤回投保",
    "resend_link": "重发投保链接",
    "choose_product": "选择可选产品",
    "drop_product": "去掉可选产品",
    "confirm_terms": "确认投保内容",
    "open_session": "打开投保链接",
    "acknowledge_recording": "确认操作会被记录",
    "choose_mode": "选择显示方式",
    "give_consent": "同意授权",
    "decline_consent": "不同意或撤回授权",
    "send_otp": "获取验证码",
    "verify_otp": "核对验证码",
    "check_real_name": "核验姓名和证件号码",
    "start_face": "开始刷脸",
    "finish_face": "完成刷脸",
    "check_bank_card": "核验银行卡",
    "request_help": "请求人工帮助",
    "record_intrusion": "代替投保人操作",
    "judge_proof": "核验设备签名",
    "open_document": "打开文件",
    "report_reading": "报告阅读进度",
    "confirm_document": "确认已读文件",
    "answer_needs": "回答需求问题",
    "continue_of_own_will": "明确选择继续",
    "answer_questions": "回答告知问题",
    "show_point": "查看重点提示",
    "acknowledge_point": "确认重点提示",
    "prepare_forms": "生成投保单",
    "review_form": "核对投保单",
    "save_draft": "保存手写草稿",
    "copy_phrase": "抄写声明",
    "sign_forms": "手写签名",
    "decide_review": "核对签名",
    "place_order": "下单付款",
    "cancel_order": "取消付款",
    "refund_order": "退款",
    "renounce_order": "退回未出单的保费",
    "issue": "出单",
    "send": "发送短信",
    "build_pack": "导出证据包",
    "answer_survey": "填写回访问卷",
    "skip_survey": "跳过回访问卷",
    # what an intruder may have looked at
    "view": "查看投保",
    "notices": "查看告知文本",
    "documents": "查看文件",
    "forms": "查看投保单",
    "pad": "打开手写板",
    "policies": "查看保单",
    "download": "下载保单",
    "survey": "查看问卷",
    "app": "查看应用链接",
    "stream": "查看进度",
}
"""Requests by their verb, in words."""
