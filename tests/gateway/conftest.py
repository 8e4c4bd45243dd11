"""One gateway for each test; the products are published once."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from products import Release
from tests.gateway.doorway import Doorway, doorway
from tests.nats_server import NatsServer
from tests.purchase import published


@pytest.fixture(scope="session")
def release_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Release]:
    folder = tmp_path_factory.mktemp("gateway-releases")
    return folder, published(folder)


@pytest.fixture
def release(release_folder: tuple[Path, Release], tmp_path: Path) -> Release:
    """Published under the test's own folder."""
    folder, release = release_folder
    shutil.copytree(folder, tmp_path / "releases")
    return release


@pytest.fixture
async def at(tmp_path: Path, nats: NatsServer, release: Release) -> AsyncIterator[Doorway]:
    async with doorway(tmp_path, nats, release) as found:
        yield found
