"""The ground under every service, tried with a small one of our own on real NATS."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from contracts import subjects
from contracts.commands.base import Act, Beat, Command, Query
from contracts.facts.base import Fact, Refusal
from contracts.problems import MOST_FAULTS, Refuse
from contracts.values import Contract, Proof
from deploy.nats.provision import provision
from servicekit.bodies import field_faults
from servicekit.journeys import REFUSALS_KEPT, Decided, JourneyState
from servicekit.republish import republish
from servicekit.runner import new_ulid
from servicekit.service import Admitted, Service, answers
from tests.desk import Desk, desk, stored
from tests.nats_server import NatsServer


class Counted(Fact):
    service = "tally"
    name = "counted"

    by: int


class Refused(Refusal):
    service = "tally"
    name = "refused"


class Knocked(Fact):
    service = "door"
    name = "knocked"


class Number(Contract):
    by: int


class Total(Contract):
    total: int
    knocks: int


class Count(Command):
    service = "tally"
    verb = "count"
    reply = Total

    by: int


class CountByHand(Act):
    service = "tally"
    verb = "count_by_hand"
    arguments = Number
    reply = Total


class Peek(Beat):
    service = "tally"
    verb = "peek"
    arguments = Number
    reply = Total


class ViewTally(Query):
    service = "tally"
    verb = "view"
    reply = Total


class TallyState(JourneyState):
    total: int = 0
    knocks: int = 0
    answered: int = 0


def evolve(state: TallyState, fact: Fact) -> TallyState:
    match fact:
        case Counted(by=0):
            return state.model_copy(update={"answered": state.answered + 1})
        case Counted():
            return state.model_copy(update={"total": state.total + fact.by})
        case Knocked():
            return state.model_copy(update={"knocks": state.knocks + 1})
        case _:
            return state


class Tally(Service[TallyState, Any]):
    name = "tally"
    state = TallyState
    hears: ClassVar[tuple[str, ...]] = ("door",)

    failures = 0

    def evolve(self, state: TallyState, fact: Fact) -> TallyState:
        if isinstance(fact, Knocked) and self.failures:
            self.failures -= 1
            raise ConnectionError
        return evolve(state, fact)

    def due(self, state: TallyState) -> datetime | None:
        return self.now() if state.answered < state.knocks // 3 else None

    async def work(self, journey_id: str, state: TallyState) -> None:
        async def decision(state: TallyState) -> list[Fact]:
            return [Counted(at=self.now(), by=0)] if state.answered < state.knocks // 3 else []

        await self.journeys.append(journey_id, decision)

    @answers(Count)
    async def count(self, command: Count, state: TallyState) -> Decided:
        if command.by > 100:
            raise Refuse("amount_mismatch")
        if command.by < 0:
            raise RuntimeError("secret value 11010119900307001X")
        return Decided([Counted(at=self.now(), by=command.by)], Total(total=state.total + command.by, knocks=0))

    @answers(CountByHand)
    async def count_by_hand(self, act: Admitted[Number], state: TallyState) -> Decided:
        return Decided([Counted(at=act.at, by=act.arguments.by)], Total(total=state.total + act.arguments.by, knocks=0))

    @answers(Peek)
    async def peek(self, act: Admitted[Number], state: TallyState) -> Total:
        return Total(total=state.total, knocks=act.arguments.by)

    @answers(ViewTally)
    async def view(self, query: ViewTally) -> Total:
        state = await self.journeys.state(query.journey_id)
        return Total(total=state.total, knocks=state.knocks)


@pytest.fixture
async def at(nats: NatsServer, tmp_path: Path):
    async with desk(Tally, tmp_path, nats) as opened:
        yield opened


def count(journey: str, by: int, **more: Any) -> Count:
    return Count(journey_id=journey, by=by, **{"command_id": new_ulid(), **more})


async def knock(at: Desk, journey: str, times: int) -> None:
    await at.tell(journey, *(Knocked(at=at.clock()) for _ in range(times)))


async def test_a_command_makes_facts_that_reach_the_stream_once_and_in_order(at: Desk) -> None:
    journey = new_ulid()
    async with at.bus.watch(f"journey.{journey}.>") as passing:
        for by in (1, 2, 3):
            await at.ask(count(journey, by))
        seen = [await anext(passing) for _ in range(3)]
    assert [fact.sequence for fact in seen] == [1, 2, 3]
    document = await at.service.journeys.collection.get(journey)
    assert document is not None
    assert [fact.data for fact in seen] == [fact.data for fact in document.facts], "the very bytes that are stored"


async def test_a_repeated_command_is_answered_the_same_and_decides_nothing(at: Desk) -> None:
    journey, again = new_ulid(), new_ulid()
    first = await at.ask(count(journey, 5, command_id=again))
    assert await at.ask(count(journey, 5, command_id=again)) == first
    assert (await at.ask(ViewTally(journey_id=journey))).total == 5
    assert await at.refused(at.ask(count(journey, 6, command_id=again))) == "idempotency_key_reused"


async def test_commands_at_the_same_time_lose_nothing(at: Desk) -> None:
    journey = new_ulid()
    await asyncio.gather(*(at.ask(count(journey, 1)) for _ in range(20)))
    assert (await at.ask(ViewTally(journey_id=journey))).total == 20


async def test_a_refusal_is_a_fact_until_twenty_of_its_code(at: Desk) -> None:
    journey = new_ulid()
    assert await at.refused(at.ask(count(journey, 999))) == "amount_mismatch"
    assert await at.made(journey) == [], "nothing is kept of a journey nobody knows"
    await at.ask(count(journey, 1))
    for _ in range(REFUSALS_KEPT + 5):
        assert await at.refused(at.ask(count(journey, 999))) == "amount_mismatch"
    refusals = [fact for fact in await at.made(journey) if isinstance(fact, Refused)]
    assert [fact.occurrence for fact in refusals] == list(range(1, REFUSALS_KEPT + 1))
    document = await at.service.journeys.collection.get(journey)
    assert document is not None
    assert document.refusals == {"amount_mismatch": REFUSALS_KEPT + 5}


async def test_an_error_says_nothing_of_its_values(at: Desk) -> None:
    assert await at.refused(at.ask(count(new_ulid(), -1))) == "internal"


async def test_a_command_waits_for_what_it_rests_on_and_then_says_so(at: Desk) -> None:
    journey = new_ulid()
    waiting = asyncio.create_task(at.ask(count(journey, 1, after={"door": 2, "unheard": 9})))
    await knock(at, journey, 2)
    assert (await waiting).total == 1
    assert await at.refused(at.ask(count(journey, 1, after={"door": 3}))) == "premise_pending"
    assert len(await at.made(journey)) == 1, "waiting in vain is no refusal"


async def test_facts_are_taken_in_order_whatever_order_they_come_in(at: Desk) -> None:
    journey = new_ulid()
    facts = [stored(journey, Knocked(at=at.clock()), n) for n in (1, 2, 3, 4)]
    subject = subjects.journey_fact(journey, "door", "knocked")
    for index in (3, 1, 0, 0, 2, 1):
        await at.bus.publish(subject, facts[index])
    state = await at.service.journeys.state_after(journey, {"door": 4}, frozenset({"door"}))
    assert state.knocks == 4
    assert state.heard["door"] == 4


async def test_a_listener_that_fails_gets_the_fact_again(at: Desk) -> None:
    assert isinstance(at.service, Tally)
    at.service.failures = 2
    journey = new_ulid()
    await knock(at, journey, 1)
    assert (await at.ask(ViewTally(journey_id=journey))).knocks == 1


async def test_what_can_never_be_handled_is_put_aside_and_can_be_driven_again(at: Desk) -> None:
    journey = new_ulid()
    good = stored(journey, Knocked(at=at.clock()), 1)
    broken = type(good)(**{**{name: getattr(good, name) for name in good.__slots__}, "data": '{"at": "never"}'})
    subject = subjects.journey_fact(journey, "door", "knocked")
    await at.bus.publish(subject, broken)

    async def dead() -> list[Any]:
        return await at.bus.history(subjects.DEAD, subjects.dead_letter("JOURNEY", "tally-door"), 0, 10)

    assert len(await at.eventually(dead)) == 1
    assert await at.bus.redrive("JOURNEY", "tally-door") == 1
    assert len(await at.eventually(dead)) == 1, "still broken, so it is put aside again"


@pytest.mark.parametrize("lie", ["source", "subject", "type"])
async def test_a_fact_under_a_subject_that_is_not_its_own_is_put_aside(at: Desk, lie: str) -> None:
    """The bus lets each service publish under its own subjects alone; what lies there in another's name is no word of
    either.
    """
    journey = new_ulid()
    said = stored(journey, Knocked(at=at.clock()), 1)
    told = {name: getattr(said, name) for name in said.__slots__}
    told |= {"source": "/services/identity"} if lie == "source" else {}
    told |= {"subject": new_ulid()} if lie == "subject" else {}
    told |= {"type": "toubao.door.another.v1"} if lie == "type" else {}
    await at.bus.publish(subjects.journey_fact(journey, "door", "knocked"), type(said)(**told))

    async def dead() -> list[Any]:
        return await at.bus.history(subjects.DEAD, subjects.dead_letter("JOURNEY", "tally-door"), 0, 10)

    assert len(await at.eventually(dead)) == 1
    assert (await at.ask(ViewTally(journey_id=journey))).knocks == 0


async def test_a_body_larger_than_its_act_may_have_is_refused_unread(at: Desk) -> None:
    journey = new_ulid()
    body = b'{"by": 1, "more": "' + b"x" * CountByHand.largest_body + b'"}'
    act = CountByHand(
        command_id=new_ulid(),
        journey_id=journey,
        proof=Proof(jws="a.b.c", method="POST", url="http://x"),
        body=await at.vault.seal(journey, body),
    )
    assert await at.refused(at.ask(act)) == "body_too_large"


def test_an_answer_names_no_more_faults_than_the_bus_carries() -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(list[int]).validate_python(["?"] * 5000)
    assert len(field_faults(caught.value)) == MOST_FAULTS


async def test_due_work_is_done_by_itself(at: Desk) -> None:
    journey = new_ulid()
    await knock(at, journey, 3)

    async def answered() -> bool:
        return (await at.service.journeys.state(journey)).answered == 1

    assert await at.eventually(answered)


async def test_an_act_counts_only_with_the_devices_own_proof_over_its_very_bytes(at: Desk) -> None:
    journey = new_ulid()
    assert (await at.act(CountByHand, journey, Number(by=7))).total == 7
    act = await at.make_act(CountByHand, journey, Number(by=7))
    forged = act.model_copy(update={"body": await at.vault.seal(journey, b'{"by": 8}'), "command_id": new_ulid()})
    assert await at.refused(at.ask(forged)) == "proof_body"
    from deploy.simulator.device import Device

    assert await at.refused(at.act(CountByHand, journey, Number(by=7), device=Device())) == "proof_key_changed"
    assert (await at.ask(ViewTally(journey_id=journey))).total == 7


async def test_an_act_whose_body_cannot_be_opened_is_refused(at: Desk) -> None:
    journey = new_ulid()
    act = await at.make_act(CountByHand, journey, Number(by=7))
    elsewhere = act.model_copy(update={"journey_id": new_ulid()})
    assert await at.refused(at.ask(elsewhere)) == "malformed"
    nowhere = act.model_copy(update={"body": act.body.model_copy(update={"blob": "0" * 64})})
    assert await at.refused(at.ask(nowhere)) == "malformed"
    swapped = act.model_copy(update={"body": act.body.model_copy(update={"commitment": "0" * 64})})
    assert await at.refused(at.ask(swapped)) == "malformed"


async def test_an_act_with_unknown_fields_is_refused_without_echoing_them(at: Desk) -> None:
    with pytest.raises(Refuse) as refused:
        await at.act(CountByHand, new_ulid(), {"by": 1, "secret": "x"})
    assert refused.value.code == "invalid_fields"
    assert [(e.pointer, e.code) for e in refused.value.problem.errors] == [("/secret", "unknown_field")]


async def test_a_beat_leaves_nothing_behind(at: Desk) -> None:
    journey = new_ulid()
    assert (await at.act(Peek, journey, Number(by=3))).knocks == 3
    assert await at.service.journeys.collection.get(journey) is None


@pytest.mark.parametrize("set_back", [0, 3600])
async def test_facts_left_unpublished_are_swept_up(at: Desk, monkeypatch: pytest.MonkeyPatch, set_back: int) -> None:
    """Also those of an hour in which the clock was wrong."""
    journey = new_ulid()

    async def lost(*_: Any) -> bool:
        from servicekit.bus import BusUnavailable

        raise BusUnavailable

    monkeypatch.setattr(at.service.bus, "publish", lost)
    await at.ask(count(journey, 1))
    monkeypatch.undo()
    async with at.bus.watch(f"journey.{journey}.>") as passing:
        at.clock.pass_by(seconds=5)
        at.clock.set(seconds=-set_back)
        assert (await anext(passing)).sequence == 1


async def test_a_lost_stream_is_rebuilt_from_the_store(at: Desk, nats: NatsServer) -> None:
    journey = new_ulid()
    for by in (1, 2, 3):
        await at.ask(count(journey, by))
    await nats.wipe()
    await provision(nats.url, None, ())
    assert await republish(at.service.set, "tally") == 3
    assert len(await at.bus.history(subjects.JOURNEY, f"journey.{journey}.>", 0, 10)) == 3


async def test_it_stops_within_two_seconds(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(Tally, tmp_path, nats) as at:
        await knock(at, new_ulid(), 1)
        loop = asyncio.get_running_loop()
        before = loop.time()
        await at.service.stop()
        await at.service.bus.close()
        assert loop.time() - before < 2


@given(st.lists(st.one_of(st.integers(1, 100).map(lambda by: Counted(at=NOW, by=by)), st.just(None))))
def test_state_is_the_fold_of_its_facts(facts: list[Counted | None]) -> None:
    made = [fact or Knocked(at=NOW) for fact in facts]
    state = TallyState()
    for fact in made:
        state = evolve(state, fact)
    again = TallyState.model_validate_json(state.model_dump_json())
    assert again == state
    assert state.knocks == sum(isinstance(fact, Knocked) for fact in made)


NOW = datetime.fromisoformat("2026-11-23T02:00:00+00:00")
