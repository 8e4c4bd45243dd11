"""Whole journeys on the whole platform with everything on: how many a second, what one costs, who waits how long.

A closed loop: so many customers are under way at any time, and whoever is through makes room for the next. What is
shortened is the reading alone (``DWELL_SCALE``), and that is said beside the result. After the measuring every
policy and form is judged by pyHanko and every evidence pack by the offline verifier; a run in which one of them
fails is no result.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import re
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import nats
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from contracts import subjects
from contracts.facts.base import read_fact
from contracts.facts.issuance import JourneyIssued
from contracts.facts.payment import PaymentConfirmed
from deploy.local.ports import SERVICES
from deploy.local.run import LocalRun
from deploy.nats.partners import durable
from deploy.simulator.__main__ import LINK
from deploy.simulator.api import Json, KeyHolder, Phone
from deploy.simulator.channel import Channel
from deploy.simulator.customer import Customer
from deploy.simulator.parties import Parties
from deploy.simulator.proposals import Person, person, proposal
from deploy.simulator.staff import fetch_pack
from tests.bench import judging, parts, processes

CHANNEL = "harbour_motors"
WARM_UP = 3
"""Journeys before measuring: what is loaded when first used (WeasyPrint in the workers, fonts) is start-up."""
IDLE_SECONDS = 3.0
QUIET_SECONDS = 60.0
SAMPLING = Path(__file__).with_name("sampling")

_IDS = (
    (re.compile(r"/[0-7][0-9A-HJKMNP-TV-Z]{25}(?=/|$)"), "/{journey}"),
    (re.compile(r"/[0-9a-f]{64}(?=/|$)"), "/{sha256}"),
    (re.compile(r"/policies/[^/]+/download"), "/policies/{policy_no}/download"),
    (re.compile(r"/forms/[^/]+"), "/forms/{product}"),
    (re.compile(r"/notices/[^/]+"), "/notices/{notice}"),
    (re.compile(r"/downloads/[^/]+"), "/downloads/{once}"),
    (re.compile(r"/packs/[^/]+"), "/packs/{once}"),
)


def endpoint(method: str, path: str) -> str:
    """The address as the API describes it, without what is of one journey."""
    for pattern, name in _IDS:
        path = pattern.sub(name, path)
    return f"{method} {path.removeprefix('/v1/journeys/{journey}') or '(view)'}"


def percentile(values: Iterable[float], share: float) -> float:
    """By nearest rank, so that it is a value that was seen; NaN of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


@dataclass
class Seen:
    """What the simulator saw of the platform."""

    answers: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds from sending until the answer begins, by endpoint."""
    statuses: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    passed: list[float] = field(default_factory=list)
    """Seconds a journey took."""
    paid_to_policies: list[float] = field(default_factory=list)
    """Seconds from the tap that pays until the phone sees every policy."""
    paid: dict[str, datetime] = field(default_factory=dict)
    issued: dict[str, datetime] = field(default_factory=dict)
    """When payment and issuance put it on record, by journey."""

    async def hear(self, message: Msg) -> None:
        fact = read_fact((message.headers or {})["ce-type"], message.data)
        journey = message.subject.split(".")[1]
        if isinstance(fact, PaymentConfirmed):
            self.paid.setdefault(journey, fact.at)
        elif isinstance(fact, JourneyIssued):
            self.issued.setdefault(journey, fact.at)

    def watching(self, gateway_url: str) -> aiohttp.TraceConfig:
        trace = aiohttp.TraceConfig()

        async def begun(_: Any, context: Any, __: Any) -> None:
            context.began = time.perf_counter()

        async def ended(_: Any, context: Any, what: aiohttp.TraceRequestEndParams) -> None:
            if str(what.url).startswith(gateway_url):
                self.answers[endpoint(what.method, what.url.path)].append(time.perf_counter() - context.began)
                self.statuses[what.response.status] += 1

        trace.on_request_start.append(begun)
        trace.on_request_end.append(ended)
        return trace

    def forget(self) -> None:
        """What was seen while warming up."""
        for each in (self.answers, self.statuses, self.passed, self.paid_to_policies, self.paid, self.issued):
            each.clear()


class Buyer(Customer):
    """A customer who looks at the clock when paying and when the policies are there."""

    tapped = 0.0
    waited = math.nan

    async def pay(self, pay_url: str, payer: Person | None = None) -> Json:
        self.tapped = time.perf_counter()
        return await super().pay(pay_url, payer)

    async def download(self) -> None:
        self.waited = time.perf_counter() - self.tapped
        await super().download()


@dataclass(frozen=True)
class Count:
    """The kernel's counters at one moment."""

    at: float
    cpu: dict[str, float]
    """Seconds by process; "simulator" is this one."""
    memory: dict[str, int]
    done: int

    @property
    def total(self) -> float:
        """Of the platform and its stand-ins, without the simulator."""
        return sum(used for name, used in self.cpu.items() if name != "simulator")


