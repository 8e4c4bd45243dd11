"""Salesperson to customer to staff: one purchase through all three doors, each in a browser of its own."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from deploy.local.environment import salesperson_of
from deploy.simulator.proposals import proposal
from tests.browser import axe
from tests.browser.buyer import Buyer
from tests.browser.conftest import NewHandset
from tests.browser.desk import fill_form, sign_in
from tests.browser.handset import DESK, USUAL
from tests.journey.whole import CHANNEL, Whole

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    # The first test waits for the whole platform to start.
    pytest.mark.timeout(300),
]
PRODUCT = "motor_compulsory"


async def submitted(page: Page, asked: dict[str, Any]) -> str:
    """Fills the form as the product's data makes it, and gives the link that is then shown."""
    await fill_form(page, asked, PRODUCT)
    await page.get_by_role("button", name="提交，把链接发给客户").click()
    await expect(page.get_by_role("heading", name="投保已受理")).to_be_visible()
    await expect(page.get_by_role("img", name="投保链接的二维码")).to_be_visible()
    return await page.locator("#link").input_value()


async def policies(someone: Buyer) -> dict[str, bytes]:
    """Every policy by its button."""
    await expect(someone.page.locator('[data-state="issued"]')).to_be_visible(timeout=60_000)
    await expect(someone.page.locator("[data-policy]").first).to_be_visible()
    found: dict[str, bytes] = {}
    for policy in await someone.page.locator("[data-policy]").all():
        async with someone.page.expect_download() as download:
            await policy.get_by_role("button", name=re.compile("^下载保单")).click()
        found[await policy.get_attribute("data-policy") or ""] = (await (await download.value).path()).read_bytes()
    return found


async def test_a_salesperson_submits_the_customer_buys_and_staff_see_how(
    whole: Whole, new_handset: NewHandset, tmp_path: Path
) -> None:
    who = whole.someone()
    chance = random.Random(7)
    asked = proposal(who, datetime.now(UTC), chance, extra=False)

    async with new_handset(USUAL) as sales:
        await sign_in(sales.page, whole, "sales", salesperson_of(CHANNEL))
        assert not await axe.violations(sales.page)
        link = await submitted(sales.page, asked)
        assert not await axe.violations(sales.page)

        async with new_handset(USUAL) as phone:
            assert await whole.parties.await_message(who.phone, r"(https?://\S+#\S+?)(?:[，。\s]|$)") == link
            someone = Buyer(phone, who, link, whole.parties, chance)

            async def has_human(name: str) -> None:
                """From every page of ours one tap reaches a human (I27)."""
                if name not in ("face-platform", "payment-channel", "points"):
                    await expect(someone.page.get_by_role("button", name="人工服务")).to_be_visible()

            someone.seen = has_human
            await someone.come()
            await someone.until("policies")
            bought = await policies(someone)
            assert len(bought) == 1
            assert all(policy.startswith(b"%PDF-") for policy in bought.values())
            # The survey comes when it comes, and costs nothing.
            survey = someone.page.locator('[data-step="survey"]')
            await expect(survey).to_be_visible(timeout=30_000)
            await survey.get_by_role("radio", name="9", exact=True).check(force=True)
            await survey.get_by_role("button", name="提交").click()
            await expect(survey).to_have_count(0)

        # The salesperson sees that it is done, and nothing of the customer.
        await sales.page.get_by_role("link", name="我的投保", exact=True).click()
        await expect(sales.page.locator("main")).to_contain_text("已出单")
        assert who.name not in await sales.page.locator("main").inner_text()

    async with new_handset(DESK) as desk:
        await sign_in(desk.page, whole, "staff", "counsel")
        await desk.page.get_by_label("按什么查找").select_option("policy_no")
        await desk.page.locator("#search-value").fill(next(iter(bought)))
        await desk.page.get_by_role("button", name="查找").click()
        timeline = desk.page.get_by_role("region", name="经过")
        await expect(timeline.get_by_role("row").nth(20)).to_be_visible()
        text = await desk.page.locator("body").inner_text()
        assert who.name not in text, "masked until a reason is given (I24)"
        assert who.id_number not in text
        assert not await axe.violations(desk.page)
        await desk.page.get_by_label("理由").fill("客户要求核对投保经过")
        await desk.page.get_by_role("button", name="生成证据包").click()
        taking = desk.page.get_by_role("link", name=re.compile("下载证据包"))
        await expect(taking).to_be_visible(timeout=60_000)
        async with desk.page.expect_download() as download:
            await taking.click()
        pack = tmp_path / "pack.zip"
        await (await download.value).save_as(pack)
    _, findings = await whole.verdict(pack)
    assert all("dwell_scale" in doubt for doubt in findings["doubts"]), findings["doubts"]
