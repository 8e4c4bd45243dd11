"""The salesperson's page, on a phone: signing in, the form and its faults, the link, and the list that names nobody."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from contracts.problems import KINDS
from deploy.local.environment import salesperson_of
from deploy.simulator.__main__ import LINK
from deploy.simulator.parties import INBOX_SECONDS
from deploy.simulator.proposals import Person, proposal
from tests.browser import axe
from tests.browser.conftest import NewHandset
from tests.browser.desk import (
    Answers,
    call,
    end_session,
    enter,
    fill,
    fill_form,
    kept,
    let_in,
    no_trace,
    place,
    shows,
    typed,
    whole_document,
)
from tests.browser.handset import Handset
from tests.journey.whole import CHANNEL, Whole

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    # The first test waits for the whole platform to start.
    pytest.mark.timeout(300),
]
WIDTH = (390, 844)
SELLER = salesperson_of(CHANNEL)
PRODUCT = "motor_compulsory"
SUBMIT = "提交，把链接发给客户"


@pytest_asyncio.fixture(loop_scope="session")
async def phone(new_handset: NewHandset) -> AsyncIterator[Handset]:
    async with new_handset(WIDTH) as held:
        yield held


def made_up(whole: Whole) -> tuple[Person, dict[str, Any]]:
    """Somebody, and the proposal a salesperson submits for them."""
    who = whole.someone()
    asked = proposal(who, datetime.now(UTC), whole.chance, extra=False)
    del asked["salesperson"]
    return who, asked


def personal(who: Person, asked: dict[str, Any]) -> list[str]:
    return [who.name, who.id_number, who.phone, who.address, asked["subject"]["plate_no"], asked["subject"]["vin"]]


async def submitted(page: Page, asked: dict[str, Any]) -> dict[str, Any]:
    """By the salesperson's own session, without the form."""
    status, accepted = await call(page, "POST", "/v1/proposals", asked)
    assert status in (200, 201), accepted
    return accepted


async def newest(page: Page) -> list[dict[str, Any]]:
    return (await call(page, "GET", "/v1/proposals?order=newest"))[1]["proposals"]


async def messages(whole: Whole, who: Person, count: int) -> list[str]:
    """The texts on somebody's phone as soon as there are ``count``."""
    async with asyncio.timeout(INBOX_SECONDS):
        while len(texts := await whole.parties.messages(who.phone)) < count:  # noqa: ASYNC110 - a person looks again
            await asyncio.sleep(0.1)
    return texts


def row_of(page: Page, proposal_no: str) -> Any:
    return page.get_by_role("listitem").filter(has_text=proposal_no)


async def test_by_keyboard_alone_a_wrong_password_is_told_the_right_one_opens_and_a_group_of_fields_is_filled(
    phone: Handset, whole: Whole
) -> None:
    who, asked = made_up(whole)
    page, keys = phone.page, phone.page.keyboard
    await page.goto(f"{whole.run.gateway_url}/sales")
    assert not await axe.violations(page)
    name, password = page.get_by_label("账号"), page.get_by_label("密码", exact=True)
    await keys.press("Tab")
    await expect(name).to_be_focused()
    await keys.type(SELLER)
    await keys.press("Tab")
    await keys.type("not the password")
    await keys.press("Enter")
    refused = page.get_by_role("alert")
    await expect(refused).to_contain_text(KINDS["sign_in_failed"].title)
    await expect(refused).to_contain_text(KINDS["sign_in_failed"].next_step)
    await expect(password).to_be_focused()
    await expect(password).to_have_value("")
    await expect(name).to_have_value(SELLER)
    assert not await axe.violations(page)
    await keys.type(whole.run.password(SELLER))
    await keys.press("Enter")
    await expect(page.get_by_role("button", name="退出")).to_be_visible()
    await expect(page.get_by_role("heading", name="新投保")).to_be_visible()

    async def tab_to(aim: Any) -> None:
        for _ in range(30):
            if await aim.evaluate("element => element === document.activeElement"):
                return
            await keys.press("Tab")
        raise AssertionError(f"the keyboard never comes to {aim}")

    product = page.locator(f'input[type=checkbox][value="{PRODUCT}"]')
    await tab_to(product)
    await keys.press("Space")
    await expect(product).to_be_checked()
    for field in ("name", "id_number", "phone", "address"):
        box = place(page, f"policyholder.{field}")
        await tab_to(box)
        await keys.type(asked["policyholder"][field])
        await expect(box).to_have_value(asked["policyholder"][field])
    same = page.get_by_role("radio", name="就是投保人")
    if await same.count():
        await tab_to(same)
        await keys.press("Space")
        await expect(same).to_be_checked()
    no_trace(personal(who, asked), await kept(page))


