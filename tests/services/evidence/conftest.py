"""What the tests of evidence share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.services.evidence.parties import Parties, make_parties, stamping


@pytest.fixture(scope="session")
def parties(tmp_path_factory: pytest.TempPathFactory) -> Parties:
    return make_parties(tmp_path_factory.mktemp("parties"))


@pytest.fixture
async def tsa(parties: Parties) -> AsyncIterator[str]:
    async with stamping(parties) as url:
        yield url
