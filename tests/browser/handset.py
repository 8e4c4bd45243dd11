"""A phone in somebody's hand: Debian's Chromium showing our pages, and a watch over everything it does.

Nothing is intercepted. ``faults`` collects what must never happen on any page: a violation of the content security
policy, an error of the page's script, a request to anybody but us and the outside parties' stand-ins, an answer 5xx.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from playwright.async_api import (
    Browser,
    BrowserContext,
    CDPSession,
    ConsoleMessage,
    Page,
    Request,
    Response,
    WebError,
    async_playwright,
    expect,
)

CHROMIUM: Final = "/usr/bin/chromium"
FLAGS: Final = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
USUAL: Final = (360, 740)
SMALL: Final = (320, 640)
DESK: Final = (1366, 768)
PATIENCE_MS: Final = 15_000

_TELL_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  tellViolation(`${event.effectiveDirective} of ${event.documentURI.split("#")[0]} forbids ${event.blockedURI}, `
    + `${event.sourceFile}:${event.lineNumber} ${event.sample}`));
"""


@asynccontextmanager
async def chromium_started() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Handset:
    """``page`` is the tab last looked at."""

    context: BrowserContext
    page: Page
    ours: frozenset[str]
    """Origins that may be asked."""
    faults: list[str] = field(default_factory=list)
    allowed: set[int] = field(default_factory=set)
    """Status codes from 500 on that this test provokes."""

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob", "about") and f"{parts.scheme}://{parts.netloc}" not in self.ours:
            self.faults.append(f"asked a foreign origin: {request.url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 500 and response.status not in self.allowed:
            self.faults.append(f"{response.status} from {response.request.method} {response.url}")

    def _said(self, message: ConsoleMessage) -> None:
        # The browser says "Failed to load resource" of every refusal and of every request without a network.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.faults.append(f"console: {message.text}")

    def _broke(self, error: WebError) -> None:
        self.faults.append(f"page error: {error.error.message} {error.error.stack or ''}")

    async def watched(self) -> None:
        context = self.context
        context.on("request", self._asked)
        context.on("response", self._answered)
        context.on("console", self._said)
        context.on("weberror", self._broke)
        await context.expose_binding("tellViolation", lambda _source, said: self.faults.append(f"policy: {said}"))
        await context.add_init_script(_TELL_VIOLATIONS)

    async def devtools(self) -> CDPSession:
        return await self.context.new_cdp_session(self.page)

    async def new_tab(self) -> Page:
        self.page = await self.context.new_page()
        return self.page

    # -- what happens to a phone ---------------------------------------------------------------------------

    async def hide(self) -> None:
        """A call comes in, or the screen is locked: another tab lies in front, and the page is told so."""
        self._front = await self.context.new_page()
        await self._front.bring_to_front()
        await _seen(self.page, "hidden")

    async def show(self) -> None:
        await self._front.close()
        await self.page.bring_to_front()
        await _seen(self.page, "visible")

    async def lose_network(self) -> None:
        await self.context.set_offline(True)

    async def find_network(self) -> None:
        await self.context.set_offline(False)


async def _seen(page: Page, state: str) -> None:
    """Headless Chromium shows every tab as visible; the page's own view of it is set through the browser's tools."""
    tools = await page.context.new_cdp_session(page)
    said = json.dumps(state)
    script = (
        f"Object.defineProperty(document, 'visibilityState', {{configurable: true, get: () => {said}}});"
        f"Object.defineProperty(document, 'hidden', {{configurable: true, get: () => {said} === 'hidden'}});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    await tools.send("Runtime.evaluate", {"expression": script})
    await tools.detach()


NewHandset = Callable[..., Any]


@asynccontextmanager
async def handset(
    browser: Browser, ours: Iterable[str], size: tuple[int, int] = USUAL, **more: Any
) -> AsyncIterator[Handset]:
    """A browser of its own (no cookie, no key of another's), on a phone or, with ``DESK``, on a desk.

    Fails the test when something happened that must never happen.
    """
    width, height = size
    phone = size != DESK
    context = await browser.new_context(
        viewport={"width": width, "height": height},
        has_touch=phone,
        is_mobile=phone,
        device_scale_factor=2 if phone else 1,
        locale="zh-CN",
        timezone_id="Asia/Shanghai",
        **more,
    )
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    try:
        held = Handset(context, await context.new_page(), frozenset(ours))
        await held.watched()
        yield held
        assert not held.faults, "\n".join(held.faults)
    finally:
        await context.close()


async def picture(page: Page, path: Path, *, whole: bool = True) -> None:
    """A screenshot, of the whole length of the page where ``whole``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=path, full_page=whole, animations="disabled", scale="css")
