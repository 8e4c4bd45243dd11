"""What is lost when a reader doubles the size of text (WCAG 1.4.4): sideways scrolling, words cut off, buttons
outside the screen.
"""

from __future__ import annotations

from playwright.async_api import Page

from tests.browser.axe import violations

_LOSSES = """
() => {
  const lost = [];
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) {
    // What makes it wide: nothing inside it is, and it doesn't merely follow the width of the window.
    const beyond = (one) => one.getBoundingClientRect().right > width + 1;
    const wide = [...document.body.querySelectorAll("*")]
      .filter((one) => beyond(one) && ![...one.children].some(beyond));
    const names = wide.filter((one) => !one.closest("footer")).slice(0, 3)
      .map((one) => `${one.tagName}.${one.className} ${(one.innerText || "").slice(0, 20)}`);
    lost.push(`${document.documentElement.scrollWidth} px wide on ${width}: ${names.join(", ")}`);
  }
  for (const one of document.querySelectorAll("button, a, label, h1, h2, legend, input[type=text]")) {
    const place = one.getBoundingClientRect();
    if (!place.width || getComputedStyle(one).visibility === "hidden" || one.closest(".aside")) continue;
    const name = `${one.tagName} ${(one.innerText || one.id).slice(0, 20)}`;
    if (place.left < -1 || place.right > width + 1) lost.push(`${name} lies outside the screen`);
    const cut = one.scrollWidth > one.clientWidth + 2 || one.scrollHeight > one.clientHeight + 4;
    if (one.tagName !== "INPUT" && getComputedStyle(one).overflow !== "visible" && cut) lost.push(`${name} is cut off`);
  }
  return lost;
}
"""
_SIZE = (
    "([text, size]) => { const html = document.documentElement; html.dataset.text = text; html.style.fontSize = size; }"
)


async def losses(page: Page) -> list[str]:
    """With text at 200 %, then with the page's own large text; the page is left as it was."""
    before = await page.locator("html").get_attribute("data-text") or "standard"
    found: list[str] = []
    try:
        await page.evaluate(_SIZE, [before, "200%"])
        found += [f"at 200 %: {each}" for each in await page.evaluate(_LOSSES)]
        await page.evaluate(_SIZE, ["large", ""])
        found += [f"in large text: {each}" for each in await page.evaluate(_LOSSES)]
        found += [f"in large text: {each}" for each in await violations(page)]
    finally:
        await page.evaluate(_SIZE, [before, ""])
    return found
