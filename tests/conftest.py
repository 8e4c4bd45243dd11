"""What tests of every part may ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from deploy.nats import server
from tests.nats_server import NatsServer, nats_server


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """One real nats-server for the whole run; a desk wipes its streams before it begins."""
    with nats_server(tmp_path_factory.mktemp("nats")) as shared:
        yield shared


@pytest.fixture(name="nats_server")
async def own_nats_server(tmp_path: Path) -> AsyncIterator[server.NatsServer]:
    """A nats-server of the test's own, without accounts, on a port of the system's choosing."""
    async with server.NatsServer(tmp_path / "nats") as own:
        yield own
