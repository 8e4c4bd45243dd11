"""The insurer's own people, by their API keys."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from deploy.simulator.api import KeyHolder

WAITING_SECONDS: Final = 120.0
LOOK_AGAIN_SECONDS: Final = 0.3


async def fetch_pack(
    staff: KeyHolder, journey_id: str, *, reason: str, masked: bool = False, policy_no: str | None = None
) -> tuple[str, bytes]:
    """File name and bytes of the evidence pack, of the journey or of one policy. The reason is kept (I24)."""
    wanted = {
        "journey_id": journey_id,
        "scope": "journey" if policy_no is None else "policy",
        "policy_no": policy_no,
        "masked": masked,
        "reason": reason,
    }
    link = await staff.post("/v1/staff/packs", wanted)
    pack = await staff.patiently("GET", link["url"].removeprefix(staff.base))
    return link["file_name"], pack.content


async def look_at_signature(reviewers: Sequence[KeyHolder], journey_id: str, finding: str = "legible") -> None:
    """Each of them, once the journey's signature waits for people, looks at it and says what they find (I11)."""
    async with asyncio.timeout(WAITING_SECONDS):
        while True:
            waiting = (await reviewers[0].get("/v1/staff/reviews"))["reviews"]
            if any(one["journey_id"] == journey_id for one in waiting):
                break
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
    for reviewer in reviewers:
        shown = await reviewer.get(f"/v1/staff/reviews/{journey_id}")
        found = {"review_no": shown["review_no"], "finding": finding}
        await reviewer.post(f"/v1/staff/reviews/{journey_id}/decide", found)
