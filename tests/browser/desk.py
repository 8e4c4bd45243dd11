"""The pages people sign in to, as a test sits at them: signing in, filling the form, hearing all that is answered."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

import segno
from playwright.async_api import Locator, Page, Response, expect

from tests.browser.handset import Handset
from tests.journey.whole import Whole

COOKIE: Final = "toubao_session"
_ENDLESS: Final = "text/event-stream"
_SQUARES: Final = """
(svg) => [Number(svg.getAttribute("viewBox").split(" ")[2]), [...svg.querySelectorAll("rect[height='1']")].map(
  (one) => ["x", "y", "width"].map((name) => Number(one.getAttribute(name))))]
"""
_KEPT: Final = """
async () => JSON.stringify([
  location.href, document.title, history.state, document.cookie, {...localStorage}, {...sessionStorage},
  (await indexedDB.databases()).map((one) => one.name), await caches.keys(), window.name,
])
"""


# -- coming and going ---------------------------------------------------------------------------------------


async def sign_in(page: Page, whole: Whole, door: str, name: str) -> None:
    """At the page's own form."""
    await page.goto(f"{whole.run.gateway_url}/{door}")
    await enter(page, name, whole.run.password(name))
    await expect(page.get_by_role("button", name="退出")).to_be_visible()


async def enter(page: Page, name: str, password: str) -> None:
    await page.get_by_label("账号").fill(name)
    await page.get_by_label("密码", exact=True).fill(password)
    await page.get_by_role("button", name="登录").click()


async def let_in(held: Handset, whole: Whole, door: str, name: str, hash: str = "") -> Page:
    """The page of somebody who signed in before: only the cookie is put into the browser."""
    url = whole.run.gateway_url
    body = {"door": door, "name": name, "password": whole.run.password(name)}
    async with whole.http.post(f"{url}/v1/sign-in", json=body, headers={"Origin": url}) as answer:
        answer.raise_for_status()
        token = answer.cookies[COOKIE].value
    await held.context.add_cookies(
        [{"name": COOKIE, "value": token, "domain": "127.0.0.1", "path": "/v1", "httpOnly": True, "sameSite": "Strict"}]
    )
    await held.page.goto(f"{url}/{door}{hash}")
    await expect(held.page.get_by_role("button", name="退出")).to_be_visible()
    return held.page


async def end_session(held: Handset, whole: Whole) -> None:
    """The server forgets the session; the browser still has its cookie and knows nothing of it."""
    url = whole.run.gateway_url
    (cookie,) = [one for one in await held.context.cookies(f"{url}/v1/") if one.get("name") == COOKIE]
    headers = {"Origin": url, "Cookie": f"{COOKIE}={cookie.get('value')}"}
    async with whole.http.post(f"{url}/v1/sign-out", headers=headers) as answer:
        answer.raise_for_status()


async def call(page: Page, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
    """A request the page does not offer, by the person's own browser and session."""
    return await page.evaluate(
        """async ([method, path, body]) => {
          const headers = {"content-type": "application/json", "idempotency-key": crypto.randomUUID()};
          const answer = await fetch(path, method === "GET" ? {} : {method, headers, body: JSON.stringify(body ?? {})});
          return [answer.status, await answer.json()];
        }""",
        [method, path, body],
    )


# -- the proposal form --------------------------------------------------------------------------------------


def place(page: Page, name: str) -> Locator:
    """A field by its place in the form, as ``policyholder.name``."""
    return page.locator(f"#field-{name.replace('.', '-')}")


async def fill(page: Page, name: str, value: Any) -> None:
    field = place(page, name)
    if await field.evaluate("element => element.tagName") == "SELECT":
        await field.select_option(str(value))
    else:
        await field.fill(str(value))


async def fill_form(page: Page, asked: dict[str, Any], product: str) -> None:
    """The part of a channel's proposal that is about ``product``, by hand."""
    await page.locator(f'input[type=checkbox][value="{product}"]').check()
    for name in ("name", "id_number", "phone", "address"):
        await fill(page, f"policyholder.{name}", asked["policyholder"][name])
    same = page.get_by_role("radio", name="就是投保人")
    if await same.count():
        await same.check()
    for name, value in asked["subject"].items():
        if await place(page, f"subject.{name}").count():
            await fill(page, f"subject.{name}", value)
    (part,) = (one for one in asked["products"] if one["product"] == product)
    for cover in part["covers"]:
        await fill(page, f"{product}.covers.{cover['cover']}.premium", cover["premium_fen"] // 100)
    for tax in part["taxes"]:
        await fill(page, f"{product}.taxes.{tax['tax']}", tax["fen"] // 100)
    await page.get_by_label("开始日期").fill(part["period"]["from"][:10])
    midnight = page.get_by_role("radio", name="某日零时起")
    if await midnight.count():
        await midnight.check()


async def typed(page: Page) -> dict[str, str]:
    """Everything in the form's fields, by id or name."""
    return await page.locator("form").evaluate(
        """(form) => Object.fromEntries([...form.elements].filter((one) => one.matches("input, select")).map(
          (one, i) => [one.id || `${one.name}${one.type}${i}`, "checked" in one && /radio|checkbox/.test(one.type)
            ? String(one.checked) : one.value]))"""
    )


# -- what is on the screen, kept and answered ----------------------------------------------------------------


async def kept(page: Page) -> str:
    """Whatever the page left in addresses, title, cookies it can read, and the browser's stores."""
    return await page.evaluate(_KEPT)


async def whole_document(page: Page) -> str:
    """Markup and what stands in fields, seen or not."""
    return await page.evaluate(
        """() => document.documentElement.outerHTML
          + [...document.querySelectorAll("input, textarea, select")].map((one) => one.value).join("\\n")"""
    )


async def shows(code: Locator, text: str) -> bool:
    """Whether a QR code's squares are those of ``text`` by ISO/IEC 18004 at level M, under any of the eight masks."""
    size, runs = await code.evaluate(_SQUARES)
    dark = {(x + i, y) for x, y, width in runs for i in range(width)}
    quiet = 4
    side = size - 2 * quiet
    for mask in range(8):
        made = segno.make_qr(text, error="m", mask=mask, version=(side - 17) // 4, mode="byte", boost_error=False)
        squares = {
            (x + quiet, y + quiet) for y, row in enumerate(made.matrix) for x, square in enumerate(row) if square
        }
        if squares == dark:
            return True
    return False


@dataclass
class Answers:
    """Every answer of the API a browser got, with its body."""

    held: Handset
    bodies: list[tuple[str, str]] = field(default_factory=list)
    """``POST /v1/…`` and the text."""
    _reading: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.held.context.on("response", self._answered)

    def _answered(self, response: Response) -> None:
        ends = not response.headers.get("content-type", "").startswith(_ENDLESS)
        if "/v1/" in response.url and ends and response.status != 204:
            self._reading.append(asyncio.ensure_future(self._read(response)))

    async def _read(self, response: Response) -> None:
        path = "/v1/" + response.url.partition("/v1/")[2]
        self.bodies.append((f"{response.request.method} {path}", (await response.body()).decode()))

    async def of(self, start: str = "") -> list[str]:
        """Bodies of what was asked by ``start``, as ``GET /v1/proposals``."""
        await asyncio.gather(*self._reading)
        return [body for asked, body in self.bodies if asked.startswith(start)]


def no_trace(of: list[str], *texts: str) -> None:
    """None of the values stands anywhere in the texts."""
    for text in texts:
        for value in of:
            assert value not in text, f"{value} stands in {text[max(0, text.index(value) - 80) :][:200]}"
