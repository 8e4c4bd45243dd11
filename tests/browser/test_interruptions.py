"""What comes between: each ends in a page that says what happened and what to do, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import re

import pytest
from playwright.async_api import Locator, Response, expect

from tests.browser.buyer import Buyer
from tests.browser.conftest import NewBuyer, NewHandset
from tests.browser.forward import forwarded
from tests.browser.hand import write_name
from tests.journey.whole import Whole

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    # The first test waits for the whole platform to start.
    pytest.mark.timeout(300),
]


def journey_of(someone: Buyer) -> str:
    return someone.link.partition("#")[2].partition(".")[0]


GO_ON_FROM = """step => document.querySelector(`[data-step="${step}"]`)
    && document.querySelector('[data-act="go"]')?.click()"""


def screen(someone: Buyer, step: str, code: str | None = None) -> Locator:
    told = f'[data-code="{code}"]' if code else ""
    return someone.page.locator(f'[data-step="{step}"]{told}')


async def says_what_to_do(someone: Buyer, title: str, advice: str) -> None:
    """A heading that says what happened, a sentence what to do, and a human within reach."""
    await expect(someone.page.get_by_role("heading", level=1, name=re.compile(title))).to_be_visible()
    await expect(someone.page.locator("main")).to_contain_text(re.compile(advice))
    await expect(someone.page.get_by_role("button", name="人工服务")).to_be_visible()


# -- the phone ---------------------------------------------------------------------------------------------------


async def test_the_back_button_asks_before_it_leaves(buyer: NewBuyer, whole: Whole) -> None:
    someone: Buyer = await buyer()
    await someone.come()
    await someone.go()
    await someone.until("consents")
    title = await someone.screen.locator("h1").inner_text()
    await someone.page.evaluate("history.back()")
    dialog = someone.page.get_by_role("dialog", name="要离开投保吗？")
    await expect(dialog).to_contain_text("已经完成的步骤都已保存")
    await dialog.get_by_role("button", name="继续投保").click()
    await expect(someone.screen.locator("h1")).to_have_text(title)
    await someone.until("identity")


async def test_the_back_button_first_closes_what_lies_open_and_a_human_is_in_reach_there(
    buyer: NewBuyer, whole: Whole
) -> None:
    someone: Buyer = await buyer()
    await forwarded(whole, someone, "terms")
    open_ = someone.page.locator("dialog[open]")
    await someone.button("wrong").click()
    await expect(open_.get_by_role("button", name="人工服务")).to_be_visible()
    await someone.page.evaluate("history.back()")
    await expect(open_).to_have_count(0)
    await someone.page.evaluate("history.back()")
    await expect(open_.get_by_role("heading", name="要离开投保吗？")).to_be_visible()
    await someone.button("leave").click()
    await expect(open_.get_by_role("heading", name="可以关闭页面了")).to_be_visible()
    await someone.button("stay").click()
    await expect(screen(someone, "terms")).to_be_visible()


async def test_a_code_entered_wrongly_too_often_is_said_at_once(buyer: NewBuyer, whole: Whole) -> None:
    """And not tried again in silence, which would use up the tries of the next code."""
    someone: Buyer = await buyer(path="card")
    await someone.come()
    code = someone.page.locator('[data-page="code"]')
    while not await code.count():
        await someone.turn()
    await someone.button("send-code").click()
    await expect(someone.page.get_by_text("验证码已发到")).to_be_visible()
    tries: list[int] = []
    someone.page.on("response", lambda answer: tries.append(answer.status) if "verify-otp" in answer.url else None)
    for again in range(6):
        await someone.write("验证码", "000000")
        await someone.do(someone.button())
        await expect(someone.page.get_by_role("alert")).to_contain_text("错误次数太多" if again == 5 else "不正确")
    assert len(tries) == 6


async def test_the_phone_is_turned_under_the_finger_and_the_pad_still_takes_strokes(
    buyer: NewBuyer, whole: Whole
) -> None:
    someone: Buyer = await buyer(name="王明")
    await forwarded(whole, someone, "signature")
    pad = someone.page.locator('canvas[data-box="0"]')
    await pad.scroll_into_view_if_needed()
    place = await pad.bounding_box()
    assert place is not None
    tools = await someone.held.devtools()

    async def finger(kind: str, *at: float) -> None:
        points = [{"x": place["x"] + x, "y": place["y"] + 60} for x in at]
        await tools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    await finger("touchStart", 40)
    await finger("touchMove", 60)
    await someone.page.evaluate("dispatchEvent(new Event('resize'))")
    await finger("touchMove", 80)
    await finger("touchEnd")
    tab = someone.page.locator('[data-tab="0"]')
    await expect(tab).to_contain_text("1 笔")
    await finger("touchStart", 40)
    await finger("touchMove", 90)
    await finger("touchEnd")
    await expect(tab).to_contain_text("2 笔")


async def test_a_lost_network_while_reading_stops_nothing_that_was_read(buyer: NewBuyer, whole: Whole) -> None:
    someone: Buyer = await buyer()
    await forwarded(whole, someone, "documents")
    await expect(someone.page.locator("[data-reading]")).to_be_visible()
    first = await someone.screen.get_attribute("data-document")
    await someone.held.lose_network()
    note = someone.page.locator('[data-network="off"]')
    await expect(note).to_contain_text("网络断开了")
    await someone.page.mouse.wheel(0, 400)
    await someone.held.find_network()
    await expect(note).to_have_count(0)
    await expect(someone.screen).to_have_attribute("data-document", first or "")
    await someone.turn()
    await expect(someone.screen).not_to_have_attribute("data-document", first or "")


async def test_a_lost_network_while_signing_loses_no_stroke_and_neither_does_a_reload(
    buyer: NewBuyer, whole: Whole
) -> None:
    someone: Buyer = await buyer(name="王明华")
    await forwarded(whole, someone, "signature")
    saved = someone.page.locator("[data-saved]")
    await write_name(someone.held, "王明华", someone.chance, range(1))
    await expect(saved).to_have_attribute("data-saved", "yes")
    await someone.held.lose_network()
    await write_name(someone.held, "王明华", someone.chance, range(1, 2))
    await expect(saved).to_have_attribute("data-saved", "no")
    await expect(saved).to_contain_text("还没有保存")
    await someone.held.find_network()
    await expect(saved).to_have_attribute("data-saved", "yes")
    await someone.page.reload()
    await expect(someone.page.locator('[data-tab="1"]')).to_contain_text("笔", timeout=15_000)
    await expect(someone.page.locator('[data-tab="2"]')).to_contain_text("未写")
    await write_name(someone.held, "王明华", someone.chance, range(2, 3))
    await expect(saved).to_have_attribute("data-saved", "yes")
    await someone.go()
    await expect(screen(someone, "payment")).to_be_visible()


async def test_a_stroke_can_be_taken_back_and_a_box_written_anew(buyer: NewBuyer, whole: Whole) -> None:
    someone: Buyer = await buyer(name="王明")
    await forwarded(whole, someone, "signature")
    await write_name(someone.held, "王明", someone.chance, range(1))
    tab = someone.page.locator('[data-tab="0"]')
    await expect(tab).to_contain_text("4 笔")
    await someone.page.get_by_role("button", name="撤销一笔").click()
    await expect(tab).to_contain_text("3 笔")
    await someone.page.get_by_role("button", name="清除这格").click()
    await expect(tab).to_contain_text("未写")
    await expect(someone.button()).to_be_disabled()


async def test_smaller_text_in_the_middle_of_a_document_leaves_its_end_in_reach(buyer: NewBuyer, whole: Whole) -> None:
    """Text of twice the size makes the bars over the page high; what lay under them then must count afterwards."""
    someone: Buyer = await buyer(size=(320, 640))
    await forwarded(whole, someone, "documents")
    await someone.page.reload()
    await someone.page.evaluate("document.documentElement.style.fontSize = '200%'")
    await expect(someone.page.locator("[data-reading]")).to_be_visible()
    first = await someone.screen.get_attribute("data-document")
    await someone.page.evaluate("document.documentElement.style.fontSize = ''")
    await someone.turn()
    await expect(someone.screen).not_to_have_attribute("data-document", first or "")


async def test_a_phone_call_while_reading_stops_the_clock_and_the_page_goes_on(buyer: NewBuyer, whole: Whole) -> None:
    someone: Buyer = await buyer()
    await forwarded(whole, someone, "documents")
    await expect(someone.page.locator("[data-reading]")).to_be_visible()
    first = await someone.screen.get_attribute("data-document")

    def gone(answer: Response) -> bool:
        return answer.url.endswith("/report-reading") and '"visible":false' in (answer.request.post_data or "")

    # A heartbeat from before may still be under way.
    async with someone.page.expect_response(gone):
        await someone.held.hide()
    await someone.held.show()
    await someone.turn()
    await expect(someone.screen).not_to_have_attribute("data-document", first or "")


async def test_two_tabs_show_the_same_journey(buyer: NewBuyer, whole: Whole) -> None:
    someone: Buyer = await buyer()
    await forwarded(whole, someone, "terms")
    first = someone.page
    second = await someone.held.new_tab()
    await second.goto(first.url)
    await someone.until("needs")
    await expect(first.locator('[data-step="needs"]')).to_be_visible()
    # Both press the same: it is done once, and both go on.
    await first.bring_to_front()
    someone.held.page = first
    await someone.turn()
    await expect(second.locator("[data-step] .lead")).not_to_have_text(re.compile("强制保险"))


async def test_after_paying_the_way_back_may_be_lost(buyer: NewBuyer, whole: Whole) -> None:
    """Paid at the channel's page, which is then closed; the link from the SMS shows how it went."""
    someone: Buyer = await buyer()
    customer = await forwarded(whole, someone, "payment")
    await someone.turn()  # authorises
    await someone.do(someone.button())
    await expect(someone.page.get_by_role("button", name=re.compile("的账户付款$")).first).to_be_visible()
    await someone.parties.pay(someone.page.url, someone.person)
    await someone.held.new_tab()
    await someone.come()
    await expect(screen(someone, "policies")).to_be_visible(timeout=30_000)
    assert len(whole.facts(customer.passage.journey_id, "payment.order_placed")) == 1


