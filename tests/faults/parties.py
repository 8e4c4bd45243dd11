"""Outside parties that are slow, fail half the time, are down; payment notifications too early, twice, an hour late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from contracts.facts.payment import OrderAccepted, OrderPlaced, PaymentConfirmed
from deploy.simulator.customer import Habits
from tests.faults.platform import EVERYBODY, PATIENCE_SECONDS, AtSteps, Breakable

SPOKEN_TO = {"wechat": "/v3/", "face": "/v1/", "sms": "/v1/", "authority": "/sandbox/tsa/"}
"""Party, and where ours speak to it."""
HOUR = 3600


class Parties:
    async def test_every_party_is_slow_and_fails_half_the_time(self, world: Breakable) -> None:
        async with AsyncExitStack() as stack:
            for party, path in SPOKEN_TO.items():
                weather = {"path": path, "status": 500, "share": 0.5, "delay_seconds": 0.1}
                await stack.enter_async_context(weather_at(world, weather, party))
            customer = await world.customer(Habits(path="bank_card", score=None, use_app=False), extra=False)
            await world.persevere(customer)
        world.fair(customer)
        await world.unharmed(customer)

    async def test_each_is_down_when_it_is_needed_and_a_notification_comes_before_the_orders_reply_and_five_times(
        self, world: Breakable
    ) -> None:
        """The channel has the order and answers late; the customer pays meanwhile."""
        customer = await world.customer(extra=False)
        journey = customer.passage.journey_id

        async def down(party: str) -> None:
            async with weather_at(world, {"status": 503}, party):
                refusal = await world.refused_at(customer)
                assert refusal.status == 503, (party, refusal)

        at = AtSteps(customer, {"identity": lambda: down("face"), "signature": lambda: down("authority")})
        await world.persevere(customer, "payment")
        assert not at.left
        await down("wechat")
        late = {"path": "/v3/pay/transactions/h5", "done": True, "delay_seconds": 600}
        async with faults_at(world, {"duplicate": 2, "replay": 2}), weather_at(world, late, "wechat"):
            paying = asyncio.create_task(world.persevere(customer, past=["order_paid"]))
            await customer.pay(await pay_url(world, journey))
            await world.until_fact(journey, PaymentConfirmed)
            assert not any(isinstance(f, OrderAccepted) for _, f in await world.facts(journey))
            (told,) = await world.notified(journey)
            assert told["answer"] == "200"
        await paying
        world.fair(customer, also=["order_paid"])
        await world.unharmed(customer)

    async def test_a_payment_is_heard_of_an_hour_late(self, world: Breakable) -> None:
        """The channel answers no question about the order, and its notification takes an hour, as everybody's clock
        says.
        """
        customer = await world.customer(extra=False)
        await world.persevere(customer, "payment")
        silent = {"path": "/v3/pay/transactions/out-trade-no", "status": 503}
        try:
            async with faults_at(world, {"delay_seconds": HOUR}), weather_at(world, silent, "wechat"):
                await customer.consent("payment_authorisation")
                order = await customer.order(await customer.look())
                assert (await customer.pay(order["pay_url"]))["result"] == "paid"
                assert (await customer.look())["place"]["step"] == "payment"
                await world.clocks.set(world.whole.run, HOUR, *EVERYBODY)
                await world.persevere(customer)
            world.fair(customer)
            await world.unharmed(customer)
        finally:
            await world.clocks.set(world.whole.run, 0, *EVERYBODY)


@asynccontextmanager
async def weather_at(world: Breakable, weather: dict[str, Any], *parties: str) -> AsyncGenerator[None]:
    """``weather``: see /sandbox/outage in deploy/sandbox/README.md."""
    switches = [f"{world.whole.run.place.party_url(party)}/sandbox/outage" for party in parties]
    for switch in switches:
        async with world.whole.http.post(switch, json=weather) as answer:
            answer.raise_for_status()
    try:
        yield
    finally:
        for switch in switches:
            async with world.whole.http.delete(switch):
                pass


@asynccontextmanager
async def faults_at(world: Breakable, faults: dict[str, Any]) -> AsyncGenerator[None]:
    """Of the payment channel's notifications."""
    switch = f"{world.whole.parties.wechat}/sandbox/faults"
    async with world.whole.http.post(switch, json=faults) as answer:
        answer.raise_for_status()
    try:
        yield
    finally:
        async with world.whole.http.delete(switch):
            pass


async def pay_url(world: Breakable, journey: str) -> str:
    """Of the journey's order, as the channel knows it, whatever the merchant knows."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            for _, fact in await world.facts(journey):
                if isinstance(fact, OrderPlaced):
                    address = f"{world.whole.parties.wechat}/sandbox/orders/{fact.order_no}"
                    async with world.whole.http.get(address) as answer:
                        if answer.status == 200:
                            return (await answer.json())["pay_url"]
            await asyncio.sleep(0.1)
