"""The clock of one process is an hour off, either way, while a step rests on it; then it is right again.

What is right (DESIGN §3, §5; DOMAIN §6): freshness is the server's own nonce, so a step asks for a new one and refuses
nobody for good. Whoever is taken for idle proves identity again; nobody is taken to have read, to be idle less, or to
be in time because a clock went wrong. Parties outside refuse signatures an hour off: the page waits. A notification
that looks stale is not taken, and comes again. Evidence records the time of the timestamp authority beside its own, and
the verifier says where they differ.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import ClassVar

from deploy.simulator.api import ProblemAnswer
from tests.faults.platform import AtSteps, Breakable

HOUR = 3600
RESTS_ON = {
    "recording": "gateway",
    "consents": "identity",
    "identity": "identity",
    "terms": "proposal",
    "documents": "disclosure",
    "forms": "signing",
    "signature": "evidence",
    "payment": "payment",
    "policies": "issuance",
}
"""A step, and the process whose clock is off when the customer takes it."""
WRONG_SECONDS = 2.0
ASKED_AGAIN = ("order_open", "reproof_required")
"""An order that was out of date when it was made is first closed; who was taken for idle proves identity again."""
SEEN = (
    "the times of",
    "a time later than the timestamp over it",
    "the insurer's clock and the timestamp differ",
)
"""What the verifier says of a pack in which a clock was off."""


class Clocks:
    steps: ClassVar[Mapping[str, tuple[str, int]]] = {
        step: (name, HOUR if number % 2 else -HOUR) for number, (step, name) in enumerate(RESTS_ON.items())
    }

    async def test_a_clock_is_an_hour_off_at_a_step(self, world: Breakable) -> None:
        customer = await world.customer(extra=False)

        async def off(name: str, seconds: int) -> None:
            """The step is tried with the wrong clock; whatever came of it, the clock is then right again."""
            async with clock_off(world, seconds, name):
                with suppress(ProblemAnswer, TimeoutError):
                    async with asyncio.timeout(WRONG_SECONDS):
                        await customer.turn(await customer.look())

        at = AtSteps(customer, {step: partial(off, *wrong) for step, wrong in self.steps.items()})
        await world.persevere(customer, past=ASKED_AGAIN)
        assert not at.left
        world.fair(customer, also=ASKED_AGAIN)
        assert await world.unharmed(customer, doubts=SEEN)  # and the verifier says so


@asynccontextmanager
async def clock_off(world: Breakable, seconds: int, *names: str) -> AsyncGenerator[None]:
    run = world.whole.run
    await world.clocks.set(run, seconds, *names)
    try:
        yield
    finally:
        await world.clocks.set(run, 0, *names)
