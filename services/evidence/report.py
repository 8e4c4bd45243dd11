"""The report in a pack: who, what was read and for how long, what was signed, who paid, and every fact in words.

For people. It is drawn from the same facts the pack shows and proves nothing by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

from pydantic import JsonValue

from contracts.problems import KINDS
from contracts.values import Attestation
from products import Release
from servicekit.documents.paper import paper_time, yuan
from servicekit.documents.render import Job, Renderer, RenderSettings
from services.evidence.pack import Contents, Exhibit, Scope

TEMPLATES: Final = Path(__file__).parent / "templates"

SERVICES: Final = {
    "proposal": "投保",
    "identity": "身份",
    "disclosure": "阅读",
    "signing": "签名",
    "payment": "缴费",
    "issuance": "出单",
    "evidence": "存证",
    "notify": "短信",
}
METHODS: Final = {"face": "人脸核验", "bank_card": "短信验证码加银行卡核验"}
NOT_RECORDED: Final = "未记录"


class Reporter:
    """Draws reports; its workers start with the first one."""

    def __init__(self, fonts: Path) -> None:
        self._fonts = fonts
        self._renderer: Renderer | None = None
        self._starting = asyncio.Lock()

    async def report(
        self, scope: Scope, anchor: Attestation, shown: Sequence[Exhibit], made: Contents, release: Release | None
    ) -> bytes:
        """PDF. The same facts give the same bytes. Raises what ``Renderer`` raises."""
        return await (await self.warm()).render(
            Job(
                templates=TEMPLATES,
                template="report.html",
                data=content(scope, anchor, shown, made, release),
                identifier=f"{anchor.head}-{scope.policy_no or ''}-{scope.masked}",
                created=anchor.at,
            )
        )

    async def warm(self) -> Renderer:
        """Starts the workers unless they run already."""
        async with self._starting:
            if self._renderer is None:
                renderer = Renderer(RenderSettings(fonts=self._fonts))
                await renderer.start()
                self._renderer = renderer
        return self._renderer

    async def stop(self) -> None:
        if self._renderer is not None:
            await self._renderer.stop()


def content(
    scope: Scope, anchor: Attestation, shown: Sequence[Exhibit], made: Contents, release: Release | None
) -> dict[str, JsonValue]:
    """What the template is filled with. Pure."""
    facts = [exhibit for exhibit in shown if exhibit.shown != "leaf"]
    names = _Names(release)
    opened = _first(facts, "journey_opened")
    return {
        "insurer_name": names.insurer,
        "journey_id": scope.journey_id,
        "policy_no": scope.policy_no or "",
        "proposal_no": opened.get("proposal_no", NOT_RECORDED),
        "masked": scope.masked,
        "complete": not made.reasons,
        "reasons": [*sorted(made.reasons)],
        "head": anchor.head,
        "count": anchor.count,
        "withheld": sum(exhibit.shown == "leaf" for exhibit in shown),
        "anchored_at": paper_time(anchor.at),
        "who": _who(facts, made),
        "read": _read(facts, names),
        "signed": _signed(facts, names),
        "paid": _paid(facts, made, names),
        "issued": _issued(facts, names),
        "timeline": [
            {
                "index": exhibit.entry.index,
                "at": paper_time(datetime.fromisoformat(exhibit.entry.time)),
                "service": SERVICES.get(exhibit.entry.service, exhibit.entry.service),
                "words": words(exhibit, names),
            }
            for exhibit in facts
        ],
    }


class _Names:
    """Titles of products and documents, as the release gives them."""

    def __init__(self, release: Release | None) -> None:
        self._products = {} if release is None else dict(release.products)
        self._documents: dict[str, str] = {}
        self.insurer = ""
        for product in self._products.values():
            self._documents |= {document.sha256: document.title for document in product.documents}
        for notice in () if release is None else release.notices.values():
            self._documents[notice.document.sha256] = notice.document.title
            self.insurer = notice.insurer.name

    def product(self, slug: str) -> str:
        known = self._products.get(slug)
        return slug if known is None else known.name

    def document(self, sha256: str, slug: str) -> str:
        return self._documents.get(sha256, slug)

    def point(self, product: str, slug: str) -> str:
        known = self._products.get(product)
        points = () if known is None else known.deadly_points
        return next((point.title for point in points if point.code == slug), slug)


def _facts(facts: Sequence[Exhibit], *names: str) -> list[Exhibit]:
    return [exhibit for exhibit in facts if exhibit.name in names]


def _first(facts: Sequence[Exhibit], name: str) -> dict[str, Any]:
    found = _facts(facts, name)
    return found[0].data if found else {}


def _value(made: Contents, committed: Any) -> str | None:
    if not isinstance(committed, dict):
        return None
    value = made.values.get(str(cast("dict[str, Any]", committed)["commitment"]))
    return None if value is None else value.decode("utf-8", "replace")


def _row(label: str, value: str | None) -> dict[str, JsonValue]:
    return {"label": label, "value": value or "（本证据包不出示）", "wide": False}


def _time(text: str) -> str:
    return paper_time(datetime.fromisoformat(text))


def _who(facts: Sequence[Exhibit], made: Contents) -> list[JsonValue]:
    holder = _first(facts, "journey_opened").get("policyholder", {})
    rows: list[JsonValue] = [
        _row("投保人", _value(made, holder.get("name"))),
        _row("证件号码", _value(made, holder.get("id_number"))),
        _row("手机号码", _value(made, holder.get("phone"))),
    ]
    verified = _facts(facts, "identity_verified")
    if verified:
        last = verified[-1]
        rows.append(_row("核验方式", METHODS.get(last.data["method"], last.data["method"])))
        rows.append(_row("核验时间", _time(last.data["at"])))
    else:
        rows.append(_row("身份核验", NOT_RECORDED))
    acts = _facts(facts, "forms_signed")
    if verified and acts:
        same = any(v.data["attempt"] == acts[-1].data["attempt"] for v in verified)
        rows.append(_row("签名设备", "与核验身份的是同一部手机" if same else "与核验身份的不是同一部手机"))
    return rows


def _read(facts: Sequence[Exhibit], names: _Names) -> list[JsonValue]:
    return [
        {
            "title": names.document(f.data["document"]["sha256"], f.data["document"]["document"]),
            "product": names.product(f.data["document"]["product"]),
            "version": f.data["document"]["version"],
            "seconds": f"{f.data['dwell_ms'] / 1000:.1f}",
            "minimum": f"{f.data['minimum_dwell_ms'] / 1000:.1f}",
            "proven": f.data["dwell_scale"] == 1,
            "at": _time(f.data["at"]),
        }
        for f in _facts(facts, "document_confirmed")
    ]


def _signed(facts: Sequence[Exhibit], names: _Names) -> list[JsonValue]:
    acts = _facts(facts, "forms_signed")
    if not acts:
        return [_row("签名", NOT_RECORDED)]
    act = acts[-1].data
    forms = [item for item in act["items"] if item["kind"] == "form"]
    texts = [item for item in act["items"] if item["kind"] == "document"]
    legibility = {"not_judged": "未判定", "pass": "通过", "manual": "人工判定"}
    return [
        _row("签名时间", _time(act["signed_at"])),
        _row("投保单", "、".join(names.product(item["product"]) for item in forms)),
        _row("所附文件", f"{len(texts)} 份，逐份列明散列值"),
        _row("字迹辨认", legibility[act["legibility"]]),
        _row("未通过的签名", f"{len(_facts(facts, 'ink_rejected'))} 次"),
    ]


def _paid(facts: Sequence[Exhibit], made: Contents, names: _Names) -> list[JsonValue]:
    orders, payments = _facts(facts, "order_placed"), _facts(facts, "payment_confirmed")
    if not payments:
        return [_row("缴费", NOT_RECORDED)]
    payment = payments[-1].data
    rows: list[JsonValue] = []
    if orders:
        rows.append(_row("付款人", _value(made, orders[-1].data["payer_name"])))
    rows += [_row("付款时间", _time(payment["paid_at"])), _row("支付流水号", payment["transaction_id"])]
    for line in payment["lines"]:
        kind = "保险费" if line["kind"] == "premium" else "代收税款"
        rows.append(_row(f"{kind}（元）", f"{yuan(line['fen'])} {names.product(line['product'])}"))
    if "total_fen" in payment:
        rows.append(_row("合计（元）", yuan(payment["total_fen"])))
    return rows


def _issued(facts: Sequence[Exhibit], names: _Names) -> list[JsonValue]:
    policies = _facts(facts, "policy_issued")
    if not policies:
        return [_row("保单", NOT_RECORDED)]
    return [
        {
            "label": "保单",
            "value": f"{p.data['policy_no']} {names.product(p.data['product'])} {_time(p.data['at'])} 出单",
            "wide": True,
        }
        for p in policies
    ]


def words(exhibit: Exhibit, names: _Names) -> str:
    """One fact in a sentence, without anything personal."""
    data: Mapping[str, Any] = exhibit.data
    of = names.product(str(data["product"])) if "product" in data else ""
    match exhibit.name:
        case "journey_opened":
            return "渠道提交投保，系统受理：" + "、".join(names.product(p["product"]) for p in data["products"])
        case "document_opened":
            return "打开文件：" + names.document(data["document"]["sha256"], data["document"]["document"])
        case "document_confirmed":
            title = names.document(data["document"]["sha256"], data["document"]["document"])
            return f"读完并确认：{title}，停留 {data['dwell_ms'] / 1000:.1f} 秒"
        case "consent_given" | "consent_declined" | "recording_acknowledged":
            title = names.document(data["notice"]["sha256"], data["notice"]["notice"])
            return (
                {"consent_given": "同意", "consent_declined": "不同意或撤回"}.get(exhibit.name, "知悉") + "：" + title
            )
        case "refused" | "ink_rejected":
            code = str(data.get("code", data.get("reason")))
            kind = KINDS.get(code)
            return f"未予办理：{kind.title if kind else code}"
        case "real_name_checked" | "bank_card_checked":
            what = "姓名与证件号码" if exhibit.name == "real_name_checked" else "银行卡四要素"
            return f"{what}核验{'一致' if data['matched'] else '不一致'}"
        case "face_checked":
            return f"人脸核验{'通过' if data['passed'] else '未通过'}"
        case "identity_verified":
            return "身份核验通过：" + METHODS.get(str(data["method"]), str(data["method"]))
        case "point_acknowledged":
            return f"{of}：确认重点提示“{names.point(str(data['product']), str(data['point']))}”"
        case "forms_signed":
            return f"手写签名，列明 {len(data['items'])} 份文件；此前全部事实已加盖时间戳"
        case "policy_issued":
            return f"{of}：保单 {data['policy_no']} 签发"
        case "payment_confirmed":
            return f"保费到账，支付流水号 {data['transaction_id']}"
        case "head_anchored":
            return f"前 {data['count']} 条事实签名并加盖时间戳"
        case "pack_exported":
            return f"导出证据包，理由：{data['reason']}"
        case name:
            said = PLAIN.get(name, name)
            return f"{of}：{said}" if of else said


PLAIN: Final = {
    "link_sent": "投保链接以短信发给投保人",
    "message_queued": "短信等待发送",
    "message_sent": "短信已交给运营商",
    "message_failed": "短信未能发出",
    "product_chosen": "投保人选择了这个可选产品",
    "product_dropped": "投保人去掉了这个可选产品",
    "terms_confirmed": "投保人确认投保内容",
    "proposal_withdrawn": "投保被撤回",
    "proposal_expired": "投保已过期",
    "session_opened": "投保人在手机上打开投保，设备密钥登记",
    "mode_chosen": "投保人选择页面显示方式",
    "session_voided": "换了设备或超时，未签名的步骤作废",
    "otp_sent": "发送短信验证码",
    "otp_verified": "短信验证码核对通过",
    "face_started": "投保人前往核验平台刷脸",
    "reproof_required": "离开时间较长，要求再次核验身份",
    "help_requested": "投保人请求人工帮助",
    "needs_answered": "回答需求问题",
    "continued_of_own_will": "看到不建议购买的提示后，投保人明确选择继续",
    "questions_answered": "如实告知问题已回答",
    "form_prepared": "投保单生成",
    "form_reviewed": "投保人核对投保单并确认",
    "form_sealed": "投保单载入手写签名并签章",
    "order_placed": "投保人下单付款；此前全部事实已加盖时间戳",
    "order_accepted": "支付通道受理付款",
    "payer_refused": "付款账户不是投保人本人，未收款",
    "order_closed": "付款关闭，未收款",
    "refund_requested": "申请原路退款",
    "refunded": "退款完成",
    "policies_numbered": "生成保单号；此前全部事实已加盖时间戳",
    "journey_issued": "全部保单出具完毕",
}