async def test_faults_stand_at_their_fields_nothing_typed_is_lost_by_them_or_by_a_session_that_ended(
    phone: Handset, whole: Whole
) -> None:
    """And in the end, by a double press, there is one proposal, with its number, link, QR code and message."""
    who, asked = made_up(whole)
    await phone.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = await let_in(phone, whole, "sales", SELLER)
    await fill_form(page, asked, PRODUCT)
    wrong = {
        "policyholder.id_number": f"{who.id_number[:-1]}{(int(who.id_number[-2]) + 1) % 10}",
        "policyholder.phone": "1390000",
        "subject.plate_no": "",
        f"{PRODUCT}.covers.compulsory_liability.premium": "六百六十五元",
    }
    if wrong["policyholder.id_number"] == who.id_number:
        wrong["policyholder.id_number"] = f"{who.id_number[:-1]}{(int(who.id_number[-2]) + 2) % 10}"
    for field, value in wrong.items():
        await fill(page, field, value)
    before = await typed(page)

    # Each fault stands at its field and in the summary, and the first has the focus.
    await page.get_by_role("button", name=SUBMIT).click()
    summary = page.get_by_role("navigation", name="要修改的地方")
    await expect(summary).to_be_visible()
    first = place(page, next(iter(wrong)))
    await expect(first).to_be_focused()
    told: list[str] = []
    for field in wrong:
        box = place(page, field)
        await expect(box).to_have_attribute("aria-invalid", "true")
        fault = page.locator(f"#field-{field.replace('.', '-')}-fault")
        await expect(fault).to_be_visible()
        assert (await fault.get_attribute("id") or "") in (await box.get_attribute("aria-describedby") or "")
        told.append((await fault.inner_text()).removeprefix("✕").strip())
    links = summary.get_by_role("link")
    assert [await link.inner_text() for link in await links.all()] == told, "in the order of the page, nothing more"
    await links.nth(2).click()
    await expect(place(page, "subject.plate_no")).to_be_focused()
    assert await typed(page) == before
    assert not await axe.violations(page)
    no_trace(personal(who, asked), await kept(page))

    # Mended; and then the session is over before it is sent.
    await fill_form(page, asked, PRODUCT)
    await expect(page.get_by_text("标出的地方都改过了")).to_be_visible()
    before = await typed(page)
    await end_session(phone, whole)
    await page.get_by_role("button", name=SUBMIT).click()
    await expect(page.get_by_role("heading", name="业务员登录")).to_be_visible()
    await expect(page.get_by_role("status")).to_contain_text("刚才填写的内容都还在")
    await expect(page.get_by_role("button", name=SUBMIT)).to_be_hidden()
    await enter(page, SELLER, whole.run.password(SELLER))
    await expect(page.get_by_role("button", name=SUBMIT)).to_be_visible()
    assert await typed(page) == before
    no_trace(personal(who, asked), await kept(page))

    # A double press submits once.
    known = {one["journey_id"] for one in await newest(page)}
    await page.get_by_role("button", name=SUBMIT).dblclick()
    await expect(page.get_by_role("heading", name="投保已受理")).to_be_focused()
    (made,) = [one for one in await newest(page) if one["journey_id"] not in known]
    await expect(page.locator("main")).to_contain_text(made["proposal_no"])
    link = await page.locator("#link").input_value()
    assert link == await whole.parties.await_message(who.phone, LINK)
    assert len(await whole.parties.messages(who.phone)) == 1
    code = page.get_by_role("img", name="投保链接的二维码")
    await expect(code).to_be_visible()
    assert await shows(code, link)
    until = datetime.fromisoformat(made["expires_at"]).astimezone()
    await expect(page.locator("main")).to_contain_text(re.compile(rf"{until.year}年.*以前有效"))
    await page.get_by_role("button", name="复制链接").click()
    await expect(page.get_by_role("status").filter(has_text="链接已复制")).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == link
    assert not await axe.violations(page)
    no_trace([*personal(who, asked), link.partition(".")[2] or link], await kept(page))

    # The form is empty for the next customer.
    await page.get_by_role("link", name="再投一单").click()
    await expect(page.locator(f'input[type=checkbox][value="{PRODUCT}"]')).not_to_be_checked()
    no_trace(personal(who, asked), await whole_document(page))


