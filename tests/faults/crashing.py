"""Kills at named crash points (servicekit/crash_points.py): which points there are is learnt from watching journeys,
then they are armed, whoever dies is started again, and the journey has to come to its end all the same.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from contracts.facts.payment import Refunded
from deploy.local.processes import Ended
from deploy.simulator.api import Json
from deploy.simulator.customer import Customer, Habits
from deploy.simulator.staff import fetch_pack
from servicekit.crash_points import ARMED, PASSED
from tests.faults.parties import faults_at
from tests.faults.platform import PATIENCE_SECONDS, PROCESSES, AtSteps, Breakable, breakable
from tests.journey.whole import refused

LONGEST_STORY_SECONDS = 600.0
TO_A_JOURNEY = 40
"""Points armed while one journey goes: what is left over time for it to be at rest."""
AFTERWARDS_SECONDS = 15.0
"""How long something may still come by when the journey is at its end: sweeps and evidence's own look."""
KINDS = ("after_save", "after_publish", "before_ack", "after_outside_call")


class NeverPassed(AssertionError):
    """``points`` were armed, again and again, and nobody came by."""

    def __init__(self, points: list[str]) -> None:
        super().__init__("\n  ".join(["armed and never passed:", *points]))


def handler(point: str) -> str:
    """``<process>.<handler>`` of a point."""
    return ".".join(point.split(".")[1:3])


def apart(points: Iterable[str]) -> list[list[str]]:
    """Journeys' worth of points, no two of one handler in one: who is killed half way does not come by what was to
    follow, because what is left is done elsewhere, by a sweep or another process.
    """
    journeys: list[dict[str, str]] = []
    for point in points:
        for journey in journeys:
            if handler(point) not in journey and len(journey) < TO_A_JOURNEY:
                journey[handler(point)] = point
                break
        else:
            journeys.append({handler(point): point})
    return [[*journey.values()] for journey in journeys]


@dataclass
class Points:
    """The folder in which processes look."""

    folder: Path

    def __post_init__(self) -> None:
        (self.folder / ARMED).mkdir(parents=True)
        (self.folder / PASSED).touch()

    def passed(self) -> list[str]:
        """Since ``forget``, each once, in the order of the first time."""
        return list(dict.fromkeys((self.folder / PASSED).read_text("ascii").splitlines()))

    def forget(self) -> None:
        (self.folder / PASSED).write_bytes(b"")

    def arm(self, points: Iterable[str]) -> None:
        for point in points:
            (self.folder / ARMED / point).touch()

    def armed(self) -> list[str]:
        """Those that have not killed yet."""
        return sorted(each.name for each in (self.folder / ARMED).iterdir())

    def disarm(self) -> None:
        for point in self.armed():
            (self.folder / ARMED / point).unlink(missing_ok=True)

    async def spent(self, within: float = AFTERWARDS_SECONDS) -> list[str]:
        """Waits until every armed point has killed; what has not by then is disarmed and returned."""
        try:
            async with asyncio.timeout(within):
                while self.armed():  # noqa: ASYNC110 - another process removes them
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pass
        left = self.armed()
        self.disarm()
        return left


@dataclass
class Crashing:
    """A platform, its points, and somebody who starts again what dies of them."""

    world: Breakable
    points: Points
    kills: int = 0
    _starting: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    @asynccontextmanager
    async def reviving(self) -> AsyncGenerator[None]:
        """Whoever dies of ``kill -9`` meanwhile is started again; all are up when it is left. Fails when something
        ends otherwise.
        """
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch(group))
            yield
            async with asyncio.timeout(PATIENCE_SECONDS):
                while self._starting or self._dead():  # noqa: ASYNC110 - processes, not tasks
                    await asyncio.sleep(0.05)
            watching.cancel()

    async def _watch(self, group: asyncio.TaskGroup) -> None:
        while True:
            for name in self._dead():
                if name not in self._starting:
                    self._starting[name] = group.create_task(self._start(name))
            await asyncio.sleep(0.02)

    async def _start(self, name: str) -> None:
        run = self.world.whole.run
        try:
            while (code := await run.process(name).wait()) == -signal.SIGKILL:
                self.kills += 1
                try:
                    await run.restart(name)
                except Ended:
                    continue  # what it found to do when it started was armed too
                return
            raise AssertionError(f"{name} ended with status {code}:\n{run.process(name).last_lines()}")
        finally:
            del self._starting[name]

    def _dead(self) -> list[str]:
        processes = {name: self.world.whole.run.process(name) for name in PROCESSES}
        return [name for name, process in processes.items() if process.wanted and not process.running]

    # -- stories -------------------------------------------------------------------------------------------

    async def watch(self, story: Story) -> list[str]:
        """The points a story comes by when nobody is killed."""
        self.points.forget()
        customer = await story.told(self.world)
        await self.world.settled()
        passed = self.points.passed()
        await self.sound(story, customer)
        return passed

    async def kill_at(self, story: Story, points: Iterable[str]) -> list[str]:
        """The story with a kill at each of the points. Returns those nobody came by."""
        armed, before = [*points], self.kills
        async with self.reviving():
            self.points.arm(armed)
            customer = await story.told(self.world)
            left = await self.points.spent()
            # A point is spent a moment before whoever spent it is dead.
            async with asyncio.timeout(PATIENCE_SECONDS):
                while self.kills < before + len(armed) - len(left):  # noqa: ASYNC110 - processes, not tasks
                    await asyncio.sleep(0.02)
        await self.sound(story, customer)
        return left

    async def kill_at_each(self, story: Story, points: Iterable[str], tell: Callable[[str], None]) -> None:
        """The story again and again, until each of the points has killed somebody. Raises ``NeverPassed`` when some
        were armed three times in vain that the story still comes by; others it came by as chance would have it.
        """
        left = [*points]
        for _ in range(3):
            journeys = apart(left)
            left = []
            for number, armed in enumerate(journeys, 1):
                missed = await self.kill_at(story, armed)
                tell(f"{number}/{len(journeys)}: {len(armed) - len(missed)} kills, {len(missed)} to come")
                left += missed
            if not left:
                return
        passed = await self.watch(story)
        if missed := [point for point in left if point in passed]:
            raise NeverPassed(missed)
        tell("\n    ".join(["by chance, not met again:", *left]))

    async def sound(self, story: Story, customer: Customer) -> None:
        """One charge, one policy a product, no gaps, the pack verified; every service's record is what the bus told."""
        world = self.world
        world.fair(customer, also=story.refusals)
        await world.settled()
        await world.unharmed(customer, refunds=story.refunds)
        await self._as_told(customer.passage.journey_id)

    async def _as_told(self, journey_id: str) -> None:
        told: dict[str, set[bytes]] = {}
        for each in self.world.whole.told:
            told.setdefault(each.headers.get("ce-id", ""), set()).add(each.data)
        for service in self.world.recorders:
            document = await self.world.document(service, journey_id)
            assert document is not None, service
            assert [fact.sequence for fact in document.facts] == [*range(1, len(document.facts) + 1)], service
            assert not document.pending, service
            for fact in document.facts:
                assert told.get(fact.id) == {fact.data.encode()}, (service, fact.type)


