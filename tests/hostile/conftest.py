"""One running platform for every hostile test: what it refuses must leave it as it was, so nobody needs one alone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.journey.whole import Whole, started

TOLD = {"TOUBAO_GATEWAY_BODY_SECONDS": "3", "TOUBAO_GATEWAY_LIMITS_SCALE": "3"}
"""Somebody who dawdles is waited for in every run, and one journey tries more than a phone does in that time."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def whole(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    """The running platform."""
    folder = tmp_path_factory.mktemp("hostile") / "var"
    async with started(folder, "sqlite", extra={"gateway": TOLD}) as running:
        yield running
