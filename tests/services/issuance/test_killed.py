"""Killed between any two steps and started again: the same numbers, one policy a product, nothing lost.

Paper and seal are played here, since what is tried is the order of the steps; every write is real.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest

from contracts.commands.issuance import ListGaps, VerifyPolicy
from contracts.facts import issuance as facts
from contracts.values import sha256_hex
from servicekit.documents.render import Renderer
from services.issuance.numbers import PolicyNumber
from services.issuance.service import Issuance
from tests.desk import Clock, Desk
from tests.purchase import published, purchase
from tests.services.issuance.conftest import Opening


class Killed(Exception):
    """The process is gone: from here on it does nothing more."""


class Killer:
    """Lets ``after`` effects happen, then nothing. The last one happens and is not heard of, or does not happen."""

    def __init__(self, after: int, *, done: bool) -> None:
        self.left = after
        self.done = done
        self.struck = False

    async def meet(self, effect: Callable[..., Awaitable[Any]], *args: Any, **more: Any) -> Any:
        if self.struck:
            raise Killed
        if self.left:
            self.left -= 1
            return await effect(*args, **more)
        self.struck = True
        if self.done:
            await effect(*args, **more)
        raise Killed


working: ContextVar[Killer] = ContextVar("working")


def over(target: Any, name: str) -> None:
    effect: Callable[..., Awaitable[Any]] = getattr(target, name)

    async def guarded(*args: Any, **more: Any) -> Any:
        killer = working.get(None)
        return await (effect(*args, **more) if killer is None else killer.meet(effect, *args, **more))

    setattr(target, name, guarded)


@pytest.fixture(autouse=True)
def played_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    made = iter(range(1_000_000))

    async def nothing(_: Renderer) -> None: ...

    async def render(_: Renderer, job: Any) -> bytes:
        return job.identifier.encode()

    async def sealed(_: Issuance, __: Any, pdf: bytes, ___: Any) -> bytes:
        # Never the same bytes twice, as with a real signature.
        return pdf + b" sealed %d" % next(made)

    monkeypatch.setattr(Renderer, "start", nothing)
    monkeypatch.setattr(Renderer, "stop", nothing)
    monkeypatch.setattr(Renderer, "render", render)
    monkeypatch.setattr(Issuance, "_sealed", sealed)


def strike(at: Desk, killers: dict[str, Killer]) -> None:
    """Each journey's work dies at a step of its own."""
    service: Any = at.service
    work = service.work

    async def known(journey_id: str, state: Any) -> None:
        working.set(killers[journey_id])
        await work(journey_id, state)

    service.work = known
    over(service.journeys, "append")
    for name in ("draw", "use", "enter"):
        over(service.register, name)
    over(service.vault, "seal_file")


STEPS = 16
"""Effects of a journey of two products; one journey more is not killed and shows that these were all."""


@pytest.mark.timeout(240)
async def test_I16_killed_between_any_two_steps_it_goes_on_with_the_same_numbers(opening: Opening) -> None:
    clock = Clock()
    killers: dict[str, Killer] = {}
    before: dict[str, list[Any]] = {}
    async with opening(clock=clock) as at:
        release = published(at.folder / "releases")
        buyers = [await purchase(at, release, extra=False).up_to("ordered") for _ in range(2 * STEPS + 1)]
        killers |= {b.journey_id: Killer(i // 2, done=bool(i % 2)) for i, b in enumerate(buyers)}
        strike(at, killers)
        for buyer in buyers:
            await buyer.tell(await buyer.payment_confirmed())

        async def over_for_all() -> bool:
            return all([killer.struck or await finished(at, journey) for journey, killer in killers.items()])

        await at.eventually(over_for_all, 60)
        assert [k.struck for k in killers.values()] == [True] * 2 * STEPS + [False]
        for journey in killers:
            before[journey] = [f for f in await at.made(journey) if isinstance(f, facts.PoliciesNumbered)]
    async with opening(clock=clock) as at:

        async def all_through() -> bool:
            return all([await finished(at, journey) for journey in killers])

        await at.eventually(all_through, 60)
        numbers: list[str] = []
        for journey in killers:
            numbers += await _whole(at, journey, before[journey])
        assert len(set(numbers)) == len(numbers) == 2 * len(killers)
        # Whatever was drawn is either used or listed as a gap, by itself.
        for line in ("ZADZ", "ZADA"):
            read = [PolicyNumber.read(n) for n in numbers if n.startswith(line)]
            used = {n.serial for n in read}
            gaps = set((await at.ask(ListGaps(line=line, year=2026))).serials)
            assert used | gaps == set(read[0].series.between(1, max(used | gaps)))
            assert not used & gaps
            assert gaps, "some kills fell between the draw and the fact"


async def finished(at: Desk, journey: str) -> bool:
    return any(isinstance(fact, facts.JourneyIssued) for fact in await at.made(journey))


async def _whole(at: Desk, journey: str, before: list[facts.PoliciesNumbered]) -> list[str]:
    made = await at.made(journey)
    (numbered,) = [f for f in made if isinstance(f, facts.PoliciesNumbered)]
    assert before in ([], [numbered]), "numbers once given stay"
    policies = [f for f in made if isinstance(f, facts.PolicyIssued)]
    assert [(p.product, p.policy_no) for p in policies] == [(p.product, p.policy_no) for p in numbered.policies]
    assert len(made) == 4
    for policy in policies:
        found = await at.ask(VerifyPolicy(policy_no=policy.policy_no, code=at.service.register.code(policy.policy_no)))
        kept = await at.vault.open(journey, policy.policy)
        assert (found.outcome, found.file_sha256) == ("authentic", sha256_hex(kept))
    return [policy.policy_no for policy in policies]
