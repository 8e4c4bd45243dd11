"""Somebody who buys, at the pages: looks at what is on the screen and does what it asks, with fingers or a keyboard.

Knows the pages by the words a person reads, and by the attributes the pages promise: ``data-step``, ``data-act``,
``data-document``, ``data-point``, ``data-box``, ``data-code``.
"""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, Literal

from playwright.async_api import Error as PlaywrightError
from playwright.async_api import Locator, Page, expect

from deploy.simulator.parties import Parties
from deploy.simulator.proposals import Person
from tests.browser.hand import write_name
from tests.browser.handset import Handset

MOST_TURNS: Final = 90
WAIT_MS: Final = 30_000
"""For what several services and an outside party do together: drawing forms, issuing policies."""
SCREEN: Final = "[data-step]"

_UNTIL_STILL: Final = """
() => new Promise((done) => {
  const look = (before) => requestAnimationFrame(() => (scrollY === before ? done() : look(scrollY)));
  requestAnimationFrame(() => look(NaN));
})
"""

Seen = Callable[[str], Awaitable[None]]
"""Told of every page by a name for it, before anything is done there."""


async def unseen(_name: str) -> None:
    return None


@dataclass
class Buyer:
    held: Handset
    person: Person
    link: str
    parties: Parties
    chance: random.Random
    path: Literal["face", "card"] = "face"
    take_extra: bool = False
    drop_extra: bool = False
    score: int | None = 9
    by_keyboard: bool = False
    seen: Seen = unseen
    been: list[str] = field(default_factory=list)
    """Names of the pages in the order they were met."""

    @property
    def page(self) -> Page:
        return self.held.page

    @property
    def screen(self) -> Locator:
        return self.page.locator(SCREEN).first

    def button(self, act: str = "go") -> Locator:
        return self.page.locator(f'[data-act="{act}"]:visible')

    def alert(self, code: str) -> Locator:
        return self.page.locator(f'[role="alert"][data-code="{code}"]')

    # -- the whole way -------------------------------------------------------------------------------------

    async def come(self) -> None:
        """Opens the link."""
        await self.page.goto(self.link)

    async def until(self, step: str) -> None:
        """As far as ``step``, which is not done."""
        for _ in range(MOST_TURNS):
            if await self.step() == step:
                return
            await self.turn()
        raise AssertionError(f"turning at {await self.step()}, on the way to {step}: {self.been}")

    async def step(self) -> str:
        found = await self.screen.get_attribute("data-step")
        assert found is not None
        return found

    async def turn(self) -> None:
        """What the page on the screen asks for, and no more."""
        step = await self.step()
        await self._look(step)
        if await self.step() != step:
            return
        await getattr(self, f"_at_{step}")()

    async def _look(self, name: str) -> None:
        self.been.append(name)
        await self.seen(name)

    # -- fingers and keys ----------------------------------------------------------------------------------

    async def do(self, target: Locator) -> None:
        """Taps, or goes there with the Tab key and presses it. A button at work is waited for."""
        await expect(target).not_to_have_class(re.compile("loading"))
        if not self.by_keyboard:
            await target.click()
            return
        await expect(target).to_be_enabled()
        await self.tab_to(target)
        kind = await target.get_attribute("type")
        await self.page.keyboard.press("Space" if kind in ("radio", "checkbox") else "Enter")

    async def tab_to(self, target: Locator) -> None:
        for _ in range(150):
            if await target.evaluate("element => element === document.activeElement"):
                return
            await self.page.keyboard.press("Tab")
        raise AssertionError(f"the Tab key never comes to {target}")

    async def write(self, label: str, text: str) -> None:
        field = self.page.get_by_label(label, exact=True)
        if self.by_keyboard:
            await self.tab_to(field)
            await self.page.keyboard.insert_text(text)
        else:
            await field.fill(text)

    @asynccontextmanager
    async def turning(self, wait_ms: int = WAIT_MS) -> AsyncIterator[None]:
        """What is done inside leads to another page, and it is waited for."""
        same = await self._same()
        yield
        await expect(same).to_have_count(0, timeout=wait_ms)

    async def _same(self) -> Locator:
        """The page as it is now; finds nothing as soon as another one is shown."""
        css = SCREEN
        for name in ("data-step", "data-document", "data-product", "data-page"):
            value = await self.screen.get_attribute(name)
            css += f":not([{name}])" if value is None else f'[{name}="{value}"]'
        part = "[data-point]" if await self.page.locator("[data-point]").count() else "header"
        if await self.step() == "wait":
            return self.page.locator(css)
        words = await self.screen.locator(part).first.inner_text()
        return self.page.locator(css).filter(has=self.page.locator(part, has_text=re.compile(_loosely(words))))

    async def go(self) -> None:
        async with self.turning():
            await self.do(self.button())

    async def _at_wait(self) -> None:
        """Somebody who must be asked does not answer now; the page looks again by itself."""
        async with self.turning():
            pass

    # -- P0 to P3 ------------------------------------------------------------------------------------------

    async def _at_open(self) -> None:
        await self.go()

    async def _agree(self) -> None:
        async with self.turning():
            await self.do(self.button("agree"))

    async def _at_recording(self) -> None:
        await self._agree()

    async def _at_consents(self) -> None:
        await self._agree()

    async def _at_identity(self) -> None:
        waiting = self.page.locator('[data-page="face-result"]')
        await expect(waiting).to_have_count(0)
        if await self.step() != "identity":
            return
        match await self.screen.get_attribute("data-page"):
            case "name":
                await self.write("姓名", self.person.name)
                await self.write("身份证号码", self.person.id_number)
                await self.go()
            case "choose":
                async with self.turning():
                    await self.do(self.button("face" if self.path == "face" else "bank-card"))
            case "face":
                await self.do(self.button())
                await self.show_face()
            case "code":
                await self.do(self.button("send-code"))
                code = await self.parties.await_message(self.person.phone, r"验证码是(\d{6})")
                await self.write("验证码", code)
                await self.go()
            case "card":
                await self.write("银行卡号", self.person.card_number)
                await self.go()
            case _:
                await self._agree()

    async def show_face(self) -> None:
        """At the face platform's page: camera, then back."""
        start = self.page.get_by_role("button", name="打开摄像头")
        await expect(start).to_be_visible()
        await self._look("face-platform")
        await self.do(start)
        await self.do(self.page.get_by_role("button", name="开始核验"))
        await expect(self.screen).to_be_visible()

    # -- P4 to P6 ------------------------------------------------------------------------------------------

    async def _at_terms(self) -> None:
        await self.go()

    async def _at_products(self) -> None:
        if self.take_extra:
            for box in await self.page.get_by_role("checkbox").all():
                await expect(box).not_to_be_checked()
                await self.do(box)
        await self.go()

    async def _at_needs(self) -> None:
        await self._answer()

    async def _at_questions(self) -> None:
        await self._answer()

    async def _answer(self) -> None:
        """The answer of somebody with nothing to tell stands first."""
        for question in await self.page.locator("fieldset").all():
            await self.do(question.get_by_role("radio").first)
        await self.go()

    # -- P7 to P9 ------------------------------------------------------------------------------------------

    async def _at_documents(self) -> None:
        async with self.turning():
            await self.read_to_the_end()
            await self.do(self.button())

    async def read_to_the_end(self) -> None:
        """Scrolls until the server says that all was read."""
        await expect(self.page.locator("[data-reading]")).to_be_visible()
        ready = self.page.locator('[data-act="go"]:not([disabled])')
        for _ in range(200):
            if await ready.count():
                return
            if self.by_keyboard:
                await self.page.keyboard.press("PageDown")
            else:
                await self.page.mouse.wheel(0, (self.page.viewport_size or {"height": 600})["height"] * 0.6)
            # Nobody turns pages faster than they are drawn.
            await self.page.evaluate(_UNTIL_STILL)
            if await _in_view(self.page, ".end"):
                await self._scroll_to_the_bottom()
                # Where the page changed under the key it has to be pressed again.
                with suppress(AssertionError):
                    await expect(ready.or_(self.button("unread"))).to_be_visible(timeout=1_000)
                if await self.button("unread").count():
                    # It goes as soon as the server has heard enough.
                    with suppress(PlaywrightError):
                        await self.button("unread").click(timeout=1_000)
        await expect(ready).to_be_visible()

    async def _scroll_to_the_bottom(self) -> None:
        if self.by_keyboard:
            await self.page.keyboard.press("End")
        else:
            await self.page.mouse.wheel(0, 100_000)

    async def _at_points(self) -> None:
        await expect(self.page.locator("[data-point]")).to_be_visible()
        await self.go()

    async def _at_forms(self) -> None:
        """Each form as pictures of its pages."""
        await expect(self.button()).to_be_enabled(timeout=WAIT_MS)
        await self.go()

    # -- P10 to P13 ----------------------------------------------------------------------------------------

    async def _at_signature(self) -> None:
        await write_name(self.held, self.person.name, self.chance)
        await expect(self.page.locator('[data-saved="yes"]')).to_be_visible()
        await self.go()

    async def _at_payment(self) -> None:
        paying, waiting = self.button(), self.button("cancel-order")
        await expect(self.button("agree").or_(paying).or_(waiting).first).to_be_visible()
        if await self.button("agree").count():
            await self._agree()
            return
        if await waiting.count():
            # Paid already; the page shows when the channel has told.
            async with self.turning():
                pass
            return
        if self.drop_extra:
            await self.drop("driver_passenger_accident")
            self.drop_extra = False
        await self.do(self.button())
        await self.pay()

    async def drop(self, product: str) -> None:
        await self.do(self.button(f"drop-{product}"))
        await self.do(self.button("confirm-drop"))
        await expect(self.button(f"drop-{product}")).to_have_count(0)

    async def pay(self) -> None:
        """At the payment channel's page: from the own account, then back."""
        own = self.page.get_by_role("button", name=re.compile("^用.*的账户付款$")).first
        await expect(own).to_be_visible()
        await self._look("payment-channel")
        await self.do(own)
        await expect(self.screen).to_be_visible()


def _loosely(words: str) -> str:
    """A pattern for the words, whatever white space the page puts between them."""
    return r"\s*".join(re.escape(word) for word in words.split())


async def _in_view(page: Page, css: str) -> bool:
    place = await page.locator(css).first.bounding_box()
    size = page.viewport_size
    return place is not None and size is not None and place["y"] < size["height"]
