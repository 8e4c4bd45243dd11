"""The smallest real service, as a process of its own: ``python -m tests.servicekit.abacus``.

``ABACUS_DIES_PUBLISHING=1`` has it killed (SIGKILL) between the save and the first publish.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any, ClassVar

from contracts.commands.base import Command, Query
from contracts.facts.base import Fact
from contracts.values import Contract
from servicekit.bus import Bus
from servicekit.journeys import Decided, JourneyState
from servicekit.runner import run
from servicekit.service import Service, answers
from servicekit.settings import Settings


class Moved(Fact):
    service = "abacus"
    name = "moved"

    by: int


class Total(Contract):
    total: int
    process: int


class Move(Command):
    service = "abacus"
    verb = "move"
    reply = Total

    by: int


class Dawdle(Command):
    """Takes far longer than a stop may."""

    service = "abacus"
    verb = "dawdle"
    reply = Total


class Look(Query):
    service = "abacus"
    verb = "look"
    reply = Total


class Beads(JourneyState):
    total: int = 0
    looked: int = 0


class AbacusSettings(Settings):
    service: ClassVar[str] = "abacus"

    abacus_beads: int = 10
    abacus_password: str = ""


class Abacus(Service[Beads, AbacusSettings]):
    name = "abacus"
    state = Beads
    settings = AbacusSettings
    hears = ("door",)

    def evolve(self, state: Beads, fact: Fact) -> Beads:
        return state.model_copy(update={"total": state.total + fact.by}) if isinstance(fact, Moved) else state

    @answers(Move)
    async def move(self, command: Move, state: Beads) -> Decided:
        facts = [Moved(at=self.now(), by=command.by), Moved(at=self.now(), by=0)]
        return Decided(facts, Total(total=state.total + command.by, process=os.getpid()))

    @answers(Dawdle)
    async def dawdle(self, command: Dawdle, state: Beads) -> Decided:
        await asyncio.Event().wait()
        return Decided()

    @answers(Look)
    async def look(self, query: Look) -> Total:
        return Total(total=(await self.journeys.state(query.journey_id)).total, process=os.getpid())


if __name__ == "__main__":
    if os.environ.pop("ABACUS_DIES_PUBLISHING", None):

        async def die(*_: Any) -> bool:
            os.kill(os.getpid(), signal.SIGKILL)
            return False

        Bus.publish = die  # type: ignore[method-assign]
    run(Abacus)
