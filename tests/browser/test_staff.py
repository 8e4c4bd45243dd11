"""The staff page, at a desk: the list, the search, a journey's file, full values only with a reason, the live page."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from deploy.simulator.__main__ import LINK
from deploy.simulator.api import Phone
from deploy.simulator.customer import Customer, Habits
from deploy.simulator.proposals import Person, proposal
from tests.browser import axe
from tests.browser.conftest import NewHandset
from tests.browser.desk import Answers, call, kept, let_in, no_trace, sign_in, whole_document
from tests.browser.handset import DESK, Handset
from tests.journey.whole import CHANNEL, PATIENCE_SECONDS, Whole, refused

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    # The first test waits for the whole platform to start.
    pytest.mark.timeout(300),
]
OTHER_CHANNEL = "north_agency"
PAGE = 50
"""Journeys on one page of the list."""
WIDE = {"width": 1280, "height": 800}
NARROW = {"width": 768, "height": 1024}


@dataclass(frozen=True)
class Bought:
    """Somebody's journey from the link to the policies, with what was refused on the way and what was read."""

    who: Person
    asked: dict[str, Any]
    journey_id: str
    proposal_no: str
    policy_nos: list[str]
    texts: dict[str, dict[str, Any]]
    """Each document by its SHA-256, as the customer's phone got it."""

    @property
    def personal(self) -> list[str]:
        subject = self.asked["subject"]
        values = [self.who.name, self.who.id_number, self.who.phone, self.who.address, self.who.card_number]
        return [*values, subject["plate_no"], subject["vin"], subject["engine_no"]]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def bought(whole: Whole) -> Bought:
    # A name that stands in no text by accident.
    who = whole.someone("郭艳桂")
    asked = proposal(who, datetime.now(UTC), whole.chance, extra=False)
    accepted = await whole.channel.submit(asked)
    phone = Phone(whole.http, await whole.parties.await_message(who.phone, LINK))
    customer = Customer(phone, who, whole.parties, whole.chance, Habits())
    await customer.until("identity")
    # A slip of the pen, and a face the platform does not know.
    await refused(phone.act("check_real_name", {"name": "郭艳", "id_number": who.id_number}))
    view = await customer.until("documents")
    texts = {
        shown["document"]["sha256"]: await phone.get(f"/documents/{shown['document']['sha256']}")
        for shown in view["disclosure"]["documents"]
    }
    await customer.turn(await customer.until("policies"))
    policies = list(customer.passage.policies)
    assert policies
    return Bought(who, asked, accepted["journey_id"], accepted["proposal_no"], policies, texts)


@pytest_asyncio.fixture(loop_scope="session")
async def desk(new_handset: NewHandset) -> AsyncIterator[Handset]:
    async with new_handset(DESK) as held:
        await held.page.set_viewport_size(WIDE)  # pyright: ignore[reportArgumentType]
        yield held


async def looks_well(page: Page) -> None:
    """By axe-core, wide and narrow, and nothing is wider than the screen."""
    for size in (NARROW, WIDE):
        await page.set_viewport_size(size)  # pyright: ignore[reportArgumentType]
        assert not await axe.violations(page), size
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), size


async def search(page: Page, kind: str, value: str) -> None:
    await page.get_by_label("按什么查找").select_option(kind)
    await page.locator("#search-value").fill(value)
    await page.get_by_role("button", name="查找").click()


async def open_file(held: Handset, whole: Whole, who: str, bought: Bought) -> Page:
    page = await let_in(held, whole, "staff", who, f"#/journeys/{bought.journey_id}")
    await expect(page.get_by_role("heading", level=1)).to_contain_text(bought.proposal_no)
    return page


