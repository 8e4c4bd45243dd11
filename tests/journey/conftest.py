"""One platform a module, over the store the module names: starting it takes longer than most journeys."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from deploy.simulator.customer import Customer
from tests.journey.whole import Whole, started


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    """The running platform."""
    store: str = request.module.STORE
    async with started(tmp_path_factory.mktemp(store) / "var", store, ear=(">",)) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def bought(whole: Whole) -> Customer:
    """Somebody who passed with motor and extra, by face, and answered the survey."""
    customer = await whole.customer()
    await customer.pass_through()
    return customer
