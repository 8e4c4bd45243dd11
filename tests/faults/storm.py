"""Many customers at once while every few seconds some process is killed with -9 and started again.

    python -m tests.faults.storm --journeys 500 --store sqlite --kills-every 4 --seed 7 --out out

Customers go random ways (face or card, the extra taken, dropped again or left, another phone half-way, the survey
answered or not) and do what people do when a page does not load: they load it again and go on where the server says.
When the last is through everything is started, and once the stores are still a checker that shares no code with the
platform (tests/faults/checker) judges stores, blobs, packs and the stand-ins' ledger. Readings are shortened
(``DWELL_SCALE``); nothing else is.

The seed decides people, ways and kills. What a kill hits is decided by the machine's pace as well, so a seed repeats
the weather, not the minute.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import logging
import random
import secrets
import sys
import time
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import aiohttp

from deploy.local.environment import HOST
from deploy.local.ports import SERVICES
from deploy.local.processes import Ended
from deploy.local.run import LocalRun
from deploy.simulator.__main__ import LINK
from deploy.simulator.api import Json, KeyHolder, Phone, ProblemAnswer
from deploy.simulator.channel import Channel
from deploy.simulator.customer import Customer, Habits, Stuck
from deploy.simulator.parties import Parties
from deploy.simulator.proposals import Person, person, proposal
from deploy.simulator.staff import fetch_pack
from tests.faults import checker

CHANNEL = "harbour_motors"
DWELL_SCALE = "0.01"
JOURNEY_SECONDS = 900.0
"""A customer who is not through by then has failed. Long, for the machine may be slow; nobody waits for it."""
SETTLE_SECONDS = 180.0
MOST_RELOADS = 200
TWO_AT_ONCE = 0.15
"""Share of blows that kill two processes."""
OTHER_PHONE = 0.12
"""Share of customers who take another phone half-way."""
BEFORE_SIGNING = ("consents", "identity", "terms", "needs", "documents", "points", "forms", "signature")
FINAL = frozenset({"journey_expired", "journey_withdrawn", "device_bound", "link_invalid", "underage", "phone_shared"})
"""Refusals that no loading again can mend."""
PACKS = 20
"""How many journeys' evidence packs are fetched and judged, spread over the run."""

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass
class Passed:
    """One customer as the storm knows them: what the checker may hold against the platform."""

    number: int
    values: dict[str, str]
    """Their personal values in plain, by kind; none of it may stand anywhere in a store."""
    journey_id: str = ""
    habits: dict[str, Any] = field(default_factory=dict)
    outcome: str = "under way"
    """``through``, or where and why not."""
    acts: list[tuple[str, str]] = field(default_factory=list)
    """Each act that was acknowledged: its verb and the hash of its body, as the proof's ``bh`` says it."""
    policies: dict[str, str] = field(default_factory=dict)
    """Policy number → SHA-256 of the file as downloaded."""
    reloads: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    """Why the page was loaded again, and how often."""
    seconds: float = 0.0


class NotedPhone(Phone):
    """A phone that notes which acts were acknowledged to it."""

    def __init__(self, *args: Any, acts: list[tuple[str, str]], **more: Any) -> None:
        super().__init__(*args, **more)
        self._acts = acts

    async def act(self, verb: str, body: Any = None, *, key: str | None = None) -> Any:
        raw = json.dumps({} if body is None else body, ensure_ascii=False).encode()
        answer = await super().act(verb, body, key=key)
        self._acts.append((verb, urlsafe_b64encode(hashlib.sha256(raw).digest()).rstrip(b"=").decode()))
        return answer


class Restless(Customer):
    """Takes another phone when a certain page comes up, and begins anew with it (I12)."""

    moves_at: str | None = None
    another: Callable[[], Phone]

    async def turn(self, view: Json) -> None:
        if view["place"]["step"] == self.moves_at:
            phone = self.another()
            await phone.open()
            self.phone, self.moves_at = phone, None
            view = await self.look()
        await super().turn(view)


