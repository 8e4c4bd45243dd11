"""``/openapi.json`` against the running platform: every operation fuzzed while its door is open (schemathesis).

``make fuzz EXAMPLES=200`` does it for longer; ``-s`` shows the report.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from deploy.local.environment import salesperson_of
from deploy.simulator.api import Json, ProblemAnswer
from deploy.simulator.customer import Customer, Habits
from deploy.simulator.proposals import proposal
from deploy.simulator.staff import look_at_signature
from tests.hostile.conftest import TOLD
from tests.hostile.fuzzing import Fuzz, WatchedKeyHolder, WatchedPhone, WatchedPublic, report
from tests.journey.whole import CHANNEL, Whole

EXAMPLES = int(os.environ.get("EXAMPLES", "4"))
"""Requests an operation, beside those that are meant."""

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(300 + 75 * EXAMPLES),
]

NEVER_OPEN = {
    "refund": "money paid for policies that stand stays: whose order may be refunded is in tests/services/payment",
    "copy_phrase": "no product of this customer demands it: see the made-up product's journey",
    "skip_survey": "who was asked has answered: the journeys' tests skip it",
}
"""Operations that no 2xx can be had of on this customer's way, with the reason."""
CALLED_BY_PARTIES = {
    "take_payment_notification": "/v1/callbacks/wechat",
    "take_app_report": "/v1/callbacks/app",
}
"""What outside parties call, under signatures of their own: counted by the gateway."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fuzz(whole: Whole) -> AsyncIterator[Fuzz]:
    """One customer's whole way, a channel's and the staff's, watched and fuzzed."""
    told = {**TOLD, "TOUBAO_GATEWAY_LIMITS_SCALE": "1000", "TOUBAO_GATEWAY_STREAM_SECONDS": "1"}
    await whole.run.restart("gateway", told)
    async with whole.http.get(f"{whole.run.gateway_url}/openapi.json") as answer:
        made = Fuzz(await answer.json(), whole.run.gateway_url, EXAMPLES)
    try:
        await _everybody(whole, made)
        sys.stdout.write(f"\n{report(made.told)}\n")
        yield made
    finally:
        made.close()
        await whole.run.restart("gateway", {**TOLD, "TOUBAO_GATEWAY_STREAM_SECONDS": "600"})


async def test_every_answer_keeps_to_the_description(fuzz: Fuzz) -> None:
    faults = [f"{name}: {fault}" for name, told in fuzz.told.items() for fault in told.faults[:3]]
    assert not faults, "\n".join(faults)


async def test_no_door_was_locked(whole: Whole, fuzz: Fuzz) -> None:
    """Each operation was open to those who meant it, and what was fuzzed reached what decides."""
    shut = {name for name, told in fuzz.told.items() if not told.opened}
    async with whole.http.get(f"{whole.run.ops_url('gateway')}/metrics") as answer:
        counted = await answer.text()
    for name, route in CALLED_BY_PARTIES.items():
        if re.search(rf'toubao_http_requests_total\{{[^}}]*route="{route}"[^}}]*status="2', counted):
            shut.discard(name)
    assert shut == set(NEVER_OPEN)
    fuzzed = {name: told for name, told in fuzz.told.items() if told.fuzzed}
    assert set(fuzz.told) - set(fuzzed) <= {*NEVER_OPEN, *CALLED_BY_PARTIES}
    by_whom = sum(told.fuzzed[status] for told in fuzzed.values() for status in (401, 403))
    # A wrong password and a wrong signature are the business of some; of all, few are turned away at the door.
    assert by_whom < 0.15 * sum(told.fuzzed.total() for told in fuzzed.values()), report(fuzz.told)


# -- those who mean it -----------------------------------------------------------------------------------------


async def _everybody(whole: Whole, fuzz: Fuzz) -> None:
    base = whole.run.gateway_url

    def keyed(name: str) -> WatchedKeyHolder:
        holder = WatchedKeyHolder(whole.http, base, whole.run.api_key(name))
        holder.fuzz = fuzz
        return holder

    channel, public = keyed(CHANNEL), WatchedPublic(whole.http, base)
    public.fuzz = fuzz
    who = whole.someone()
    accepted = await channel.post("/v1/proposals", proposal(who, datetime.now(UTC), whole.chance))
    phone = WatchedPhone(whole.http, accepted["link"])
    phone.fuzz = fuzz
    customer = Customer(phone, who, whole.parties, whole.chance)
    customer.meanwhile = _Meanwhile(customer)
    await _the_channel(whole, channel)
    await customer.pass_through()
    await _afterwards(customer)
    await _by_card(whole, fuzz)
    await _by_review(whole, fuzz, [keyed("clerk"), keyed("counsel")])
    await _the_staff(whole, keyed, customer)
    await _the_public(whole, public, customer)


