"""Pictures of every page: ``python -m tests.browser.screens`` writes them anew into ``docs/screens``.

Starts the whole platform, walks the pages of all three doors, and lays the customer's journey out on one sheet.
"""

from __future__ import annotations

import asyncio
import random
import re
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from PIL import Image
from playwright.async_api import Browser, Page, expect

from deploy.local.environment import salesperson_of
from deploy.local.settings import ROOT
from deploy.simulator.proposals import proposal
from tests.browser.buyer import Buyer
from tests.browser.forward import forwarded
from tests.browser.hand import write_name
from tests.browser.handset import DESK, USUAL, Handset, chromium_started, handset, picture
from tests.browser.pad import NAME, ONE_WRONG, SOMEBODY, Pad
from tests.browser.test_doors import sign_in, submitted
from tests.journey.whole import CHANNEL, Whole, started

INTO: Final = ROOT / "docs" / "screens"
COLOURS: Final = 96
JOURNEY: Final = (
    "open", "recording", "consents", "identity-choose", "face-platform", "terms", "products", "questions",
    "documents", "points", "forms", "signature-written", "payment", "payment-channel", "policies",
)  # fmt: skip
"""What stands on the sheet, in this order."""
COLUMNS: Final = 5


class Screens:
    def __init__(self, whole: Whole, browser: Browser, into: Path) -> None:
        self.whole, self.browser, self.into = whole, browser, into
        urls = (whole.run.place.party_url(party) for party in ("wechat", "face", "sms", "app"))
        self.ours = [whole.run.gateway_url, *urls]
        self.taken: set[str] = set()

    def handset(self, size: tuple[int, int] = USUAL) -> Any:
        return handset(self.browser, self.ours, size)

    async def take(self, page: Page, name: str, *, whole: bool = False) -> None:
        """Each name once."""
        if name in self.taken:
            return
        self.taken.add(name)
        path = self.into / f"{name}.png"
        await page.evaluate("document.fonts.ready")
        await picture(page, path, whole=whole)
        with Image.open(path) as drawn:
            drawn.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)

    async def buyer(self, held: Handset, *, name: str = "王明华", **more: Any) -> Buyer:
        who = self.whole.someone(name)
        body = proposal(who, datetime.now(UTC), self.whole.chance, extra=True)
        accepted = await self.whole.channel.submit(body)
        return Buyer(held, who, accepted["link"], self.whole.parties, random.Random(1), **more)

    # -- customer ------------------------------------------------------------------------------------------

    async def journey(self, **more: Any) -> None:
        async with self.handset() as held:
            someone = await self.buyer(held, take_extra=True, **more)

            async def seen(name: str) -> None:
                if name == "identity":
                    name += "-" + (await someone.screen.get_attribute("data-page") or "consent")
                if name == "documents":
                    await expect(held.page.locator("[data-reading]")).to_be_visible()
                if name == "payment" and await someone.button("agree").count():
                    name = "payment-consent"
                if name == "forms":
                    await expect(someone.button()).to_be_enabled(timeout=60_000)
                if name == "signature":
                    await expect(held.page.locator("canvas:visible")).to_be_visible()
                    await self.take(held.page, name)
                    await write_name(held, someone.person.name, someone.chance, range(1))
                    await self.take(held.page, "signature-written")
                    await held.page.get_by_role("button", name="清除这格").click()
                await self.take(held.page, name)

            someone.seen = seen
            await someone.come()
            await someone.until("policies")
            await expect(held.page.locator("[data-policy]").first).to_be_visible(timeout=60_000)
            await self.take(held.page, "policies")
            survey = held.page.locator('[data-step="survey"]')
            await expect(survey).to_be_visible(timeout=30_000)
            await survey.scroll_into_view_if_needed()
            await self.take(held.page, "survey")

    async def between(self) -> None:
        """What interrupts, and where it ends."""
        async with self.handset() as held:
            someone = await self.buyer(held)
            base = someone.link.partition("#")[0]
            await held.page.goto(f"{base}#nothing")
            await expect(someone.screen).to_be_visible()
            await self.take(held.page, "no-link")
            await held.page.goto(f"{self.whole.run.gateway_url}/verify")
            await self.take(held.page, "verify")
            await held.page.goto(f"{someone.link}wrong")
            await someone.button().click()
            await expect(held.page.locator('[data-step="stopped"]')).to_be_visible()
            await self.take(held.page, "link-wrong")
        async with self.handset() as held:
            someone = await self.buyer(held)
            customer = await forwarded(self.whole, someone, "terms")
            await someone.button("help").click()
            await expect(held.page.get_by_role("dialog")).to_be_visible()
            await self.take(held.page, "help")
            await held.page.keyboard.press("Escape")
            await held.page.evaluate("history.back()")
            await expect(held.page.get_by_role("dialog", name="要离开投保吗？")).to_be_visible()
            await self.take(held.page, "leaving")
            await someone.button("stay").click()
            await customer.until("documents")
            await expect(held.page.locator("[data-reading]")).to_be_visible(timeout=30_000)
            await held.page.evaluate("document.documentElement.dataset.text = 'large'")
            await self.take(held.page, "documents-large-text")
            await held.page.evaluate("document.documentElement.dataset.text = 'standard'")
            await held.lose_network()
            await expect(held.page.locator('[data-network="off"]')).to_be_visible()
            await self.take(held.page, "network-lost")
            await held.find_network()
            async with self.handset() as other:
                there = Buyer(other, someone.person, someone.link, someone.parties, someone.chance)
                await there.come()
                await there.go()
            await held.page.reload()
            await expect(held.page.locator('[data-step="stopped"]')).to_be_visible()
            await self.take(held.page, "other-device")
        async with self.handset() as held:
            someone = await self.buyer(held)
            await forwarded(self.whole, someone, "terms")
            await self.whole.channel.withdraw(someone.link.partition("#")[2].partition(".")[0])
            await expect(held.page.locator('[data-step="ended"], [data-step="stopped"]')).to_be_visible(timeout=30_000)
            await self.take(held.page, "withdrawn")
        async with self.handset() as held:
            someone = await self.buyer(held, path="card")
            someone.seen = lambda name: self._at_card(someone, name)
            await someone.come()
            await someone.until("terms")
        async with self.handset() as held:
            someone = await self.buyer(held)
            await forwarded(self.whole, someone, "payment")
            await someone.turn()
            await someone.button().click()
            await expect(held.page.get_by_role("button", name=re.compile("的账户付款$")).first).to_be_visible()
            await held.page.goto(someone.link)
            await expect(someone.button("cancel-order")).to_be_visible(timeout=30_000)
            await self.take(held.page, "payment-waiting")

    async def _at_card(self, someone: Buyer, name: str) -> None:
        page = await someone.screen.get_attribute("data-page")
        if name == "identity" and page in ("code", "card"):
            await self.take(someone.page, f"identity-{page}")

    async def handwriting(self) -> None:
        """What is not taken, what helps then, and who looks at it."""
        async with self.handset() as held:
            someone = await self.buyer(held, name=NAME)
            await forwarded(self.whole, someone, "signature")
            await expect(held.page.locator('canvas[data-box="0"]')).to_be_visible()
            pad = Pad(self.whole, someone)
            for name, code in ((ONE_WRONG, "unclear"), (SOMEBODY, "another_name"), (SOMEBODY, "another_name")):
                await pad.write(name)
                await pad.submit()
                await expect(someone.alert(f"handwriting_{code}")).to_be_visible()
                await held.page.evaluate("document.querySelector('[role=alert]').scrollIntoView({block: 'start'})")
                await held.page.evaluate("scrollBy(0, -200)")
                await self.take(held.page, f"signature-{code.replace('_', '-')}")
            await expect(held.page.locator("[data-sample]:visible")).to_have_count(1)
            await write_name(held, NAME, someone.chance, range(1))
            await held.page.locator("[data-sample]:visible").evaluate("it => it.scrollIntoView({block: 'start'})")
            await held.page.evaluate("scrollBy(0, -250)")
            await self.take(held.page, "signature-one-by-one")
            await pad.write(SOMEBODY)
            await pad.submit()
            await expect(pad.step("review")).to_be_visible()
            await self.take(held.page, "review")
            async with self.handset(DESK) as desk:
                await sign_in(desk.page, self.whole, "staff", "clerk")
                await desk.page.goto(f"{self.whole.run.gateway_url}/staff#/reviews")
                await expect(desk.page.get_by_role("heading", level=1).first).to_be_visible()
                await desk.page.wait_for_load_state("networkidle")
                await self.take(desk.page, "staff-reviews")
                await desk.page.goto(f"{self.whole.run.gateway_url}/staff#/reviews/{pad.journey}")
                await expect(desk.page.locator("canvas").first).to_be_visible()
                await self.take(desk.page, "staff-review", whole=True)

    # -- salesperson and staff -----------------------------------------------------------------------------

    async def sales(self) -> None:
        async with self.handset() as held:
            await held.page.goto(f"{self.whole.run.gateway_url}/sales")
            await expect(held.page.get_by_label("账号")).to_be_visible()
            await self.take(held.page, "sales-sign-in")
            await sign_in(held.page, self.whole, "sales", salesperson_of(CHANNEL))
            who = self.whole.someone("王明华")
            await expect(held.page.locator("input[type=checkbox]").first).to_be_visible()
            await self.take(held.page, "sales-form")
            await submitted(held.page, proposal(who, datetime.now(UTC), self.whole.chance))
            await held.page.evaluate("scrollTo(0, 0)")
            await self.take(held.page, "sales-link")
            await held.page.get_by_role("link", name="我的投保", exact=True).click()
            await expect(held.page.get_by_role("heading", level=1)).to_be_visible()
            await self.take(held.page, "sales-list")

    async def staff(self) -> None:
        async with self.handset(DESK) as held:
            page = held.page
            await sign_in(page, self.whole, "staff", "auditor")
            for link in await page.get_by_role("navigation", name="主菜单").get_by_role("link").all():
                await link.click()
                await expect(page.get_by_role("heading", level=1).first).to_be_visible()
                await page.wait_for_load_state("networkidle" if "live" not in page.url else "load")
                name = page.url.rpartition("/")[2]
                await self.take(page, f"staff-{name}")
            await page.goto(f"{self.whole.run.gateway_url}/staff#/journeys")
            await page.locator("tbody tr", has_text="已出单").get_by_role("link").click()
            await expect(page.get_by_role("region", name="经过")).to_be_visible()
            await self.take(page, "staff-journey")

    def sheet(self) -> None:
        """The journey on one sheet, page by page."""
        width, height, gap = 360, 740, 24
        rows = -(-len(JOURNEY) // COLUMNS)
        size = (COLUMNS * (width + gap) + gap, rows * (height + gap) + gap)
        drawn = Image.new("RGB", size, "#dfe5ec")
        for at, name in enumerate(JOURNEY):
            with Image.open(self.into / f"{name}.png") as one:
                place = (gap + at % COLUMNS * (width + gap), gap + at // COLUMNS * (height + gap))
                drawn.paste(one.convert("RGB"), place)
        small = drawn.resize((size[0] * 2 // 3, size[1] * 2 // 3), Image.Resampling.LANCZOS)
        small.quantize(COLOURS, dither=Image.Dither.NONE).save(self.into / "journey.png", optimize=True)


async def main(into: Path = INTO) -> None:
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        async with (
            started(Path(folder) / "var", "sqlite", (ROOT / "products",)) as whole,
            chromium_started() as browser,
        ):
            screens = Screens(whole, browser, into)
            parts: list[Callable[[], Awaitable[None]]] = [
                screens.journey, screens.between, screens.handwriting, screens.sales, screens.staff,
            ]  # fmt: skip
            for part in parts:
                await part()
            screens.sheet()
    for old in into.glob("*.png"):
        if old.stem not in screens.taken and old.stem != "journey":
            old.unlink()


if __name__ == "__main__":
    asyncio.run(main())
