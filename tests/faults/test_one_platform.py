"""Every fault that can be undone, on one running platform over the embedded store. Over the other store, and every
service at every step: tests/faults/exhaustive.
"""

from __future__ import annotations

import pytest

from tests.faults.clocks import Clocks
from tests.faults.disk_and_locks import DiskAndLocks
from tests.faults.kills import Kills
from tests.faults.lost_stream import LostStream
from tests.faults.messages import Messages
from tests.faults.parties import Parties
from tests.faults.two_phones import TwoPhones

STORE = "sqlite"
pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    # The first test waits for the whole platform to start.
    pytest.mark.timeout(300),
]


class TestMessages(Messages):
    """Late, shuffled, twice, again."""


class TestLostStream(LostStream):
    """JetStream lost."""


class TestDiskAndLocks(DiskAndLocks):
    """Nothing can be written."""


class TestParties(Parties):
    """Outside parties."""


class TestClocks(Clocks):
    """Clocks that are off."""


class TestKills(Kills):
    """kill -9."""


class TestTwoPhones(TwoPhones):
    """A link opened twice."""
