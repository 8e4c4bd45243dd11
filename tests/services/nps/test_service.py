"""NPS at its desk: asked once in 90 days, answered once, and the score said with its error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from contracts.commands.nps import AnswerSurvey, ScoreReport, Scores, SkipSurvey, SurveyAnswer, ViewSurvey
from contracts.facts.aftercare import SurveyAnswered, SurveyDue, SurveyInvited, SurveySkipped, SurveyWithheld
from deploy.simulator.device import Device
from servicekit.runner import ground, new_ulid
from services.nps.rules import NpsState, evolve
from services.nps.service import Nps
from tests.aftercare import fan_out
from tests.desk import Clock, Desk, desk, settings_for
from tests.nats_server import NatsServer


@pytest.fixture
async def at(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(Nps, tmp_path, nats) as opened:
        yield opened


async def stage(at: Desk, journey: str) -> str:
    return (await at.ask(ViewSurvey(journey_id=journey))).state


async def issued(at: Desk, customer: str | None = None, **changes: Any) -> tuple[str, str]:
    """A journey that was issued, and what became of its survey."""
    journey = new_ulid()
    due = SurveyDue(
        at=at.clock(),
        journey_id=journey,
        customer_id=customer or new_ulid(),
        channel_id=changes.get("channel_id", "demo"),
        products=changes.get("products", ("motor", "extra")),
    )
    await fan_out(at, due)

    async def decided() -> Any:
        state = await stage(at, journey)
        return state if state != "none" else None

    return journey, await at.eventually(decided)


async def test_I29_nobody_is_asked_before_issuance(at: Desk) -> None:
    journey = new_ulid()
    assert await stage(at, journey) == "none"
    assert await at.refused(at.act(AnswerSurvey, journey, SurveyAnswer(score=10))) == "survey_not_open"
    assert await at.refused(at.act(SkipSurvey, journey)) == "survey_not_open"
    assert await at.made(journey) == []


async def test_zero_is_an_answer_and_asks_for_a_call(at: Desk) -> None:
    journey, state = await issued(at)
    assert state == "invited"
    await at.act(AnswerSurvey, journey, {"score": 0})
    invited, answered = await at.made(journey)
    assert isinstance(invited, SurveyInvited)
    assert isinstance(answered, SurveyAnswered)
    assert (answered.score, answered.follow_up, answered.words) == (0, True, None)
    assert await stage(at, journey) == "answered"


async def test_words_are_sealed(at: Desk) -> None:
    journey, _ = await issued(at)
    await at.act(AnswerSurvey, journey, {"score": 9, "words": " 理赔电话很难打通 "})
    answered = (await at.made(journey))[-1]
    assert isinstance(answered, SurveyAnswered)
    assert not answered.follow_up
    assert answered.words is not None
    assert await at.vault.open_text(journey, answered.words) == "理赔电话很难打通"
    assert not any("理赔电话".encode() in path.read_bytes() for path in at.folder.rglob("*") if path.is_file())


async def test_blank_words_are_no_words(at: Desk) -> None:
    journey, _ = await issued(at)
    await at.act(AnswerSurvey, journey, {"score": 9, "words": "  \n "})
    answered = (await at.made(journey))[-1]
    assert isinstance(answered, SurveyAnswered)
    assert answered.words is None


async def test_I29_skipping_is_one_act_that_costs_nothing(at: Desk) -> None:
    journey, _ = await issued(at)
    await at.act(SkipSurvey, journey)
    assert await stage(at, journey) == "skipped"
    assert [type(fact) for fact in await at.made(journey)] == [SurveyInvited, SurveySkipped]
    assert await at.refused(at.act(AnswerSurvey, journey, {"score": 10})) == "already_done"


@pytest.mark.parametrize(
    "body",
    [
        *[{"score": score} for score in (11, -1, "9", 9.5, True, None)],
        {},
        {"score": 9, "policy": "free"},
        {"score": 9, "words": "长" * 1001},
    ],
)
async def test_only_whole_numbers_from_0_to_10_are_scores(at: Desk, body: dict[str, Any]) -> None:
    journey, _ = await issued(at)
    assert await at.refused(at.act(AnswerSurvey, journey, body)) == "invalid_fields"
    assert await stage(at, journey) == "invited"


async def test_one_answer_a_journey_however_often_it_is_sent(at: Desk) -> None:
    journey, _ = await issued(at)
    key = new_ulid()
    for _ in range(2):
        await at.act(AnswerSurvey, journey, {"score": 7}, command_id=key)
    together = await asyncio.gather(
        *[at.act(AnswerSurvey, journey, {"score": score}) for score in range(5)], return_exceptions=True
    )
    assert all(isinstance(outcome, Exception) for outcome in together)
    assert [f.score for f in await at.made(journey) if isinstance(f, SurveyAnswered)] == [7]


async def test_another_device_cannot_answer(at: Desk) -> None:
    journey, _ = await issued(at)
    assert await at.refused(at.act(AnswerSurvey, journey, {"score": 10}, device=Device())) == "proof_key_changed"
    assert await stage(at, journey) == "invited"


async def test_I29_one_person_is_asked_once_in_90_days_across_policies(at: Desk) -> None:
    person = new_ulid()
    first, state = await issued(at, person)
    assert state == "invited"
    await at.act(SkipSurvey, first)
    second, state = await issued(at, person, channel_id="other", products=("home",))
    assert state == "withheld"
    assert [type(fact) for fact in await at.made(second)] == [SurveyWithheld]
    assert await at.refused(at.act(AnswerSurvey, second, {"score": 10})) == "survey_not_open"
    at.clock.pass_by(days=89, hours=23)
    assert (await issued(at, person))[1] == "withheld"
    at.clock.pass_by(hours=1)
    assert (await issued(at, person))[1] == "invited"
    assert (await issued(at, new_ulid()))[1] == "invited"


async def test_I29_two_journeys_of_one_person_at_once_are_one_invitation(at: Desk) -> None:
    person = new_ulid()
    outcomes = await asyncio.gather(*[issued(at, person) for _ in range(8)])
    assert sorted(state for _, state in outcomes) == ["invited", *["withheld"] * 7]


async def test_I29_two_processes_at_once_give_one_invitation(at: Desk, nats: NatsServer) -> None:
    """The person's document is guarded by its version, not by this process."""
    person = new_ulid()
    assert isinstance(at.service, Nps)
    async with ground("other", settings_for(Nps, at.folder, nats), now=at.clock) as more:
        # A second process on the same store.
        shared = Nps(type(at.service.ground)(**{**more.__dict__, "store": at.service.store}))
        claims = [service._claim(person, new_ulid()) for service in (shared, at.service) for _ in range(10)]
        assert len([claim for claim in await asyncio.gather(*claims) if claim is not None]) == 1