# -- time --------------------------------------------------------------------------------------------------------


async def test_after_a_long_pause_the_same_person_proves_themselves_again_and_goes_on(
    buyer: NewBuyer, whole: Whole
) -> None:
    someone: Buyer = await buyer()
    await forwarded(whole, someone, "needs")
    someone.held.allowed.add(503)  # while it restarts, the page's stream may be refused
    await whole.run.restart("identity", {"TOUBAO_IDENTITY_IDLE_SECONDS": "1"})
    try:
        await asyncio.sleep(1.2)  # the pause itself
        await someone.page.reload()
        await expect(screen(someone, "identity")).to_be_visible()
        await says_what_to_do(someone, "核验身份", "再核验一次，已经确认过的内容都保留着")
        await whole.run.restart("identity", {"TOUBAO_IDENTITY_IDLE_SECONDS": "600"})
        await someone.until("needs")
        assert whole.facts(journey_of(someone), "identity.reproof_required")
    finally:
        await whole.run.restart("identity", {"TOUBAO_IDENTITY_IDLE_SECONDS": "600"})


async def test_a_session_over_its_time_is_begun_again_from_the_same_phone(buyer: NewBuyer, whole: Whole) -> None:
    await whole.run.restart("identity", {"TOUBAO_IDENTITY_ABSOLUTE_SECONDS": "3"})
    try:
        someone: Buyer = await buyer()
        await someone.come()
        await someone.go()
        someone.held.allowed.add(503)  # while it restarts, the page's stream may be refused
        await asyncio.sleep(3.2)  # the time itself
        await someone.page.reload()
        await expect(screen(someone, "stopped")).to_be_visible()
        await says_what_to_do(someone, "需要重新开始", "两小时")
    finally:
        await whole.run.restart("identity", {"TOUBAO_IDENTITY_ABSOLUTE_SECONDS": "7200"})
    await someone.go()
    await someone.until("identity")