async def test_what_was_typed_is_never_shown_or_sent_for_somebody_else_who_signs_in(
    phone: Handset, whole: Whole
) -> None:
    who, asked = made_up(whole)
    page = await let_in(phone, whole, "sales", SELLER)
    await fill_form(page, asked, PRODUCT)
    await end_session(phone, whole)
    await page.get_by_role("link", name="我的投保", exact=True).click()
    await expect(page.get_by_role("heading", name="业务员登录")).to_be_visible()
    other = salesperson_of("north_agency")
    await enter(page, other, whole.run.password(other))
    await expect(page.get_by_role("banner")).to_contain_text("北方保险代理有限公司")
    await page.get_by_role("navigation").get_by_role("link", name="新投保").click()
    await expect(page.locator(f'input[type=checkbox][value="{PRODUCT}"]')).not_to_be_checked()
    no_trace(personal(who, asked), await whole_document(page), await kept(page))

    # Nor does a tab go on in the name of somebody who signed out in another.
    await fill_form(page, asked, PRODUCT)
    beside = await phone.new_tab()
    await beside.goto(f"{whole.run.gateway_url}/sales")
    await beside.get_by_role("button", name="退出").click()
    await expect(page.get_by_role("heading", name="业务员登录")).to_be_visible()
    no_trace(personal(who, asked), await whole_document(page))
    await enter(beside, SELLER, whole.run.password(SELLER))
    await expect(page.get_by_role("banner")).to_contain_text("滨海汽车销售有限公司")
    no_trace(personal(who, asked), await whole_document(page))


async def test_the_list_names_nobody_sends_the_link_again_and_withdraws_after_asking(
    phone: Handset, whole: Whole
) -> None:
    who, asked = made_up(whole)
    page = await let_in(phone, whole, "sales", SELLER)
    accepted = await submitted(page, asked)
    link = await whole.parties.await_message(who.phone, LINK)
    answers = Answers(phone)
    await page.get_by_role("link", name="我的投保", exact=True).click()
    row = row_of(page, accepted["proposal_no"])
    await expect(row).to_contain_text("待客户确认")
    await row.get_by_role("button", expanded=False).click()
    assert not await axe.violations(page)

    await row.get_by_role("button", name="重发短信").click()
    await expect(row.get_by_role("status")).to_contain_text("链接已再次用短信发给投保人")
    assert [re.findall(LINK, text) for text in await messages(whole, who, 2)] == [[link], [link]]

    await row.get_by_role("link", name="显示二维码").click()
    code = page.get_by_role("img", name="投保链接的二维码")
    await expect(code).to_be_visible()
    assert await shows(code, link)
    await expect(page.locator("main")).to_contain_text(accepted["proposal_no"])
    await page.get_by_role("link", name="看我的投保").click()

    await row.get_by_role("button", expanded=False).click()
    await row.get_by_role("button", name="撤回", exact=True).click()
    sure = row.get_by_role("button", name="确定撤回")
    await expect(sure).to_be_disabled()
    await expect(row).to_contain_text("不能恢复")
    assert not await axe.violations(page)
    await row.get_by_role("button", name="不撤回").click()
    await expect(row).to_contain_text("待客户确认")
    await row.get_by_role("button", name="撤回", exact=True).click()
    await row.get_by_role("radio", name="客户要求撤回").check()
    await sure.click()
    await expect(row.get_by_role("status")).to_contain_text("这笔投保已撤回")
    await expect(row.get_by_role("button", expanded=True)).to_contain_text("已撤回")
    await expect(row.get_by_role("button", name="重发短信")).to_have_count(0)
    assert not await axe.violations(page)

    asked_of = await answers.of("GET /v1/proposals")
    assert any(accepted["journey_id"] in body for body in asked_of)
    no_trace(personal(who, asked), *await answers.of(), await whole_document(page), await kept(page))
    (_, secret) = link.rsplit(".", 1)
    no_trace([secret], *await answers.of("GET /v1/proposals?"), await kept(page))


async def test_a_colleagues_proposal_is_neither_listed_nor_shown_nor_withdrawn(phone: Handset, whole: Whole) -> None:
    who = whole.someone()
    asked = proposal(who, datetime.now(UTC), whole.chance, extra=False)
    theirs = await whole.channel.submit(asked)
    page = await let_in(phone, whole, "sales", SELLER, "#/proposals")
    answers = Answers(phone)
    await page.get_by_role("button", name="刷新").click()
    await expect(page.get_by_role("heading", name="我的投保")).to_be_visible()
    await expect(page.get_by_role("status").first).to_contain_text("已取")
    await expect(row_of(page, theirs["proposal_no"])).to_have_count(0)

    await page.goto(f"{whole.run.gateway_url}/sales#/proposals/{theirs['journey_id']}")
    await expect(page.get_by_role("alert")).to_contain_text(KINDS["not_yours"].title)
    await expect(page.get_by_role("img", name="投保链接的二维码")).to_have_count(0)
    for act, body in (("withdraw", {"reason": "wrong_data"}), ("resend-link", {})):
        status, problem = await call(page, "POST", f"/v1/proposals/{theirs['journey_id']}/{act}", body)
        assert (status, problem["code"]) == (404, "not_yours")
    assert len(await whole.parties.messages(who.phone)) == 1
    listed = (await whole.channel.get("/v1/proposals?order=newest"))["proposals"]
    (state,) = [one for one in listed if one["journey_id"] == theirs["journey_id"]]
    assert state["state"] == "open"
    no_trace(personal(who, asked), *await answers.of(), await whole_document(page))