@dataclass
class Load:
    """So many customers at a time, until so many are through."""

    run: LocalRun
    http: aiohttp.ClientSession
    js: JetStreamContext
    seen: Seen
    folder: Path
    """Where what was bought is kept until it is judged."""
    chance: random.Random = field(default_factory=lambda: random.Random(20261126))
    counts: list[Count] = field(default_factory=list)
    journeys: list[str] = field(default_factory=list)
    _sessions: dict[str, int] = field(default_factory=dict)

    def count(self) -> Count:
        self._sessions = self._sessions or processes.sessions(self.run)
        used = processes.cpu_by_name(self._sessions)
        used["simulator"] = processes.own_cpu()
        held = processes.memory_by_name(self._sessions)
        return Count(time.perf_counter(), used, held, len(self.journeys))

    async def drive(self, journeys: int, at_once: int) -> None:
        """Raises whatever stops a customer: a bench with customers who didn't get through has no result."""
        waiting = iter(range(journeys))
        marks = set(tenths(journeys, at_once))

        async def one_after_the_other() -> None:
            for _ in waiting:
                self.journeys.append(await self._one())
                if len(self.journeys) in marks:
                    self.counts.append(self.count())

        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, journeys)):
                group.create_task(one_after_the_other())

    async def _one(self) -> str:
        who = person(self.chance)
        urls = (self.run.place.party_url(party) for party in ("wechat", "face", "sms", "app"))
        parties = Parties(self.http, *urls)
        began = time.perf_counter()
        channel = Channel(self.http, self.run.gateway_url, self.run.api_key(CHANNEL))
        await channel.submit(proposal(who, datetime.now(UTC), self.chance))
        link = await parties.await_message(who.phone, LINK)
        buyer = Buyer(Phone(self.http, link), who, parties, self.chance)
        passage = await buyer.pass_through()
        self.seen.passed.append(time.perf_counter() - began)
        self.seen.paid_to_policies.append(buyer.waited)
        if len(passage.policies) != 3 or len(passage.forms) != 3:
            raise RuntimeError(f"{len(passage.policies)} policies and {len(passage.forms)} forms instead of 3 and 3")
        for name, pdf in (*passage.policies.items(), *passage.forms.items()):
            (self.folder / f"{passage.journey_id}.{name}.pdf").write_bytes(pdf)
        return passage.journey_id

    async def quiet(self) -> None:
        """Until nobody has anything left to do: no fact unpublished, no message unhandled."""
        calm = 0
        async with asyncio.timeout(QUIET_SECONDS):
            while calm < 3:
                calm = calm + 1 if await self._left() == 0 else 0
                # As long as a sweeper takes to look again, in all.
                await asyncio.sleep(0.5)

    async def _left(self) -> float:
        left = 0.0
        for stream in (subjects.JOURNEY, subjects.PARTNER, subjects.AFTERCARE):
            for consumer in await self.js.consumers_info(stream.name):
                # Partners' programs are not here: nobody takes what waits for them.
                if not consumer.name.startswith(durable("")):
                    left += (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)
        for name in SERVICES:
            async with self.http.get(f"{self.run.ops_url(name)}/metrics") as answer:
                lines = (await answer.text()).splitlines()
            left += sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("toubao_outbox_entries "))
        return left


