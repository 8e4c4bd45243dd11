"""The insurer's own people, by their API keys."""

from __future__ import annotations

from deploy.simulator.api import KeyHolder


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
