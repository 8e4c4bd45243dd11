"""A simulated channel: submits proposals with its API key and looks how they fare."""

from __future__ import annotations

from typing import Any

from deploy.simulator.api import KeyHolder


class Channel(KeyHolder):
    """A partner's or a branch's program. It never sees more than its own proposals."""

    async def submit(self, proposal: dict[str, Any], *, key: str | None = None) -> dict[str, Any]:
        """``{journey_id, proposal_no, link, expires_at}``. The link also goes to the policyholder by SMS."""
        return await self.post("/v1/proposals", proposal, key=key)

    async def withdraw(self, journey_id: str, reason: str = "channel_request") -> Any:
        return await self.post(f"/v1/proposals/{journey_id}/withdraw", {"reason": reason})

    async def proposals(self) -> list[dict[str, Any]]:
        return (await self.get("/v1/proposals"))["proposals"]

    async def events(self, after: str | None = None) -> dict[str, Any]:
        """What the channel's own customers bought, in order, from a cursor on."""
        return await self.get("/v1/events" + (f"?after={after}" if after else ""))
