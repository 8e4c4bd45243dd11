"""The insurer's own people, by their API keys."""

from __future__ import annotations

from deploy.simulator.api import KeyHolder


async def fetch_pack(
    staff: KeyHolder, journey_id: str, *, reason: str, masked: bool = False, policy_no: str | None = None
) -> tuple[str, bytes]:
    """File name and bytes of the evidence pack, of the journey or of one policy. The reason is kept."""
    raise NotImplementedError
