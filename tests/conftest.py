"""Fixtures every test may ask for."""

from collections.abc import Iterator

import pytest

from tests.nats_server import NatsServer, nats_server


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """One real nats-server for the whole run; a desk wipes its streams before it begins."""
    with nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server