class _Meanwhile:
    """What the page also offers, at the step where it does."""

    def __init__(self, customer: Customer) -> None:
        self._customer = customer
        self._phone = customer.phone
        self._seen: set[str] = set()

    async def __call__(self, view: Json) -> None:
        step = view["place"]["step"]
        doing = getattr(self, step, None)
        if doing is not None and step not in self._seen:
            self._seen.add(step)
            await doing(view)

    async def recording(self, view: Json) -> None:
        await self._phone.act("choose_mode", {"mode": "elder"})
        await self._phone.act("request_help", {"step": view["place"]["step"]})
        await self._phone.file("/stream")

    async def consents(self, view: Json) -> None:
        text = (await self._phone.get("/notices/account_check"))["text"]
        notice = {"notice": "account_check", "version": text["version"], "sha256": text["sha256"]}
        await self._phone.act("decline_consent", notice)

    async def needs(self, view: Json) -> None:
        await self._phone.get("/pad")
        extra = next(p for p in view["card"]["products"] if p["optional"])
        await self._phone.act("drop_product", {"product": extra["product"]})
        await self._phone.act("choose_product", {"product": extra["product"], "lock": extra["lock"]})
        card = next(p for p in view["card"]["products"] if p["product"] == "motor_commercial")
        answers = {q["code"]: q["answers"][0]["code"] for q in card["needs_questions"]}
        against = {"product": "motor_commercial", "answers": {**answers, "duplicate_cover": "yes"}}
        await self._phone.act("answer_needs", against)

    async def signature(self, view: Json) -> None:
        await self._phone.file("/forms/motor_commercial/pages/1")

    async def payment(self, view: Json) -> None:
        first = await self._customer.order(view)
        await self._phone.act("cancel_order", {"order_no": first["order_no"]})
        async with asyncio.timeout(30):
            while True:
                with suppress(ProblemAnswer):
                    # Until the channel has closed the first.
                    await self._customer.order(view)
                    return
                await asyncio.sleep(0.2)


async def _afterwards(customer: Customer) -> None:
    for path in ("/survey", "/app"):
        await customer.phone.get(path)


async def _by_card(whole: Whole, fuzz: Fuzz) -> None:
    """Another customer, as far as the equal path without face goes."""
    who = whole.someone()
    accepted = await whole.channel.submit(proposal(who, datetime.now(UTC), whole.chance, extra=False))
    phone = WatchedPhone(whole.http, accepted["link"])
    phone.fuzz = fuzz
    await Customer(phone, who, whole.parties, whole.chance, Habits(path="bank_card")).until("terms")


async def _by_review(whole: Whole, fuzz: Fuzz, reviewers: list[WatchedKeyHolder]) -> None:
    """One more, whose writing people look at."""
    who = whole.someone()
    accepted = await whole.channel.submit(proposal(who, datetime.now(UTC), whole.chance, extra=False))
    phone = WatchedPhone(whole.http, accepted["link"])
    phone.fuzz = fuzz
    await Customer(phone, who, whole.parties, whole.chance, Habits(wrong_names=4)).until("review")
    with suppress(ProblemAnswer):
        # One of the shapes sent beside theirs may be a decision in their name, and a second one is refused.
        await look_at_signature(reviewers, phone.session.journey_id)


async def _the_channel(whole: Whole, channel: WatchedKeyHolder) -> None:
    for path in ("/v1/products", "/v1/proposals", "/v1/events"):
        await channel.get(path)
    another = proposal(whole.someone(), datetime.now(UTC), whole.chance, extra=False)
    journey = (await channel.post("/v1/proposals", another))["journey_id"]
    await channel.get(f"/v1/proposals/{journey}/link")
    await channel.post(f"/v1/proposals/{journey}/resend-link")
    await channel.post(f"/v1/proposals/{journey}/withdraw", {"reason": "wrong_data"})


async def _the_staff(whole: Whole, keyed: Any, customer: Customer) -> None:
    journey, view = customer.passage.journey_id, customer.passage.view
    legal, audit, service = keyed("counsel"), keyed("auditor"), keyed("clerk")
    document = view["disclosure"]["documents"][0]["document"]
    for path in ("unmaskings", "nps", "gaps?line=1101&year=2026", "journeys", "live", "referrals", "channels"):
        await audit.get(f"/v1/staff/{path}")
    await audit.patiently("GET", "/v1/staff/stream", headers=audit._headers())
    await service.get(f"/v1/staff/journeys/{journey}")
    await service.get(f"/v1/staff/journeys/{journey}/documents/{document['sha256']}")
    await service.post("/v1/staff/journeys/search", {"kind": "proposal_no", "value": view["proposal_no"]})
    await service.post("/v1/staff/customers", {"kind": "phone", "value": customer.person.phone})
    reason = {"reason": "a dispute in a test"}
    await legal.post(f"/v1/staff/journeys/{journey}/unmask", reason)
    await legal.post(
        f"/v1/staff/journeys/{journey}/files", {"kind": "policy", "product": document["product"], **reason}
    )
    await legal.post("/v1/staff/packs", {"journey_id": journey, **reason})
    with pytest.raises(ProblemAnswer):
        await service.post("/v1/staff/refunds", {"journey_id": journey, "order_no": view["payment"]["order_no"]})


async def _the_public(whole: Whole, public: WatchedPublic, customer: Customer) -> None:
    await public.tell("GET", "/v1/help")
    await public.tell("GET", "/problems/reading_too_short")
    await public.tell("POST", "/v1/nonce", {})
    number = next(iter(customer.passage.policies))
    await public.tell("POST", "/v1/verify", {"policy_no": number, "code": "AAAA-AAAA"})
    seller = salesperson_of(CHANNEL)
    entrance = {"door": "sales", "name": seller, "password": whole.run.password(seller)}
    reply = await public.tell("POST", "/v1/sign-in", entrance, Origin=public.base)
    cookie = {name.lower(): value for name, value in reply.headers.items()}["set-cookie"].partition(";")[0]
    await public.tell("GET", "/v1/sign-in", Cookie=cookie)
    await public.tell("POST", "/v1/sign-out", Cookie=cookie, Origin=public.base)
