"""Every fault over the embedded store."""

from __future__ import annotations

import pytest

from tests.faults.exhaustive.everywhere import ClocksAhead, ClocksBehind, DisksEverywhere, KillsEverywhere
from tests.faults.lost_stream import LostStream
from tests.faults.messages import Messages
from tests.faults.parties import Parties

STORE = "sqlite"
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]


class TestMessages(Messages):
    """Late, shuffled, twice, again."""


class TestLostStream(LostStream):
    """JetStream lost."""


class TestDiskAndLocks(DisksEverywhere):
    """Nothing can be written."""


class TestParties(Parties):
    """Outside parties."""


class TestClocksAhead(ClocksAhead):
    """Clocks an hour ahead."""


class TestClocksBehind(ClocksBehind):
    """Clocks an hour behind."""


class TestKills(KillsEverywhere):
    """kill -9."""
