"""Every journey over the embedded store."""

from __future__ import annotations

import pytest

from tests.journey.journeys import Journeys

STORE = "sqlite"
pytestmark = pytest.mark.asyncio(loop_scope="session")


class TestOnSqlite(Journeys):
    """The journeys as they are."""