async def test_a_claim_made_before_a_crash_is_found_again(at: Desk) -> None:
    person, journey = new_ulid(), new_ulid()
    assert isinstance(at.service, Nps)
    claimed = await at.service._claim(person, journey)
    at.clock.pass_by(minutes=5)
    assert await at.service._claim(person, journey) == claimed


async def test_the_fan_out_may_repeat_and_number_as_it_likes(at: Desk) -> None:
    person, journey = new_ulid(), new_ulid()
    due = SurveyDue(at=at.clock(), journey_id=journey, customer_id=person, channel_id="demo", products=("motor",))
    for sequence in (3, 1, 1, 2):
        await fan_out(at, due, sequence=sequence)
    await issued(at)  # what was published before it is handled by now

    async def decided() -> bool:
        return await stage(at, journey) == "invited"

    await at.eventually(decided)
    assert [type(fact) for fact in await at.made(journey)] == [SurveyInvited]
    state = evolve(NpsState(), due)
    for fact in await at.made(journey):
        state = evolve(state, fact)
    kept = await at.service.journeys.state(journey)
    assert kept.model_copy(update={"heard": {}}) == state


async def test_the_score_comes_with_n_and_error_by_channel_and_product(at: Desk) -> None:
    assert (await at.ask(ScoreReport())).scores[0].score is None
    first = await issued(at, channel_id="a", products=("motor",))
    await at.act(AnswerSurvey, first[0], {"score": 10})
    at.clock.pass_by(days=1)
    since = at.clock()
    second = await issued(at, channel_id="b", products=("motor", "extra"))
    await at.act(AnswerSurvey, second[0], {"score": 3})
    third = await issued(at, channel_id="b", products=("motor",))
    await at.act(SkipSurvey, third[0])
    await issued(at, channel_id="b", products=("motor",))

    async def said(**asked: Any) -> dict[tuple[str, str], tuple[int, int, int, float | None]]:
        scores: Scores = await at.ask(ScoreReport(**asked))
        return {(s.group, s.key): (s.invited, s.answered, s.skipped, s.score) for s in scores.scores}

    assert await said() == {
        ("all", "all"): (4, 2, 1, 0),
        ("channel", "a"): (1, 1, 0, 100),
        ("channel", "b"): (3, 1, 1, -100),
        ("product", "extra"): (1, 1, 0, -100),
        ("product", "motor"): (4, 2, 1, 0),
    }
    assert (await said(channel_id="a"))["all", "all"] == (1, 1, 0, 100)
    assert (await said(product="extra"))["all", "all"] == (1, 1, 0, -100)
    assert (await said(since=since))["all", "all"] == (3, 1, 1, -100)
    assert (await said(since=since + timedelta(microseconds=1)))["all", "all"] == (0, 0, 0, None)


async def test_a_report_reads_every_page(at: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.nps.service.PAGE", 2)
    for _ in range(5):
        await issued(at)
    assert (await at.ask(ScoreReport())).scores[0].invited == 5


async def test_answers_are_counted_by_band(at: Desk) -> None:
    for score in (0, 8, 10, 9):
        journey, _ = await issued(at)
        await at.act(AnswerSurvey, journey, {"score": score})
    registry = at.service.metrics.registry
    counted = {
        band: registry.get_sample_value("toubao_nps_answers_total", {"band": band})
        for band in ("promoter", "passive", "detractor")
    }
    assert counted == {"promoter": 2, "passive": 1, "detractor": 1}


async def test_an_invitation_survives_the_service(nats: NatsServer, tmp_path: Path) -> None:
    clock = Clock()
    async with desk(Nps, tmp_path, nats, clock=clock) as first:
        journey, _ = await issued(first)
    async with desk(Nps, tmp_path, nats, clock=clock) as second:
        await second.act(AnswerSurvey, journey, {"score": 5})
        assert await stage(second, journey) == "answered"
