"""A finger on glass: writes a name into the signature pad's boxes by touches, and takes the time a hand takes."""

from __future__ import annotations

import random
from typing import Any

from playwright.async_api import CDPSession

from deploy.simulator.hand import writes
from tests.browser.handset import Handset

KEPT = 5
"""Of the simulated hand's samples every so many-th is touched: each takes the browser a frame, as on a phone."""


async def write_name(held: Handset, name: str, chance: random.Random, boxes: range | None = None) -> None:
    """Into ``canvas[data-box="0"]`` and those after it, each turned to first; ``boxes``: only into these."""
    written = writes(name, chance)["boxes"]
    tools = await held.devtools()
    for at in boxes if boxes is not None else range(len(written)):
        for stroke in written[at]["strokes"]:
            await _stroke(held, tools, at, stroke, written[at]["width"])
    await tools.detach()


async def write_stroke(held: Handset, name: str, chance: random.Random, box: int, stroke: int) -> None:
    """One stroke alone."""
    written = writes(name, chance)["boxes"][box]
    tools = await held.devtools()
    await _stroke(held, tools, box, written["strokes"][stroke], written["width"])
    await tools.detach()


async def _stroke(held: Handset, tools: CDPSession, box: int, stroke: list[dict[str, Any]], width: float) -> None:
    pad = held.page.locator(f'canvas[data-box="{box}"]')
    if not await pad.is_visible():
        await held.page.locator(f'[data-tab="{box}"]').click()
    # Between the bars above and below, as a person would move it.
    await pad.evaluate("element => element.scrollIntoView({block: 'center'})")
    place = await pad.bounding_box()
    assert place is not None
    scale = place["width"] / width
    points = [*stroke[:-1:KEPT], stroke[-1]]

    async def touch(kind: str, point: dict[str, Any] | None) -> None:
        touches = (
            []
            if point is None
            else [
                {
                    "x": place["x"] + point["x"] * scale,
                    "y": place["y"] + point["y"] * scale,
                    "force": point["pressure"],
                }
            ]
        )
        await tools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    await touch("touchStart", points[0])
    for point in points[1:]:
        await touch("touchMove", point)
    await touch("touchEnd", None)
