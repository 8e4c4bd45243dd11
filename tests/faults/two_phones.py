"""A customer with two phones: the link is opened on the second while the name written on the first is on its way."""

from __future__ import annotations

import asyncio
import os
import signal

import nats

from deploy.simulator.api import Phone, ProblemAnswer
from tests.faults.platform import Breakable

PATIENCE_SECONDS = 60.0


class TwoPhones:
    async def test_I12_a_signature_on_its_way_stands_and_its_phone_goes_on(self, world: Breakable) -> None:
        run = world.whole.run
        customer = await world.customer()
        await world.persevere(customer, "signature")
        view = await customer.look()
        asked = asyncio.Event()
        ear = await nats.connect(run.nats_url, nkeys_seed=str(run.nats_seed))

        async def hear(_: object) -> None:
            asked.set()

        await ear.subscribe("cmd.evidence.attest", cb=hear)
        await ear.flush()
        # No signature is taken without evidence's word: while evidence stands still, the signature is on its way.
        os.kill(run.process("evidence").pid, signal.SIGSTOP)
        try:
            writing = asyncio.create_task(customer.turn(view))
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asked.wait()
            second = world.whole.other_phone(customer)
            assert (await second.open())["attempt"] == 2
        finally:
            os.kill(run.process("evidence").pid, signal.SIGCONT)
            await ear.close()
        await writing
        await until_refused(second, "device_bound")
        await until_refused(customer.phone, "session_not_open")

        customer.phone.session.token = None  # the link is tapped again on the phone that signed
        await world.persevere(customer)
        assert customer.passage.view["state"] == "issued"
        await world.unharmed(customer)


async def until_refused(phone: Phone, code: str) -> None:
    """Waits for identity to have heard of the signature."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await phone.get()
            except ProblemAnswer as refused:
                if refused.code == code:
                    return
            await asyncio.sleep(0.1)
