"""Messages late, in another order, more than once, and all of them again from the start."""

from __future__ import annotations

import asyncio
import random
import secrets

from nats.aio.client import Client

from contracts.facts.evidence import HeadAnchored
from deploy.simulator.customer import Habits
from tests.faults.platform import PATIENCE_SECONDS, AtSteps, Breakable
from tests.journey.whole import CHANNEL, Told

LATE_SECONDS = 0.05


class Messages:
    async def test_a_journey_whose_messages_come_late_shuffled_twice_and_again(self, world: Breakable) -> None:
        run, wire, chance = world.whole.run, world.wire, random.Random(20261126)
        customer = await world.customer(Habits(score=9), extra=False)
        journey = customer.passage.journey_id

        async def evidence_hears_nothing() -> None:
            await run.kill("evidence")

        async def all_at_once_in_another_order() -> None:
            """What evidence has not heard, and the others have: everybody gets all of it, twice, shuffled."""
            heap = [*await world.messages(f"journey.{journey}.>")] * 2
            chance.shuffle(heap)
            async with world.operator() as client:
                await client.jetstream().purge_stream("JOURNEY", subject=f"journey.{journey}.>")
                await publish_again(client, heap)
            wire.seconds = LATE_SECONDS
            await run.restart("evidence", {"TOUBAO_NATS_URL": wire.url})

        at = AtSteps(customer, {"documents": evidence_hears_nothing, "signature": all_at_once_in_another_order})
        await world.persevere(customer)
        assert not at.left
        world.fair(customer)

        wire.seconds = 0.0
        await at_rest(world, journey)
        before = await kept(world, journey)
        texts = await world.whole.parties.messages(customer.person.phone)
        told_channel = await world.whole.channel_of(CHANNEL).events()
        await replay_everything(world)
        await world.settled()
        assert await kept(world, journey) == before
        assert await world.whole.parties.messages(customer.person.phone) == texts
        assert await world.whole.channel_of(CHANNEL).events() == told_channel
        await world.unharmed(customer)


async def at_rest(world: Breakable, journey: str) -> None:
    """Nothing of the journey is still to come: all is heard, and anchored once more since it was issued."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            await world.settled()
            told = [fact for _, fact in await world.facts(journey)]
            issued = sum(fact.service == "issuance" for fact in told)
            if any(isinstance(fact, HeadAnchored) and fact.heads.get("issuance") == issued for fact in told):
                return
            await asyncio.sleep(0.1)


async def publish_again(client: Client, messages: list[Told]) -> None:
    """Under ids of their own, so that the stream takes each for a new message."""
    for message in messages:
        headers = {**message.headers, "Nats-Msg-Id": secrets.token_hex(8)}
        await client.jetstream().publish(message.subject, message.data, headers=headers)


async def replay_everything(world: Breakable) -> None:
    """Every durable of every process is deleted and made anew: each begins at the start of its stream."""
    async with world.operator() as client:
        js = client.jetstream()
        for stream in ("JOURNEY", "AFTERCARE"):
            for consumer in await js.consumers_info(stream):
                await js.delete_consumer(stream, consumer.name)
    await world.provision()


async def kept(world: Breakable, journey: str) -> dict[str, list[str]]:
    """Ids of the journey's facts by the service whose store has them."""
    documents = await asyncio.gather(*(world.document(service, journey) for service in world.recorders))
    return {
        service: [fact.id for fact in document.facts] if document else []
        for service, document in zip(world.recorders, documents, strict=True)
    }