# -- the link ----------------------------------------------------------------------------------------------------


async def test_another_device_before_signing_takes_over_and_the_first_is_told(
    buyer: NewBuyer, whole: Whole, new_handset: NewHandset
) -> None:
    someone: Buyer = await buyer()
    await forwarded(whole, someone, "terms")
    async with new_handset() as other:
        there = Buyer(other, someone.person, someone.link, someone.parties, someone.chance)
        await there.come()
        await there.go()
        await expect(there.screen).not_to_have_attribute("data-step", "open")
        await there.until("identity")
        # Pressed only if nothing has told it yet: what tells it has a button of its own.
        await someone.page.evaluate(GO_ON_FROM, "terms")
        await expect(screen(someone, "stopped")).to_be_visible()
        await says_what_to_do(someone, "另一部手机", "人工服务")


async def test_another_device_after_signing_is_turned_away(
    buyer: NewBuyer, whole: Whole, new_handset: NewHandset
) -> None:
    someone: Buyer = await buyer()
    await forwarded(whole, someone, "payment")
    async with new_handset() as other:
        there = Buyer(other, someone.person, someone.link, someone.parties, someone.chance)
        await there.come()
        await there.button().click()
        await expect(screen(there, "stopped", "device_bound")).to_be_visible()
        await says_what_to_do(there, "手机|设备", "手机|设备")
    await someone.page.reload()
    await expect(screen(someone, "payment")).to_be_visible()


