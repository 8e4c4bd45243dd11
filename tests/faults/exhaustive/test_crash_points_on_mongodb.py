"""Every crash point of every story over the MongoDB wire protocol."""

from __future__ import annotations

import pytest

from tests.faults.exhaustive.crash_points import CrashPoints

STORE = "mongodb"
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(3600)]


class TestCrashPoints(CrashPoints):
    """kill -9."""