class Weather:
    """Kills and restarts, one blow after the other, until told that it is over."""

    def __init__(self, run: LocalRun, chance: random.Random, every: float) -> None:
        self._run = run
        self._chance = chance
        self._every = every
        self.targets = (*SERVICES, "gateway", "nats", "sandbox", *(("mongodb",) if run.store == "mongodb" else ()))
        self.kills: Counter[str] = Counter()
        self.by_themselves: Counter[str] = Counter()
        """Processes that ended though nobody killed them."""

    async def blow(self) -> None:
        while True:
            await asyncio.sleep(self._chance.uniform(0.5, 1.5) * self._every)
            struck = self._chance.sample(self.targets, 2 if self._chance.random() < TWO_AT_ONCE else 1)
            down = self._chance.uniform(0.0, 2.0)
            for name in struck:
                await self._run.kill(name)
                self.kills[name] += 1
            await asyncio.sleep(down)
            await self.clear(*struck)
            await self.clear(*self._fallen())

    def _fallen(self) -> list[str]:
        fallen = [
            name for name in self.targets if self._run.process(name).wanted and not self._run.process(name).running
        ]
        self.by_themselves.update(fallen)
        return fallen

    async def clear(self, *names: str) -> None:
        """Starts them, as a supervisor would: again and again."""
        for name in sorted(names, key=("nats", "mongodb", "sandbox").count, reverse=True):
            for attempt in range(10):
                try:
                    await self._run.restart(name)
                    break
                except (Ended, TimeoutError):
                    if attempt == 9:
                        raise
                    self.by_themselves[name] += 1

    async def over(self) -> None:
        """Everything runs."""
        await self.clear(*(name for name in self.targets if not self._run.process(name).running))


