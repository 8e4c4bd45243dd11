"""The report in a pack: who, what was read and for how long, what was signed, who paid, and every fact in words.

For people. It is drawn from the same facts the pack shows and proves nothing by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

from pydantic import JsonValue

from contracts.values import Attestation
from products import Release
from servicekit.documents.paper import paper_time, yuan
from servicekit.documents.render import Job, Renderer, RenderSettings
from services.evidence.pack import Contents, Exhibit, Scope
from services.evidence.words import FINDINGS, LEGIBILITY, METHODS, SERVICES, Names, words

TEMPLATES: Final = Path(__file__).parent / "templates"

NOT_RECORDED: Final = "未记录"


class Reporter:
    """Draws reports; its workers start with the first one."""

    def __init__(self, fonts: Path, waiting: Callable[[int], object] = lambda _: None) -> None:
        """``waiting`` as for ``Renderer``."""
        self._fonts = fonts
        self._waiting = waiting
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
                renderer = Renderer(RenderSettings(fonts=self._fonts), self._waiting)
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
    names = Names(release)
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
                "words": words(exhibit.name, exhibit.data, names),
            }
            for exhibit in facts
        ],
    }


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


def _read(facts: Sequence[Exhibit], names: Names) -> list[JsonValue]:
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


def _signed(facts: Sequence[Exhibit], names: Names) -> list[JsonValue]:
    acts = _facts(facts, "forms_signed")
    if not acts:
        return [_row("签名", NOT_RECORDED)]
    act = acts[-1].data
    forms = [item for item in act["items"] if item["kind"] == "form"]
    texts = [item for item in act["items"] if item["kind"] == "document"]
    return [
        _row("签名时间", _time(act["signed_at"])),
        _row("投保单", "、".join(names.product(item["product"]) for item in forms)),
        _row("所附文件", f"{len(texts)} 份，逐份列明散列值"),
        _row("字迹辨认", LEGIBILITY[act["legibility"]]),
        *(
            _row(f"第 {f.data['review_no']} 次人工核对", f"{f.data['reviewer']}：{FINDINGS[f.data['finding']]}")
            for f in _facts(facts, "review_decided")
        ),
        _row("未通过的签名", f"{len(_facts(facts, 'ink_rejected'))} 次"),
    ]


def _paid(facts: Sequence[Exhibit], made: Contents, names: Names) -> list[JsonValue]:
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


def _issued(facts: Sequence[Exhibit], names: Names) -> list[JsonValue]:
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