def tenths(journeys: int, at_once: int) -> tuple[int, int, int, int]:
    """How many are through at the bounds of the first and the last tenth: both while as many are under way as ever."""
    tenth = max(1, journeys // 10)
    head = min(at_once, max(0, (journeys - 2 * tenth) // 2))
    return head, head + tenth, journeys - head - tenth, journeys - head


@dataclass(frozen=True)
class Ordered:
    """What the caller of the bench wants."""

    journeys: int = 40
    at_once: int = 8
    store: str = "sqlite"
    dwell_scale: float = 0.01
    out: Path = Path("out/bench")


async def measured(ordered: Ordered, folder: Path) -> dict[str, Any]:
    """One run, in a folder of its own. What comes back is what goes into the JSON."""
    kept, stacks = folder / "kept", folder / "stacks"
    kept.mkdir(parents=True)
    stacks.mkdir()
    sampled = {"PYTHONPATH": str(SAMPLING), "BENCH_STACKS_DIR": str(stacks)}
    run = LocalRun(
        folder / "run",
        store=ordered.store,
        extra={
            "": sampled,
            "disclosure": {"TOUBAO_DISCLOSURE_DWELL_SCALE": str(ordered.dwell_scale)},
        },
    )
    seen = Seen()
    async with run:
        timeout = aiohttp.ClientTimeout(total=120)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(
            timeout=timeout, connector=connector, trace_configs=[seen.watching(run.gateway_url)]
        ) as http:
            ear = await nats.connect(run.nats_url, nkeys_seed=str(run.nats_seed))
            try:
                await ear.subscribe("journey.*.payment.payment_confirmed", cb=seen.hear)
                await ear.subscribe("journey.*.issuance.journey_issued", cb=seen.hear)
                await ear.flush()
                load = Load(run, http, ear.jetstream(timeout=20), seen, kept)
                result = await _loaded(load, ordered, stacks)
            except BaseException:
                _keep_logs(run, ordered.out)
                raise
            finally:
                await ear.close()
            result["judged"] = await _judged(load, folder / "packs")
    return result


def _keep_logs(run: LocalRun, out: Path) -> None:
    """Of a run that failed: its folder goes away."""
    shutil.rmtree(out / "logs", ignore_errors=True)
    shutil.copytree(run.layout.logs, out / "logs")


async def _loaded(load: Load, ordered: Ordered, stacks: Path) -> dict[str, Any]:
    run, seen = load.run, load.seen
    after_start = load.count()
    await asyncio.sleep(IDLE_SECONDS)
    idle = load.count()
    await load.drive(min(WARM_UP, ordered.journeys), 1)
    await load.quiet()
    seen.forget()
    load.journeys.clear()
    load.counts.clear()
    stored = _stored(run)
    spent_before = {file.name: parts.read(file) for file in stacks.iterdir() if file.suffix == ""}
    before = load.count()
    await load.drive(ordered.journeys, ordered.at_once)
    last = time.perf_counter()
    await load.quiet()
    after = load.count()
    spent: defaultdict[str, float] = defaultdict(float)
    whole: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for file in stacks.iterdir():
        if file.suffix == "":
            for stack, used in parts.since(parts.read(file), spent_before.get(file.name, {})).items():
                whole[stack] += used
    spent.update(parts.split(whole))
    journeys = ordered.journeys
    wall = last - before.at
    used = {name: after.cpu[name] - before.cpu[name] for name in after.cpu}
    by_part = _by_part(used, spent)
    _write_stacks(ordered.out / "stacks.txt", whole)
    ours = {part: ms for part, ms in by_part.items() if part not in parts.OUTSIDE}
    return {
        "journeys": journeys,
        "at_once": ordered.at_once,
        "store": ordered.store,
        "dwell_scale": ordered.dwell_scale,
        "cores": os.cpu_count(),
        "seconds": wall,
        "journeys_per_second": journeys / wall,
        "cpu_ms_per_journey": 1000 * sum(used.values()) / journeys,
        "cpu_ms_by_process": {name: 1000 * each / journeys for name, each in used.items()},
        "cpu_ms_by_part": {part: 1000 * each / journeys for part, each in by_part.items()},
        "cpu_ms_without_documents_signing": 1000
        * sum(each for part, each in ours.items() if part not in parts.HEAVY)
        / journeys,
        "sampled_share": sum(spent.values()) / max(1e-9, sum(each for name, each in used.items() if _sampled(name))),
        "idle_cpu_ms_per_second": 1000 * (idle.total - after_start.total) / (idle.at - after_start.at),
        "dearest": [
            {"ms": 1000 * each / journeys, "part": part, "call": call} for each, part, call in parts.dearest(whole, 25)
        ],
        "passed_seconds": _spread(seen.passed),
        "paid_to_policies_seconds": _spread(seen.paid_to_policies),
        "paid_to_issued_seconds": _spread(
            [(seen.issued[j] - at).total_seconds() for j, at in seen.paid.items() if j in seen.issued]
        ),
        "endpoints": {
            name: {"count": len(each), **_spread(each)}
            for name, each in sorted(seen.answers.items(), key=lambda item: -percentile(item[1], 0.95))
        },
        "statuses": dict(sorted(seen.statuses.items())),
        "requests_per_journey": sum(map(len, seen.answers.values())) / journeys,
        "start_seconds": {**run.ready, "everything": run.took},
        "memory_mb_after_start": _megabytes(after_start.memory),
        "memory_mb_before": _megabytes(before.memory),
        "memory_mb_after": _megabytes(after.memory),
        "growth": _growth(load.counts),
        "stored_bytes_per_journey": {
            name: (after_bytes - stored[name]) / journeys for name, after_bytes in _stored(run).items()
        },
    }


def _sampled(name: str) -> bool:
    return name not in parts.WHOLE_PROCESS and name != "simulator"


def _by_part(used: dict[str, float], spent: dict[str, float]) -> dict[str, float]:
    """Seconds by part. The kernel's count decides how much there is; the samples split what Python processes of ours
    used. What ended between two looks of the sampler goes the way of the rest, in proportion.
    """
    found: defaultdict[str, float] = defaultdict(float)
    counted = sum(each for name, each in used.items() if _sampled(name))
    sampled = sum(spent.values())
    for part, each in spent.items():
        found[part] += each * counted / sampled
    for name, each in used.items():
        if not _sampled(name):
            found[parts.WHOLE_PROCESS.get(name, name)] += each
    return {part: found.get(part, 0.0) for part in parts.PARTS}


def _growth(counts: Sequence[Count]) -> dict[str, Any]:
    """The last tenth against the first: CPU a journey, and memory."""
    if len(counts) != 4:
        return {}
    first_from, first_to, last_from, last_to = counts

    def a_journey(begin: Count, end: Count) -> float:
        return 1000 * (end.total - begin.total) / (end.done - begin.done)

    first, last = a_journey(first_from, first_to), a_journey(last_from, last_to)
    between = last_to.done - first_to.done
    return {
        "journeys_in_a_tenth": first_to.done - first_from.done,
        "cpu_ms_first_tenth": first,
        "cpu_ms_last_tenth": last,
        "ratio": last / first,
        "memory_kb_per_journey": {
            name: (last_to.memory[name] - held) / 1024 / between for name, held in first_to.memory.items()
        },
    }


def _stored(run: LocalRun) -> dict[str, int]:
    layout = run.layout
    places = {"documents": "data", "blobs": "blobs", "keys": "vault", "streams": "nats", "mongodb": "mongodb"}
    return {name: processes.bytes_below(layout.folder / place) for name, place in places.items()}


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"p50": percentile(values, 0.5), "p95": percentile(values, 0.95), "worst": max(values, default=math.nan)}


def _megabytes(held: dict[str, int]) -> dict[str, float]:
    return {**{name: each / 2**20 for name, each in held.items()}, "everything": sum(held.values()) / 2**20}


def _write_stacks(path: Path, stacks: parts.Stacks) -> None:
    """In the form flame graph programs read: outermost;…;innermost microseconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for stack, used in sorted(stacks.items(), key=lambda item: -item[1]):
            file.write(
                f"{parts.part_of(stack)};{';'.join(call.replace(' ', '_') for call in stack)} {used * 1e6:.0f}\n"
            )


async def _judged(load: Load, packs: Path) -> dict[str, Any]:
    """Every PDF and every pack of the run. Raises ``judging.Wrong``."""
    packs.mkdir()
    staff = KeyHolder(load.http, load.run.gateway_url, load.run.api_key("counsel"), patience=180)
    waiting = iter(load.journeys)

    async def fetch() -> None:
        for journey in waiting:
            _, content = await fetch_pack(staff, journey, reason="bench: every pack is verified")
            (packs / f"{journey}.zip").write_bytes(content)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(fetch())
    fetched = time.perf_counter() - began
    pdfs = sorted(load.folder.glob("*.pdf"))
    # The warm-up's were bought like the others, and are judged with them; their packs are not fetched.
    zips = sorted(packs.glob("*.zip"))
    if len(zips) != len(load.journeys):
        raise judging.Wrong(f"{len(zips)} packs of {len(load.journeys)} journeys")
    began = time.perf_counter()
    verdicts = await asyncio.to_thread(judging.judge_all, pdfs, zips, load.run.trust)
    with suppress(OSError):
        shutil.rmtree(packs)
    return {
        "pdfs": len(pdfs),
        "packs": len(zips),
        "pack_seconds_each": fetched / max(1, len(zips)),
        "seconds": time.perf_counter() - began,
        **verdicts,
    }
