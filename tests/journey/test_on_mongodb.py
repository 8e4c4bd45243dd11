"""Every journey over the MongoDB wire protocol."""

from __future__ import annotations

import pytest

from tests.journey.journeys import Journeys

STORE = "mongodb"
pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    # The first test waits for the whole platform to start.
    pytest.mark.timeout(300),
]


class TestOnMongodb(Journeys):
    """The journeys as they are."""