async def test_a_withdrawn_proposal_ends_on_the_open_page_by_itself(buyer: NewBuyer, whole: Whole) -> None:
    someone: Buyer = await buyer()
    await forwarded(whole, someone, "terms")
    await whole.channel.withdraw(journey_of(someone))
    await expect(screen(someone, "ended").or_(screen(someone, "stopped"))).to_be_visible(timeout=30_000)
    await says_what_to_do(someone, "撤回", "业务员")
    await someone.page.reload()
    await says_what_to_do(someone, "撤回", "业务员")


async def test_a_wrong_link_and_no_link_say_where_to_begin(buyer: NewBuyer, whole: Whole) -> None:
    someone: Buyer = await buyer()
    base = someone.link.partition("#")[0]
    await someone.page.goto(f"{base}#{journey_of(someone)}.{'x' * 43}")
    await someone.button().click()
    await expect(screen(someone, "stopped", "link_invalid")).to_be_visible()
    await says_what_to_do(someone, "链接", "短信|业务员")
    await someone.held.new_tab()
    await someone.page.goto(f"{base}#something-else")
    await expect(screen(someone, "no-link")).to_be_visible()
    await says_what_to_do(someone, "短信里的链接", "业务员")


async def test_an_expired_link_says_so(buyer: NewBuyer, whole: Whole) -> None:
    await whole.run.restart("proposal", {"TOUBAO_PROPOSAL_VALID_HOURS": "0"})
    try:
        someone: Buyer = await buyer()
        await whole.until_told(lambda: whole.facts(journey_of(someone), "proposal.proposal_expired"))
        await someone.come()
        await someone.button().click()
        await expect(screen(someone, "stopped", "journey_expired")).to_be_visible()
        await says_what_to_do(someone, "过期|失效|有效", "业务员")
    finally:
        await whole.run.restart("proposal", {"TOUBAO_PROPOSAL_VALID_HOURS": "72"})


async def test_what_a_page_lacks_a_browser_is_said(buyer: NewBuyer, whole: Whole) -> None:
    """A browser without a store for keys: no page pretends that it goes on."""
    someone: Buyer = await buyer()
    await someone.page.add_init_script("Object.defineProperty(window, 'indexedDB', {get: () => undefined})")
    await someone.come()
    await says_what_to_do(someone, "浏览器不能", "微信")