async def registered(whole: Whole, states: dict[str, str]) -> None:
    """The register, which follows the facts, has each journey in its state."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while states:
            given = (await whole.staff("clerk").get("/v1/staff/journeys?limit=100"))["journeys"]
            states = dict(states.items() - {(one["journey_id"], one["state"]) for one in given})
            await asyncio.sleep(0.1)


def rows(page: Page, caption: str) -> Locator:
    return page.get_by_role("table", name=caption).locator("tbody tr")


async def test_who_signs_in_sees_their_roles_and_who_signed_out_sees_nothing(
    desk: Handset, whole: Whole, bought: Bought
) -> None:
    page = desk.page
    await sign_in(page, whole, "staff", "clerk")
    await expect(page.get_by_role("banner")).to_contain_text("客服小林客服")
    await page.goto(f"{whole.run.gateway_url}/staff#/journeys/{bought.journey_id}")
    await expect(page.get_by_role("heading", level=1)).to_contain_text(bought.proposal_no)
    beside = await desk.new_tab()
    await beside.goto(page.url)
    await expect(beside.get_by_role("heading", level=1)).to_contain_text(bought.proposal_no)
    await page.get_by_role("button", name="退出").click()
    await expect(page.get_by_role("heading", name="服务台登录")).to_be_visible()
    await expect(beside.get_by_role("heading", name="服务台登录")).to_be_visible()
    no_trace([bought.proposal_no, *bought.policy_nos], await whole_document(beside))
    for turn in (page.go_back, page.go_forward, page.reload):
        await turn()
        await expect(page.get_by_role("heading", name="服务台登录")).to_be_visible()
        no_trace([bought.proposal_no, *bought.policy_nos], await whole_document(page))
    assert (await call(page, "GET", f"/v1/staff/journeys/{bought.journey_id}"))[0] == 401


async def test_the_list_filters_and_turns_its_pages(desk: Handset, whole: Whole, bought: Bought) -> None:
    async def opened(channel: str) -> dict[str, Any]:
        asked = proposal(whole.someone(), datetime.now(UTC), whole.chance, extra=False)
        return await whole.channel_of(channel).submit(asked)

    # No more than it takes: other tests have left journeys here.
    known = len((await whole.staff("clerk").get(f"/v1/staff/journeys?limit={PAGE}"))["journeys"])
    missing = max(1, PAGE - known)
    other, *more = await asyncio.gather(opened(OTHER_CHANNEL), *(opened(CHANNEL) for _ in range(missing)))
    await whole.channel.withdraw(more[0]["journey_id"])
    states = {one["journey_id"]: "open" for one in (other, *more)}
    await registered(whole, states | {more[0]["journey_id"]: "withdrawn"})
    page = await let_in(desk, whole, "staff", "clerk")
    listed = rows(page, "投保，最近的在前")
    numbers = listed.get_by_role("rowheader")
    pages = page.get_by_role("navigation", name="翻页")
    await expect(listed).to_have_count(PAGE)
    await looks_well(page)

    seen: list[str] = []
    for number in range(1, 20):
        await expect(pages).to_contain_text(f"第 {number} 页")
        if seen:
            await expect(numbers.first).not_to_have_text(seen[-PAGE])
        seen += [text.strip() for text in await numbers.all_inner_texts()]
        if len(seen) > PAGE and bought.proposal_no in seen:
            break
        await page.get_by_role("button", name="下一页").click()
    assert len(seen) > PAGE
    assert len(set(seen)) == len(seen), "no journey stands on two pages"
    assert {other["proposal_no"], *(one["proposal_no"] for one in more)} <= set(seen)
    await page.get_by_role("button", name="上一页").click()
    await expect(pages).to_contain_text(f"第 {number - 1} 页")
    await expect(numbers).to_have_text(seen[(number - 2) * PAGE :][:PAGE])

    # Each filter shows what the API gives by it, and all that is shown is so.
    filters = {
        "state=withdrawn": ("状态", "已撤回", 4, more[0]["proposal_no"]),
        "step=done": ("走到哪一步", "已完成", 5, bought.proposal_no),
        f"channel_id={OTHER_CHANNEL}": ("渠道", "北方保险代理有限公司", 2, other["proposal_no"]),
    }
    for query, (label, words, column, surely) in filters.items():
        given = (await whole.staff("clerk").get(f"/v1/staff/journeys?{query}&limit={PAGE}"))["journeys"]
        await page.get_by_label(label).select_option(label=words)
        await expect(numbers).to_have_text([one["proposal_no"] for one in given])
        assert surely in await numbers.all_inner_texts()
        assert set(await listed.locator(f":scope > :nth-child({column})").all_inner_texts()) == {words}
        await page.get_by_role("link", name="清除筛选").click()
        await expect(listed).to_have_count(PAGE)
    await page.get_by_label("状态").select_option(label="已出单")
    await expect(listed.filter(has_text=bought.proposal_no)).to_have_count(1)
    await page.get_by_label("渠道").select_option(label="北方保险代理有限公司")
    await expect(page.get_by_text("没有符合条件的投保。")).to_be_visible()


async def test_a_journey_is_found_by_number_policy_and_phone_and_the_value_is_kept_nowhere(
    desk: Handset, whole: Whole, bought: Bought
) -> None:
    page = await let_in(desk, whole, "staff", "clerk")
    answers = Answers(desk)
    heading = page.get_by_role("heading", level=1)
    wanted = {"proposal_no": bought.proposal_no, "policy_no": bought.policy_nos[0], "phone": bought.who.phone}
    for kind, value in wanted.items():
        await page.get_by_role("link", name="投保列表").click()
        await expect(heading).to_have_text("投保列表")
        await search(page, kind, value)
        await expect(heading).to_contain_text(bought.proposal_no)
        no_trace([value], await kept(page))
    await search(page, "phone", "13800000000")
    await expect(page.get_by_text("没有查到。")).to_be_visible()
    assert not await axe.violations(page)
    no_trace(["13800000000", bought.who.phone], await kept(page))
    no_trace(bought.personal, *await answers.of(), await whole_document(page))


async def test_the_file_holds_every_fact_in_words_marks_refusals_by_word_and_names_nobody(
    desk: Handset, whole: Whole, bought: Bought
) -> None:
    answers = Answers(desk)
    page = await open_file(desk, whole, "clerk", bought)
    timeline = page.get_by_role("region", name="经过")
    lines = timeline.locator("tbody tr:not(.break)")
    await expect(lines.nth(20)).to_be_visible()
    served = json.loads((await answers.of(f"GET /v1/staff/journeys/{bought.journey_id}"))[-1])
    events = served["timeline"]
    assert served["chain"]["count"] == len(events)
    assert [event["index"] for event in events] == list(range(1, len(events) + 1))
    on_the_bus = {
        (fact_of(one.subject)) for one in whole.told if one.subject.startswith(f"journey.{bought.journey_id}.")
    }
    assert on_the_bus >= {(event["service"], event["fact"]) for event in events}
    shown = await lines.locator("td:last-child").all_inner_texts()
    assert [bare(text) for text in shown] == [
        bare(event["words"] if event["code"] is None else f"✕拒绝{event['words']}{event['code']}") for event in events
    ]

    refusals = [event for event in events if event["code"] is not None]
    assert refusals
    await timeline.get_by_label("只看拒绝").check()
    await expect(lines).to_have_count(len(refusals))
    for text in await lines.all_inner_texts():
        assert "拒绝" in text
    await timeline.get_by_label("只看拒绝").uncheck()
    await expect(lines).to_have_count(len(events))

    await expect(page.get_by_role("region", name="投保人和标的")).to_contain_text("只有法务可以看完整信息")
    await expect(page.get_by_role("button", name="显示完整信息")).to_have_count(0)
    status, problem = await call(
        page, "POST", f"/v1/staff/journeys/{bought.journey_id}/unmask", {"reason": "客户要求核对"}
    )
    assert (status, problem["code"]) == (403, "role_missing")
    await looks_well(page)
    no_trace(bought.personal, *await answers.of(), await whole_document(page), await kept(page))


def fact_of(subject: str) -> tuple[str, str]:
    """Service and fact of ``journey.<id>.<service>.<fact>``."""
    _, _, service, fact = subject.split(".")[:4]
    return service, fact


async def test_a_document_stands_as_the_customer_read_it(desk: Handset, whole: Whole, bought: Bought) -> None:
    page = await open_file(desk, whole, "auditor", bought)
    documents = page.get_by_role("region", name="读过的文件")
    served = (await whole.staff("auditor").get(f"/v1/staff/journeys/{bought.journey_id}"))["documents"]
    titles = [one["title"] for one in served if one["sha256"] in bought.texts]
    panel = page.get_by_role("complementary")
    for title in list(dict.fromkeys(titles))[:3]:
        await documents.get_by_role("button", name=title, exact=True).first.click()
        (sha256,) = re.findall(r"\b[0-9a-f]{64}\b", await panel.inner_text())
        body = panel.get_by_role("region", name="文件正文")
        await expect(body.locator(":is(h3, h4, h5, h6)").first).to_be_visible()
        blocks = bought.texts[sha256]["blocks"]
        read = "".join(f"{block['number'] or ''}.{block['text']}".removeprefix(".") for block in blocks)
        assert bare(await body.inner_text()) == bare(read)
        if title == titles[0]:
            await looks_well(page)
        await page.keyboard.press("Escape")
        await expect(panel).to_have_count(0)


def bare(text: str) -> str:
    return re.sub(r"\s+", "", text)


async def test_I24_full_values_only_for_legal_with_a_reason_and_audit_sees_who_when_which_and_why(
    desk: Handset, new_handset: NewHandset, whole: Whole, bought: Bought
) -> None:
    unmask = f"/v1/staff/journeys/{bought.journey_id}/unmask"
    why = "客户来电要求核对投保信息"

    page = await open_file(desk, whole, "counsel", bought)
    await expect(page.get_by_role("banner")).to_contain_text("法务小陈法务")
    person = page.get_by_role("region", name="投保人和标的")
    no_trace(bought.personal, await whole_document(page))
    await person.get_by_role("button", name="显示完整信息").click()
    reason = person.get_by_label("为什么要看完整信息？")
    await expect(reason).to_be_focused()
    go = person.get_by_role("button", name="留痕并显示")
    await reason.fill("核 ")
    await expect(go).to_be_disabled()
    await page.keyboard.press("Enter")
    status, problem = await call(page, "POST", unmask, {"reason": "核对"})
    assert (status, problem["code"]) == (422, "invalid_fields")
    no_trace(bought.personal, await whole_document(page))
    await reason.fill(why)
    await go.click()
    for value in (bought.who.name, bought.who.id_number, bought.who.phone, bought.who.address):
        await expect(person).to_contain_text(value)
    assert not await axe.violations(page)
    no_trace(bought.personal, await kept(page))
    await person.get_by_role("button", name="收起").click()
    no_trace(bought.personal, await whole_document(page))
    await page.get_by_role("link", name="查看留痕").click()
    await expect(page.get_by_text("只有审计可以看留痕。")).to_be_visible()

    async with new_handset(DESK) as other:
        audit = await open_file(other, whole, "auditor", bought)
        await expect(audit.get_by_role("banner")).to_contain_text("稽核老周审计")
        await expect(audit.get_by_role("region", name="投保人和标的")).to_contain_text("只有法务可以看完整信息")
        await expect(audit.get_by_role("button", name="显示完整信息")).to_have_count(0)
        status, problem = await call(audit, "POST", unmask, {"reason": why})
        assert (status, problem["code"]) == (403, "role_missing")
        await audit.get_by_role("link", name="查看留痕").click()
        entry = audit.get_by_role("row").filter(has_text=why)
        await expect(entry).to_have_count(1)
        await expect(entry).to_contain_text("counsel")
        await expect(entry).to_contain_text("页面上的完整信息")
        await expect(entry).to_contain_text(re.compile(r"\d\d-\d\d \d\d:\d\d:\d\d"))
        await expect(entry.get_by_role("link")).to_have_attribute("href", re.compile(bought.journey_id))
        await looks_well(audit)
        no_trace(bought.personal, await whole_document(audit))


async def test_the_sealed_evidence_comes_masked_or_in_full_as_a_zip(
    desk: Handset, whole: Whole, bought: Bought, tmp_path: Path
) -> None:
    page = await open_file(desk, whole, "counsel", bought)
    pack = page.get_by_role("region", name="证据包")
    made: dict[str, bytes] = {}
    for choice in ("遮盖", "完整"):
        await pack.get_by_role("radio", name=re.compile(f"^{choice}")).check()
        await pack.get_by_label("理由").fill("监管部门要求核对")
        await pack.get_by_role("button", name="生成证据包").click()
        link = pack.get_by_role("link", name=re.compile("^下载证据包"))
        await expect(link).to_be_visible(timeout=60_000)
        async with page.expect_download() as download:
            await link.click()
        path = tmp_path / f"{choice}.zip"
        await (await download.value).save_as(path)
        with zipfile.ZipFile(path) as opened:
            assert opened.testzip() is None
            made[choice] = all_of(opened)
        await expect(link).to_have_count(0)
    for value in (bought.who.name, bought.who.id_number, bought.who.phone):
        assert value.encode() not in made["遮盖"]
        assert value.encode() in made["完整"]


def all_of(pack: zipfile.ZipFile) -> bytes:
    """What the pack says in plain bytes, and every value opened in it."""
    openings = json.loads(pack.read("openings.json"))["openings"]
    opened = (base64.b64decode(one["value"]) for one in openings if "value" in one)
    plainly = (pack.read(name) for name in pack.namelist() if not name.endswith(".pdf"))
    return b"\n".join((*plainly, *opened))


async def test_the_live_page_changes_by_itself_and_its_chart_is_a_table_too(
    desk: Handset, whole: Whole, bought: Bought
) -> None:
    answers = Answers(desk)
    customer = await whole.customer(extra=False)
    await customer.until("consents")
    page = await let_in(desk, whole, "staff", "clerk", "#/live")
    await expect(page.get_by_text("实时连接正常")).to_be_visible()
    await expect(page.get_by_role("region", name="最近出的保单")).to_contain_text(bought.policy_nos[0])
    await page.evaluate("window.stays = true")
    steps = page.get_by_role("region", name=re.compile("各走到哪一步"))

    def counted(step: str) -> Locator:
        line = steps.get_by_role("listitem").filter(has=page.get_by_role("link", name=step, exact=True))
        return line.locator(".number")

    before = int(await counted("确认内容").inner_text())
    await customer.until("terms")
    await expect(counted("确认内容")).to_have_text(str(before + 1))
    assert await page.evaluate("window.stays"), "the page was not loaded again"

    await page.get_by_text("看数字").click()
    await page.get_by_role("button", name="刷新").click()
    await expect(page.get_by_role("button", name="刷新")).to_be_enabled()
    shown = json.loads((await answers.of("GET /v1/staff/live"))[-1])
    table = rows(page, "近 24 小时每小时的笔数，没有动静的小时不列")
    told = [[int(cell) for cell in (await row.inner_text()).split("\t")[1:]] for row in await table.all()]
    hours = [[hour["opened"], hour["issued"], hour["refused"]] for hour in shown["hours"]]
    assert told == [hour for hour in hours if any(hour)]
    assert sum(hour[0] for hour in told) >= 2
    await expect(page.get_by_role("img", name=re.compile("近 24 小时"))).to_be_visible()
    await looks_well(page)
    no_trace(bought.personal, *await answers.of(), await whole_document(page))
