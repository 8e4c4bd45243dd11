"""Every crash point of every story over the embedded store."""

from __future__ import annotations

import pytest

from tests.faults.exhaustive.crash_points import CrashPoints

STORE = "sqlite"
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(3600)]


class TestCrashPoints(CrashPoints):
    """kill -9."""