class Storm:
    def __init__(self, run: LocalRun, http: aiohttp.ClientSession, seed: int) -> None:
        self._run = run
        self._http = http
        self._seed = seed
        self.customers: list[Passed] = []

    @property
    def _parties(self) -> Parties:
        return Parties(self._http, *(self._run.place.party_url(party) for party in ("wechat", "face", "sms", "app")))

    async def customer(self, number: int) -> None:
        chance = random.Random(f"{self._seed}/{number}")
        who = person(chance)
        asked = proposal(who, datetime.now(UTC), chance, extra=chance.random() < 0.9)
        passed = Passed(number, values=personal(who, asked))
        self.customers.append(passed)
        began = time.monotonic()
        try:
            async with asyncio.timeout(JOURNEY_SECONDS):
                await self._through(passed, who, asked, chance)
            passed.outcome = "through"
        except TimeoutError:
            passed.outcome = f"not through in {JOURNEY_SECONDS:.0f} s: {passed.outcome}"
        except Exception as error:
            # Also what only a mistake in here can raise: the others go on, and the result names it.
            log.exception("a customer gave up")
            passed.outcome = f"gave up {passed.outcome}: {type(error).__name__} {error}"
        passed.seconds = time.monotonic() - began

    async def _through(self, passed: Passed, who: Person, asked: Json, chance: random.Random) -> None:
        channel = Channel(self._http, self._run.gateway_url, self._run.api_key(CHANNEL))
        key = secrets.token_urlsafe(16)
        accepted = await self._reloading(passed, lambda: channel.submit(asked, key=key))
        passed.journey_id = accepted["journey_id"]
        link = await self._reloading(passed, lambda: self._parties.await_message(who.phone, LINK))
        habits = Habits(
            path=chance.choice(("face", "bank_card")),
            take_extra=chance.random() < 0.7,
            drop_extra=chance.random() < 0.3,
            score=chance.choice((None, 0, 5, 9, 10)),
            use_app=chance.random() < 0.7,
        )
        moves_at = chance.choice(BEFORE_SIGNING) if chance.random() < OTHER_PHONE else None
        passed.habits = asdict(habits) | {"moves_at": moves_at}

        def phone() -> Phone:
            return NotedPhone(self._http, link, acts=passed.acts)

        def tell(step: str, what: str) -> None:
            del what
            passed.outcome = f"at {step}"

        customer = Restless(phone(), who, self._parties, chance, habits, tell)
        customer.moves_at, customer.another = moves_at, phone
        await self._reloading(passed, customer.pass_through)
        passed.policies = {no: hashlib.sha256(pdf).hexdigest() for no, pdf in customer.passage.policies.items()}

    async def _reloading(self, passed: Passed, doing: Callable[[], Awaitable[T]]) -> T:
        """What somebody does whose page does not load or does not take what they did: they load it again."""
        while True:
            try:
                return await doing()
            except ProblemAnswer as refused:
                if refused.code in FINAL:
                    raise
                why = refused.code or str(refused.status)
            except (aiohttp.ClientError, TimeoutError, Stuck) as lost:
                why = type(lost).__name__
            passed.refused[why] = passed.refused.get(why, 0) + 1
            passed.reloads += 1
            if passed.reloads >= MOST_RELOADS:
                raise Stuck(f"{passed.outcome} after {MOST_RELOADS} reloads: {passed.refused}")
            await asyncio.sleep(0.5)

    async def events(self) -> list[Json]:
        """Everything the channel was told, page by page."""
        channel = Channel(self._http, self._run.gateway_url, self._run.api_key(CHANNEL))
        told: list[Json] = []
        after = None
        while page := await channel.events(after):
            if not page["events"]:
                break
            told += page["events"]
            after = page["next"]
        return told

    async def packs(self, folder: Path, most: int) -> list[Path]:
        """The evidence of some of the journeys, spread over the storm, as the insurer's counsel fetches it."""
        staff = KeyHolder(self._http, self._run.gateway_url, self._run.api_key("counsel"))
        folder.mkdir(parents=True, exist_ok=True)
        through = [passed for passed in self.customers if passed.outcome == "through"]
        fetched: list[Path] = []
        for passed in through[:: max(1, len(through) // most)][:most]:
            _, pack = await fetch_pack(staff, passed.journey_id, reason="what became of it in the storm")
            path = folder / f"{passed.journey_id}.zip"
            path.write_bytes(pack)
            fetched.append(path)
        return fetched


def personal(who: Person, asked: Json) -> dict[str, str]:
    """What is personal of a proposal, by kind."""
    subject = {key: asked["subject"][key] for key in ("plate_no", "vin", "engine_no")}
    return asdict(who) | subject


# -- the whole of it -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    journeys: int
    store: str = "sqlite"
    kills_every: float = 4.0
    """Seconds, on average."""
    at_once: int = 4
    seed: int = 0
    packs: int = PACKS


async def storm(wanted: Wanted, folder: Path, progress: Callable[[str], None] = lambda _: None) -> Json:
    """The storm's result: what was killed, who came through, what the checker found. Stores, packs and what the
    storm saw of its customers stay in ``folder``.
    """
    began = time.monotonic()
    run = LocalRun(
        folder,
        store=wanted.store,
        log_level="WARNING",
        extra={
            "disclosure": {"TOUBAO_DISCLOSURE_DWELL_SCALE": DWELL_SCALE},
            # The channel is asked soon about what its lost notification would have said.
            "payment": {"TOUBAO_PAYMENT_ASK_AFTER_SECONDS": "3"},
        },
    )
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(run)
        http = await stack.enter_async_context(
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=30), connector=aiohttp.TCPConnector(limit=0, force_close=True)
            )
        )
        weather = Weather(run, random.Random(f"{wanted.seed}/weather"), wanted.kills_every)
        passing = Storm(run, http, wanted.seed)
        room = asyncio.Semaphore(wanted.at_once)

        async def one(number: int) -> None:
            async with room:
                await passing.customer(number)

        def line() -> str:
            through = sum(passed.outcome == "through" for passed in passing.customers)
            return (
                f"{time.monotonic() - began:6.0f} s  {through} of {wanted.journeys} through, "
                f"{sum(weather.kills.values())} killed, {sum(passed.reloads for passed in passing.customers)} reloads"
            )

        async def watch() -> None:
            while True:
                progress(line())
                await asyncio.sleep(2)

        blowing, watching = asyncio.create_task(weather.blow()), asyncio.create_task(watch())
        crowd = asyncio.gather(*(one(number) for number in range(wanted.journeys)))
        # Weather that ends by itself has failed to start something again.
        await asyncio.wait({crowd, blowing}, return_when=asyncio.FIRST_COMPLETED)
        watching.cancel()
        if blowing.done():
            crowd.cancel()
            await blowing
        blowing.cancel()
        await asyncio.gather(blowing, watching, return_exceptions=True)
        await weather.over()
        progress(line() + ", waiting for the last of it")
        uri = run.place.mongodb_uri if wanted.store == "mongodb" else None
        unsettled = await settled(folder, uri)
        told = {
            "customers": [asdict(passed) for passed in passing.customers],
            "events": await passing.events(),
            "messages": await messages_by_stream(http, run),
            "dwell_scale": float(DWELL_SCALE),
        }
        (folder / checker.WITNESS).write_text(json.dumps(told, ensure_ascii=False, indent=1), encoding="utf-8")
        packs = await passing.packs(folder / "packs", wanted.packs)
        progress("checking")
        verdict = await judged(folder, uri)
    return {
        "seed": wanted.seed,
        "store": wanted.store,
        "journeys": wanted.journeys,
        "at_once": wanted.at_once,
        "kills_every_seconds": wanted.kills_every,
        "dwell_scale": float(DWELL_SCALE),
        "took_seconds": round(time.monotonic() - began),
        "kills": dict(weather.kills.most_common()),
        "ended_by_themselves": dict(weather.by_themselves),
        "through": sum(passed.outcome == "through" for passed in passing.customers),
        "not_through": [
            {"journey": p.journey_id, "outcome": p.outcome, "habits": p.habits, "refused": p.refused}
            for p in passing.customers
            if p.outcome != "through"
        ],
        "reloads": dict(sum((Counter(passed.refused) for passed in passing.customers), Counter())),
        "unsettled": unsettled,
        "packs": len(packs),
        "rules": verdict.table(),
    }


