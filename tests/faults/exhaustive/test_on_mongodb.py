"""Every fault over the MongoDB wire protocol."""

from __future__ import annotations

import pytest

from tests.faults.exhaustive.everywhere import (
    ClocksAhead,
    ClocksBehind,
    DisksEverywhere,
    KillsEverywhere,
    killed_at_every_step,
)
from tests.faults.lost_stream import LostStream
from tests.faults.messages import Messages
from tests.faults.parties import Parties
from tests.faults.platform import Breakable

STORE = "mongodb"
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
    """kill -9, of the server that keeps the documents as well."""

    async def test_mongodb_is_killed_at_every_step(self, world: Breakable) -> None:
        await killed_at_every_step(world, "mongodb", "face")
