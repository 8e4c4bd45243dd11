"""App download at its desk: one link after issuance, steps by token, counts."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from contracts import subjects
from contracts.commands.appdownload import ReferralCounts, ReferralReport, ReferralView, TakeReport, ViewReferral
from contracts.facts.aftercare import ReferralDue, ReferralOffered, ReferralStepReported
from contracts.values import sha256_hex
from servicekit.runner import new_ulid
from services.appdownload.rules import AppDownloadState, evolve
from services.appdownload.service import AppDownload
from tests.aftercare import fan_out
from tests.architecture.source import sources
from tests.desk import Clock, Desk, desk
from tests.nats_server import NatsServer

ASKED = re.compile(r"commands\.appdownload|commands import [^\n]*\bappdownload")
LANDING = "https://app.insurer.test/app?from=policy"


@pytest.fixture
async def at(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(AppDownload, tmp_path, nats, appdownload_landing_url=LANDING) as opened:
        yield opened


def due(at: Desk, journey: str) -> ReferralDue:
    return ReferralDue(at=at.clock(), journey_id=journey, customer_id=new_ulid(), channel_id="demo")


async def view(at: Desk, journey: str) -> ReferralView:
    return await at.ask(ViewReferral(journey_id=journey))


async def offered(at: Desk) -> tuple[str, str]:
    """A journey that was issued, and the token of its link."""
    journey = new_ulid()
    await fan_out(at, due(at, journey))

    async def there() -> Any:
        seen = await view(at, journey)
        return seen if seen.state == "offered" else None

    seen: ReferralView = await at.eventually(there)
    assert seen.url is not None
    return journey, URL(seen.url).query["t"]


async def counts(at: Desk) -> tuple[int, ...]:
    said: ReferralCounts = await at.ask(ReferralReport())
    return (said.offered, said.click, said.install, said.register_, said.login)


async def test_I29_the_link_appears_only_after_issuance(at: Desk) -> None:
    journey = new_ulid()
    assert await view(at, journey) == ReferralView(state="none", url=None)
    journey, token = await offered(at)
    seen = await view(at, journey)
    assert seen.url == f"{LANDING}&t={token}"
    assert journey not in (seen.url or "")


async def test_I29_nobody_asks_the_referral_before_giving_a_policy() -> None:
    """Its requests are spoken by the edge alone, which shows the link; no other service waits for it."""
    assert AppDownload.hears == ()
    asking = [
        source.name
        for source in sources()
        if source.package == "services" and ASKED.search(source.path.read_text("utf-8"))
    ]
    assert all("services/appdownload/" in name for name in asking), asking


async def test_steps_come_in_order_and_count_once(at: Desk) -> None:
    journey, token = await offered(at)
    assert await at.refused(at.ask(TakeReport(token=token, step="install"))) == "referral_too_early"
    for step in ("click", "install", "register", "login"):
        await at.ask(TakeReport(token=token, step=step))
        await at.ask(TakeReport(token=token, step=step))
        assert (await view(at, journey)).state == step
    assert await counts(at) == (1, 1, 1, 1, 1)
    made = await at.made(journey)
    assert [type(fact) for fact in made] == [ReferralOffered, *[ReferralStepReported] * 4]


async def test_counts_tell_journeys_apart(at: Desk) -> None:
    _, token = await offered(at)
    await offered(at)
    for step in ("click", "install", "login"):
        await at.ask(TakeReport(token=token, step=step))
    assert await counts(at) == (2, 1, 1, 0, 1)


async def test_a_token_nobody_gave_is_unknown(at: Desk) -> None:
    journey, token = await offered(at)
    for wrong in ("x", token[:-1], token.upper(), sha256_hex(token.encode()), journey):
        assert await at.refused(at.ask(TakeReport(token=wrong, step="click"))) == "referral_unknown"
    assert await counts(at) == (1, 0, 0, 0, 0)


async def test_the_token_lies_nowhere(at: Desk) -> None:
    _, token = await offered(at)
    await at.ask(TakeReport(token=token, step="click"))
    kept = [path.read_bytes() for path in at.folder.rglob("*") if path.is_file()]
    assert not any(token.encode() in data for data in kept)
    assert any(sha256_hex(token.encode()).encode() in data for data in kept)


async def test_the_fan_out_may_repeat_and_number_as_it_likes(at: Desk) -> None:
    journey, token = await offered(at)
    for sequence in (1, 2, 7):
        await fan_out(at, due(at, journey), sequence=sequence)
    other, _ = await offered(at)  # what was published before it is handled by now
    assert other != journey
    assert [type(fact) for fact in await at.made(journey)] == [ReferralOffered]
    await at.ask(TakeReport(token=token, step="click"))


async def test_facts_go_to_aftercare_and_fold_to_the_state(at: Desk) -> None:
    heard = due(at, new_ulid())
    await fan_out(at, heard)

    async def there() -> bool:
        return (await view(at, heard.journey_id)).state == "offered"

    await at.eventually(there)
    token = URL((await view(at, heard.journey_id)).url or "").query["t"]
    await at.ask(TakeReport(token=token, step="click"))
    state = evolve(AppDownloadState(), heard)
    for fact in await at.made(heard.journey_id):
        state = evolve(state, fact)
    kept = await at.service.journeys.state(heard.journey_id)
    assert kept.model_copy(update={"heard": {}}) == state

    async def published() -> bool:
        document = await at.service.journeys.collection.get(heard.journey_id)
        return document is not None and document.published == 2

    await at.eventually(published)
    history = await at.bus.history(subjects.AFTERCARE, subjects.aftercare_facts_of("appdownload"), after=0, limit=10)
    assert [fact.type.split(".")[2] for _, fact in history] == [
        "referral_due",
        "referral_offered",
        "referral_step_reported",
    ]
    registry = at.service.metrics.registry
    assert registry.get_sample_value("toubao_appdownload_referrals_total", {"step": "click"}) == 1


async def test_an_offer_survives_the_service(nats: NatsServer, tmp_path: Path) -> None:
    clock = Clock()
    async with desk(AppDownload, tmp_path, nats, clock=clock, appdownload_landing_url=LANDING) as first:
        journey, token = await offered(first)
    async with desk(AppDownload, tmp_path, nats, clock=clock, appdownload_landing_url=LANDING) as second:
        await second.ask(TakeReport(token=token, step="click"))
        assert (await view(second, journey)).state == "click"