async def settled(folder: Path, uri: str | None) -> list[str]:
    """Waits until nothing is left to do in any store. Returns what is still left when patience ends."""
    until = time.monotonic() + SETTLE_SECONDS
    while left := await asyncio.to_thread(checker.unsettled, folder, uri):
        if time.monotonic() > until:
            return left
        await asyncio.sleep(1)
    return []


async def judged(folder: Path, uri: str | None) -> checker.Verdict:
    """The checker's word. What is only still under way (a journey is anchored once more after it is issued) is waited
    for and looked at again.
    """
    settling = {rule.name for rule in checker.RULES if rule.settles}
    verdict = await asyncio.to_thread(checker.check, folder, uri)
    if verdict.broken & settling:
        await settled(folder, uri)
        verdict = await asyncio.to_thread(checker.check, folder, uri)
    return verdict


async def messages_by_stream(http: aiohttp.ClientSession, run: LocalRun) -> dict[str, int]:
    """How many messages each stream of the bus holds, by the server's own word."""
    async with http.get(f"http://{HOST}:{run.ports.nats_monitor}/jsz", params={"streams": "true"}) as answer:
        accounts = (await answer.json())["account_details"]
    return {
        stream["name"]: stream["state"]["messages"]
        for account in accounts
        for stream in account.get("stream_detail") or ()
    }


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.storm", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--journeys", type=int, default=500)
    parser.add_argument("--store", choices=["sqlite", "mongodb"], default="sqlite")
    parser.add_argument("--kills-every", type=float, default=4.0, metavar="SECONDS", help="on average")
    parser.add_argument("--at-once", type=int, default=4, help="customers under way at any time")
    parser.add_argument("--seed", type=int, default=None, help="the same people, ways and weather again")
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the result goes")
    parser.add_argument("--keep", type=Path, default=None, help="leave stores and logs there")
    asked = parser.parse_args()
    seed = secrets.randbelow(10**6) if asked.seed is None else asked.seed
    wanted = Wanted(asked.journeys, asked.store, asked.kills_every, asked.at_once, seed)
    say(f"storm of {wanted.journeys} journeys on {wanted.store}, something killed every {wanted.kills_every} s, "
          f"SEED={seed}")  # fmt: skip

    # Whoever loads a page again says so by the count of reloads.
    logging.getLogger("stamina").setLevel(logging.ERROR)

    def progress(line: str) -> None:
        sys.stdout.write(f"\r{line:<100}" if sys.stdout.isatty() else f"{line}\n")
        sys.stdout.flush()

    with TemporaryDirectory() as scratch:
        result = asyncio.run(storm(wanted, asked.keep or Path(scratch) / "run", progress))
    say("\n" + report(result))
    asked.out.mkdir(parents=True, exist_ok=True)
    path = asked.out / f"storm-{wanted.store}.json"
    path.write_text(json.dumps(result, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    say(f"result in {path}")
    return 0 if held(result) else 1


def held(result: Json) -> bool:
    """Everybody came through, nothing is left undone, and no rule was found broken."""
    return not (
        result["not_through"]
        or result["unsettled"]
        or result["ended_by_themselves"]
        or any(rule["violations"] for rule in result["rules"])
    )


def report(result: Json) -> str:
    kills = ", ".join(f"{name} {times}" for name, times in result["kills"].items())
    reloads = ", ".join(f"{why} {times}" for why, times in sorted(result["reloads"].items()))
    lines = [
        checker.shown(result["rules"]),
        "",
        f"{result['through']} of {result['journeys']} came through in {result['took_seconds']} s",
        f"on {result['store']}, {result['at_once']} customers at once, SEED={result['seed']}",
        f"killed with -9, {sum(result['kills'].values())} times: {kills}",
        f"reloaded: {reloads or 'nobody had to'}",
        f"dwell_scale {result['dwell_scale']}: readings were shortened, nothing else was",
    ]
    lines += [f"NOT THROUGH {each['journey']}: {each['outcome']} {each['habits']}" for each in result["not_through"]]
    lines += [f"LEFT UNDONE {each}" for each in result["unsettled"]]
    lines += [f"ENDED BY ITSELF {name}, {times} times" for name, times in result["ended_by_themselves"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
