"""Somebody at the page of the signature, and those who look at what they wrote."""

from __future__ import annotations

from playwright.async_api import Locator, expect

from contracts.facts.base import Fact
from deploy.simulator.api import KeyHolder
from tests.browser.buyer import Buyer
from tests.browser.hand import write_name
from tests.journey.whole import Whole

NAME, SOMEBODY, ONE_WRONG = "王小明", "李红强", "王大明"
"""Whose policy it is, somebody else, and a name with its second character wrong."""


class Pad:
    def __init__(self, whole: Whole, someone: Buyer) -> None:
        self.whole, self.someone, self.page = whole, someone, someone.page
        self.journey = someone.link.partition("#")[2].partition(".")[0]

    def step(self, name: str) -> Locator:
        return self.page.locator(f'[data-step="{name}"]')

    async def write(self, name: str, boxes: range | None = None) -> None:
        """Each box cleared first, as somebody does who was told to write it again."""
        for box in boxes or range(len(name)):
            tab = self.page.locator(f'[data-tab="{box}"]')
            await tab.click()
            if await (clear := self.someone.button("clear")).is_enabled():
                await clear.click()
            await write_name(self.someone.held, name, self.someone.chance, range(box, box + 1))
        await expect(self.page.locator('[data-saved="yes"]')).to_be_visible()

    async def submit(self) -> None:
        await self.someone.do(self.someone.button())

    async def to_people(self) -> None:
        """Until two people have to look."""
        for _ in range(3):
            await self.write(SOMEBODY)
            await self.submit()
            await expect(self.someone.alert("handwriting_another_name")).to_be_visible()
        await expect(self.page.locator("[data-sample]:visible")).to_have_count(1)
        await self.write(SOMEBODY)
        await self.submit()
        await expect(self.step("review")).to_be_visible()

    async def decide(self, who: str, finding: str = "legible", no: int = 1) -> None:
        staff: KeyHolder = self.whole.staff(who)
        await staff.post(f"/v1/staff/reviews/{self.journey}/decide", {"review_no": no, "finding": finding})

    def facts(self, name: str) -> list[Fact]:
        return self.whole.facts(self.journey, f"signing.{name}")
