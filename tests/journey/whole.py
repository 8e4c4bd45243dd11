"""The whole platform, running, and what a test holds of it: its doors, its people, and an ear on the bus."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import nats
from nats.aio.msg import Msg

from contracts.facts.base import Fact, read_fact
from contracts.subjects import STREAMS
from deploy.local.run import LocalRun
from deploy.local.settings import ROOT
from deploy.simulator.__main__ import LINK
from deploy.simulator.api import KeyHolder, Phone, ProblemAnswer
from deploy.simulator.channel import Channel
from deploy.simulator.customer import Customer, Habits
from deploy.simulator.device import Device
from deploy.simulator.parties import Parties
from deploy.simulator.proposals import Person, person, proposal
from deploy.simulator.staff import fetch_pack

CHANNEL = "harbour_motors"
MADE_UP = Path(__file__).with_name("made_up")
VERIFIER = ROOT / "services" / "evidence" / "verify.py"
DWELL_SCALE = "0.01"
PATIENCE_SECONDS = 30.0
KEPT = tuple(subject for stream in STREAMS for subject in stream.subjects)
"""What lies on streams."""


@dataclass(frozen=True)
class Told:
    """One message as anybody on the bus could read it."""

    subject: str
    headers: dict[str, str]
    data: bytes


@dataclass
class Whole:
    run: LocalRun
    http: aiohttp.ClientSession
    chance: random.Random = field(default_factory=lambda: random.Random(20261123))
    people: list[Person] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    # -- doors ---------------------------------------------------------------------------------------------

    @property
    def parties(self) -> Parties:
        urls = (self.run.place.party_url(party) for party in ("wechat", "face", "sms", "app"))
        return Parties(self.http, *urls)

    @property
    def channel(self) -> Channel:
        return self.channel_of(CHANNEL)

    def channel_of(self, channel_id: str) -> Channel:
        return Channel(self.http, self.run.gateway_url, self.run.api_key(channel_id))

    def staff(self, name: str) -> KeyHolder:
        # A minute is what the gateway waits for a pack whose maker was killed.
        return KeyHolder(self.http, self.run.gateway_url, self.run.api_key(name), patience=180.0)

    # -- people --------------------------------------------------------------------------------------------

    def someone(self, name: str | None = None) -> Person:
        who = person(self.chance, name)
        self.people.append(who)
        return who

    async def customer(
        self,
        habits: Habits | None = None,
        *,
        extra: bool = True,
        body: Callable[[Person], dict[str, Any]] | None = None,
    ) -> Customer:
        """Somebody with the link on their phone: a channel has just submitted their proposal."""
        who = self.someone()
        asked = body(who) if body else proposal(who, datetime.now(UTC), self.chance, extra=extra)
        accepted = await self.channel.submit(asked)
        link = await self.parties.await_message(who.phone, LINK)
        assert link == accepted["link"]
        return Customer(Phone(self.http, link), who, self.parties, self.chance, habits)

    def other_phone(self, customer: Customer) -> Phone:
        """Another device with the same link."""
        session = customer.phone.session
        return Phone(self.http, f"{customer.phone.base}/j#{session.journey_id}.{session.link_secret}", device=Device())

    # -- the ear -------------------------------------------------------------------------------------------

    async def hear(self, message: Msg) -> None:
        self.told.append(Told(message.subject, dict(message.headers or {}), message.data))
        async with self._news:
            self._news.notify_all()

    def facts(self, journey_id: str, of: str = "*") -> list[Fact]:
        """The journey's facts as they passed over the bus, each once; ``of`` a service and fact as in subjects."""
        service, _, name = of.partition(".")
        found: dict[str, Fact] = {}
        for one in self.told:
            parts = one.subject.split(".")
            fits = parts[:2] == ["journey", journey_id] and service in ("*", parts[2]) and name in ("", parts[3])
            if fits:
                found.setdefault(one.headers["ce-id"], read_fact(one.headers["ce-type"], one.data))
        return list(found.values())

    async def until_told(self, holds: Callable[[], object]) -> None:
        """Waits for the bus to have told what makes ``holds`` true."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._news:
            await self._news.wait_for(lambda: bool(holds()))

    # -- evidence ------------------------------------------------------------------------------------------

    async def pack(self, journey_id: str, folder: Path, **more: Any) -> Path:
        name, content = await fetch_pack(self.staff("counsel"), journey_id, reason="a dispute in a test", **more)
        path = folder / name
        path.write_bytes(content)
        return path

    async def verdict(self, pack: Path) -> tuple[int, dict[str, Any]]:
        """Exit status and findings of the offline verifier."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(VERIFIER), "--trust", str(self.run.trust), "--json", str(pack),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, json.loads(output)


async def refused(coming: Any) -> str:
    """The code something is refused with; fails the test when it is not refused."""
    try:
        await coming
    except ProblemAnswer as problem:
        return problem.code
    raise AssertionError("not refused")


@asynccontextmanager
async def started(
    folder: Path,
    store: str,
    products: tuple[Path, ...] = (ROOT / "products", MADE_UP),
    extra: Mapping[str, Mapping[str, str]] | None = None,
    ear: Iterable[str] = KEPT,
    **more: Any,
) -> AsyncIterator[Whole]:
    """Everything, started over ``store``, with readings shortened and a made-up product beside the house's own.
    ``extra``: more environment by process name. ``ear``: the subjects heard. To the bus an ear on everything is
    somebody who still wants what a process that ended had asked for, and that is lost until it comes again: only who
    must hear every word listens to ``>``. ``more``: what else ``LocalRun`` takes.
    """
    told = {
        "disclosure": {"TOUBAO_DISCLOSURE_DWELL_SCALE": DWELL_SCALE},
        "payment": {"TOUBAO_PAYMENT_ASK_AFTER_SECONDS": "1"},
    }
    run = LocalRun(
        folder,
        store=store,
        products=products,
        extra={name: {**told.get(name, {}), **(extra or {}).get(name, {})} for name in {*told, *(extra or {})}},
        **more,
    )
    async with run, aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
        running = Whole(run, http)
        hearing = await nats.connect(run.nats_url, nkeys_seed=str(run.nats_seed))
        for subject in ear:
            await hearing.subscribe(subject, cb=running.hear)
        await hearing.flush()
        try:
            yield running
        finally:
            await hearing.close()
