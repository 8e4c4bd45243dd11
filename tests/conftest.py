"""What tests of every part may ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.nats.server import NatsServer


@pytest.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A nats-server of the test's own, without accounts, on a port of the system's choosing."""
    async with NatsServer(tmp_path / "nats") as server:
        yield server