@dataclass(frozen=True)
class Story:
    """Somebody's way through, with what belongs to it behind the counter."""

    habits: Habits
    at_steps: Mapping[str, Callable[[Breakable, Customer], Awaitable[None]]] = field(default_factory=dict)
    """What else happens once at a step."""
    refusals: tuple[str, ...] = ("download_expired",)
    """Codes the customer may hear beside a word to wait: an address that serves once is spent when its server dies."""
    refunds: int = 0

    async def told(self, world: Breakable) -> Customer:
        customer = await world.customer(self.habits)
        at = AtSteps(customer, {step: partial(each, world, customer) for step, each in self.at_steps.items()})
        asked = {"survey", "app"} if self.habits.use_app else {"survey"}
        async with asyncio.timeout(LONGEST_STORY_SECONDS):
            # Who is told to come back for the survey later comes back.
            while not asked <= set(customer.passage.took):
                await world.persevere(customer, past=self.refusals, patience=LONGEST_STORY_SECONDS)
        assert not at.left
        counsel = world.whole.staff("counsel")
        journey, reason = customer.passage.journey_id, "a dispute in a test"
        await counsel.post(f"/v1/staff/journeys/{journey}/unmask", {"reason": reason})
        await fetch_pack(counsel, journey, reason=reason)
        return customer


async def _asks_around(world: Breakable, customer: Customer) -> None:
    """Loses the link and gets it again, wants it slower, and wants a person."""
    await world.whole.channel.post(f"/v1/proposals/{customer.passage.journey_id}/resend-link")
    await customer.phone.act("choose_mode", {"mode": "elder"})
    await customer.phone.act("request_help", {"step": "consents"})


async def _somebody_looks_over_her_shoulder(world: Breakable, customer: Customer) -> None:
    assert await refused(world.whole.other_phone(customer).open()) == "device_bound"


async def _order_and_cancel(_world: Breakable, customer: Customer) -> Json:
    order = await customer.order(await customer.look())
    await customer.phone.act("cancel_order", {"order_no": order["order_no"]})
    return order


async def _changed_her_mind(world: Breakable, customer: Customer) -> None:
    await _order_and_cancel(world, customer)


async def _paid_what_was_cancelled(world: Breakable, customer: Customer) -> None:
    """The channel takes the money all the same, and it goes back (I14)."""
    order = await _order_and_cancel(world, customer)
    async with faults_at(world, {"late": True}):
        await customer.pay(order["pay_url"])
    await world.until_fact(customer.passage.journey_id, Refunded)


STORIES = {
    "by face": Story(Habits(), {"consents": _asks_around, "payment": _somebody_looks_over_her_shoulder}),
    "by card, without what was optional, ordering twice": Story(
        Habits(path="bank_card", drop_extra=True, score=None, use_app=False),
        {"payment": _changed_her_mind},
    ),
    "money back": Story(Habits(score=None), {"payment": _paid_what_was_cancelled}, refunds=1),
}


@asynccontextmanager
async def crashing(folder: Path, store: str) -> AsyncGenerator[Crashing]:
    points = Points(folder / "points")
    async with breakable(folder, store, {"TOUBAO_CRASH_POINTS_DIR": str(points.folder)}) as world:
        yield Crashing(world, points)
