"""kill -9: of the process a step rests on while the customer takes it, of the bus, of everything at once."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import ClassVar

from tests.faults.platform import EVERYBODY, PROCESSES, AtSteps, Breakable, Watched

ALL = "all of them"


class Kills:
    at_steps: ClassVar[dict[str, str]] = {
        "recording": "gateway",
        "documents": "disclosure",
        "forms": "nats",
        "signature": ALL,
        "payment": "payment",
        "policies": "issuance",
    }
    """A step, and what it rests on. At once all of them just when the name is written."""

    async def test_each_is_killed_at_a_step_that_rests_on_it(self, world: Breakable) -> None:
        """The customer taps while it is dead, and waits."""
        back: list[asyncio.Task[None]] = []
        customer = await world.customer(extra=False)

        async def killed(name: str) -> None:
            # One after the other: who is started just now does not need to be killed.
            await asyncio.gather(*back)
            await kill_and_restart(world, everything(world) if name == ALL else [name], back)

        at = AtSteps(customer, {step: partial(killed, name) for step, name in self.at_steps.items()})
        await world.persevere(customer)
        await asyncio.gather(*back)
        assert not at.left
        world.fair(customer)
        assert isinstance(customer.phone, Watched)
        assert customer.phone.unanswered  # the gateway was dead indeed
        await world.unharmed(customer)


def everything(world: Breakable) -> list[str]:
    store = ["mongodb"] if world.whole.run.store == "mongodb" else []
    return ["nats", *store, *EVERYBODY]


async def kill_and_restart(world: Breakable, names: list[str], back: list[asyncio.Task[None]]) -> None:
    """They are dead when this returns; ``back`` gets a task that brings them back meanwhile."""
    run = world.whole.run
    await asyncio.gather(*(run.kill(name) for name in names))

    async def restart() -> None:
        # What is without needs comes first; whoever finds no bus gives up, as under any supervisor.
        for group in ([n for n in names if n not in PROCESSES], [n for n in names if n in PROCESSES]):
            await asyncio.gather(*(run.restart(name) for name in group))

    back.append(asyncio.create_task(restart()))
