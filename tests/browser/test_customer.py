"""Whole journeys at the customer's pages, in a real browser over the real bus."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.browser import axe, scaling
from tests.browser.buyer import Buyer
from tests.browser.conftest import NewBuyer
from tests.browser.handset import SMALL
from tests.journey.whole import Whole

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    # The first test waits for the whole platform to start.
    pytest.mark.timeout(300),
]
EXTRA = "driver_passenger_accident"
OUTSIDE = ("face-platform", "payment-channel")
"""Pages that are not ours."""
EVERY_PAGE = {
    "open", "recording", "consents", "identity", "terms", "needs", "questions", "documents", "points", "forms",
    "signature", "payment", "policies",
}  # fmt: skip


async def downloaded(someone: Buyer) -> list[bytes]:
    """Every policy by its button."""
    await expect(someone.page.locator('[data-state="issued"]')).to_be_visible(timeout=60_000)
    await expect(someone.page.get_by_role("button", name=re.compile("^下载保单")).first).to_be_visible()
    found: list[bytes] = []
    for button in await someone.page.get_by_role("button", name=re.compile("^下载保单")).all():
        async with someone.page.expect_download() as download:
            await someone.do(button)
        found.append((await (await download.value).path()).read_bytes())
    return found


async def test_motor_and_extra_by_bank_card_on_a_small_phone_and_the_extra_removed_before_paying(
    buyer: NewBuyer, whole: Whole
) -> None:
    """Every page once under axe-core, with large text too, and with text at 200 %."""
    someone: Buyer = await buyer(size=SMALL, extra=True, take_extra=True, drop_extra=True, path="card")
    looked: set[str] = set()
    found: list[str] = []

    async def look(name: str) -> None:
        page = f"{name}/{await someone.screen.get_attribute('data-page') or ''}" if name not in OUTSIDE else name
        if page not in looked:
            looked.add(page)
            found.extend(f"{page}: {each}" for each in await axe.violations(someone.page))
            if name not in OUTSIDE:
                found.extend(f"{page}: {each}" for each in await scaling.losses(someone.page))

    someone.seen = look
    await someone.come()
    await someone.until("policies")
    policies = await downloaded(someone)
    await look("policies")
    assert len(policies) == 2, "the extra was taken out"
    journey = someone.link.partition("#")[2].partition(".")[0]
    (order,) = whole.facts(journey, "payment.order_placed")
    assert EXTRA not in {line.product for line in order.lines}  # pyright: ignore[reportAttributeAccessIssue]
    assert {name.partition("/")[0] for name in looked} >= {*EVERY_PAGE, "products", "payment-channel"}
    assert not found, "\n".join(found)


async def test_by_keyboard_alone_and_every_page_reloaded(buyer: NewBuyer) -> None:
    """But the name: it is written by hand, or it is not handwriting."""
    someone: Buyer = await buyer(by_keyboard=True)
    reloaded: set[str] = set()

    async def reload(name: str) -> None:
        if name in OUTSIDE:
            return
        before = await someone.screen.locator("h1").first.inner_text()
        page = f"{name}/{before}"
        if page in reloaded or (name in ("documents", "points", "needs") and name in someone.been[:-1]):
            return
        reloaded.add(page)
        await someone.page.reload()
        # The face's result may be in while the page that waits for it is reloaded.
        step = re.compile("identity|terms") if name == "identity" else name
        await expect(someone.screen).to_have_attribute("data-step", step)
        if name != "identity":  # what was typed or chosen there and not sent is asked for again
            await expect(someone.screen.locator("h1").first).to_have_text(before)

    someone.seen = reload
    await someone.come()
    await someone.until("policies")
    assert len(await downloaded(someone)) == 2
