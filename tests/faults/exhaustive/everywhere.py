"""The long ones: every process killed at every step, every clock off either way at every step it has to do with."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import ClassVar

import pytest

from deploy.simulator.api import Json
from deploy.simulator.customer import Habits, Path
from tests.faults.clocks import HOUR, RESTS_ON, Clocks
from tests.faults.disk_and_locks import DiskAndLocks
from tests.faults.kills import Kills, kill_and_restart
from tests.faults.platform import EVERYBODY, Breakable

LONGEST_TURN_SECONDS = 0.4


class KillsEverywhere(Kills):
    @pytest.mark.parametrize("name", [*EVERYBODY, "nats"])
    @pytest.mark.parametrize("path", ["face", "bank_card"])
    async def test_one_is_killed_at_every_step(self, world: Breakable, name: str, path: Path) -> None:
        await killed_at_every_step(world, name, path)


async def killed_at_every_step(world: Breakable, name: str, path: Path) -> None:
    """Before the step is taken or while it is, as chance has it."""
    chance = random.Random(f"{name} {path}")
    back: list[asyncio.Task[None]] = []
    customer = await world.customer(Habits(path=path, score=9))

    async def strike(after: float) -> None:
        await asyncio.sleep(after)
        restarted: list[asyncio.Task[None]] = []
        await kill_and_restart(world, [name], restarted)
        await asyncio.gather(*restarted)

    async def blow(_view: Json) -> None:
        await asyncio.gather(*back)
        after = chance.choice([0.0, chance.uniform(0, LONGEST_TURN_SECONDS)])
        back[:] = [asyncio.create_task(strike(after))]

    customer.meanwhile = blow
    await world.persevere(customer)
    await asyncio.gather(*back)
    world.fair(customer)
    await world.unharmed(customer)


class DisksEverywhere(DiskAndLocks):
    writes_at: ClassVar[dict[str, str]] = {
        "consents": "gateway",
        "identity": "identity",
        "terms": "proposal",
        "documents": "disclosure",
        "forms": "signing",
        "signature": "evidence",
        "payment": "payment",
    }


class ClocksAhead(Clocks):
    steps: ClassVar[Mapping[str, tuple[str, int]]] = {step: (name, HOUR) for step, name in RESTS_ON.items()}


class ClocksBehind(Clocks):
    steps: ClassVar[Mapping[str, tuple[str, int]]] = {step: (name, -HOUR) for step, name in RESTS_ON.items()}
