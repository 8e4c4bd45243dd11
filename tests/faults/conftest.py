"""One platform for all faults that can be undone: starting it takes longer than most journeys."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.faults.crashing import Crashing, crashing
from tests.faults.platform import Breakable, breakable


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Breakable]:
    """The running platform, over the store the module names."""
    store: str = request.module.STORE
    async with breakable(tmp_path_factory.mktemp(f"faults-{store}"), store) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def crash(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Crashing]:
    """A platform that looks for crash points, over the store the module names."""
    store: str = request.module.STORE
    async with crashing(tmp_path_factory.mktemp(f"crashing-{store}"), store) as running:
        yield running
