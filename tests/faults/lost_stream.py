"""JetStream loses everything it kept, and is filled again from the stores."""

from __future__ import annotations

import asyncio
import shutil

from deploy.simulator.customer import Habits
from servicekit.republish import SERVICES, republish
from tests.faults.platform import AtSteps, Breakable
from tests.journey.whole import CHANNEL


class LostStream:
    async def test_jetstream_is_lost_in_a_payment_and_after_everything(self, world: Breakable) -> None:
        customer = await world.customer(Habits(score=9), extra=False)
        at = AtSteps(customer, {"policies": lambda: lose_jetstream(world)})
        await world.persevere(customer)
        assert not at.left
        world.fair(customer)
        await world.settled()

        journey = customer.passage.journey_id
        before = {told.headers["ce-id"]: (told.subject, told.data) for told, _ in await world.facts(journey)}
        channel = world.whole.channel_of(CHANNEL)
        events, surveyed = await channel.events(), (await customer.look())["survey"]
        await lose_jetstream(world)
        await world.settled()
        after = {told.headers["ce-id"]: (told.subject, told.data) for told, _ in await world.facts(journey)}
        assert after == before
        # The channel's cursor still holds, and it is told of nothing twice.
        assert await channel.events() == events
        assert (await channel.events(events["next"]))["events"] == []
        assert (await customer.look())["survey"] == surveyed
        await world.unharmed(customer)


async def lose_jetstream(world: Breakable) -> None:
    """As docs/runbook.md tells operators to bring it back."""
    run = world.whole.run
    await run.kill("nats")
    shutil.rmtree(run.layout.nats / "jetstream")
    await run.restart("nats")
    await world.provision()
    await asyncio.gather(*(republish(world.settings_of(service), service) for service in SERVICES))
