"""axe-core over a page as it stands: what it finds serious or critical.

The script runs in a world of its own, beside the page's, so the page's policy neither hinders it nor is loosened.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Final

from playwright.async_api import Page

from deploy.local.settings import ROOT

AXE: Final = ROOT / "gateway" / "web" / "node_modules" / "axe-core" / "axe.min.js"
_RUN = """
axe.run(document, {resultTypes: ["violations"]}).then((found) => JSON.stringify(
  found.violations.filter((one) => ["serious", "critical"].includes(one.impact)).map((one) => ({
    rule: one.id, impact: one.impact, help: one.help,
    at: one.nodes.map((node) => node.target.join(" ") + "  " + (node.any[0]?.message ?? node.failureSummary)),
  }))))
"""


@cache
def _source() -> str:
    if not AXE.exists():
        raise FileNotFoundError(f"{AXE.relative_to(ROOT)} is missing: gateway/web/run.sh types fetches it")
    return AXE.read_text("utf-8")


async def violations(page: Page) -> list[str]:
    """Serious and critical findings, one line each with the places."""
    tools = await page.context.new_cdp_session(page)
    try:
        frame = (await tools.send("Page.getFrameTree"))["frameTree"]["frame"]["id"]
        world = (await tools.send("Page.createIsolatedWorld", {"frameId": frame, "worldName": "axe"}))[
            "executionContextId"
        ]

        async def run(expression: str) -> Any:
            answer = await tools.send(
                "Runtime.evaluate",
                {"expression": expression, "contextId": world, "awaitPromise": True, "returnByValue": True},
            )
            if "exceptionDetails" in answer:
                raise RuntimeError(str(answer["exceptionDetails"]))
            return answer["result"].get("value")

        await run(_source() + ";undefined")
        found: list[dict[str, Any]] = json.loads(await run(_RUN))
    finally:
        await tools.detach()
    return [f"{one['impact']} {one['rule']}: {one['help']}: " + "; ".join(one["at"]) for one in found]
