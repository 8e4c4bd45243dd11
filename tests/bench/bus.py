"""The bus: facts of 1 KB from a stream to a listener, ours against a bare loop of the driver and against FastStream.

The same stream, the same bytes, the same pydantic model, 100 asked for at a time, each message acknowledged on its own,
in one process on the same event loop; a durable consumer of its own for each turn. Ours is ``Bus.listen`` as every
service has it: envelope read, trace continued, time taken, outcome counted, kept alive while it is slow. The three
take turns, so that a noisy moment hits none of them alone, and the best turn of each counts. After each turn the
server must say that nothing is left and nothing unacknowledged.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import nats
import uvloop
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamConfig
from pydantic import Field

from contracts.commands.base import Answer, Request
from contracts.facts.base import Fact, read_fact
from contracts.subjects import Stream
from contracts.values import Contract
from deploy.nats.server import NatsServer
from servicekit import bus as ours
from servicekit.bus import Bus, Delivery
from servicekit.runner import new_ulid, utc_now
from servicekit.settings import Settings
from servicekit.store import StoredFact
from servicekit.telemetry.metrics import Metrics
from servicekit.telemetry.traces import configure_traces
from tests.bench.journeys import percentile

BYTES: Final = 1024
FETCH: Final = 100
AT_ONCE: Final = 64
SETTLED_SECONDS: Final = 30.0
STREAM: Final = Stream(name="BENCH", subjects=("journey.>",))


class Line(Contract):
    product: str
    kind: str
    fen: int


class Measured(Fact):
    """What facts have: sums, hashes, a list of parts."""

    service = "bench"
    name = "measured"

    lines: tuple[Line, ...]
    locks: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]]
    padding: str


class Ask(Request):
    service = "bench"
    verb = "ask"
    reply = Measured

    number: int


def measured() -> Measured:
    """A fact whose JSON has 1 KB."""
    products = ("motor_compulsory", "motor_commercial", "driver_passenger_accident")
    fact = Measured(
        at=utc_now(),
        lines=tuple(Line(product=product, kind="premium", fen=95_000) for product in products),
        locks=dict.fromkeys(products, "0" * 64),
        padding="",
    )
    return fact.model_copy(update={"padding": "x" * (BYTES - len(fact.model_dump_json()))})


def stored(fact: Fact, journey: str, sequence: int) -> StoredFact:
    return StoredFact(
        id=new_ulid(),
        source=f"/services/{fact.service}",
        type=fact.type(),
        subject=journey,
        time=fact.at.isoformat(timespec="microseconds"),
        sequence=sequence,
        dataschema=f"urn:toubao:contracts:{fact.service}.{fact.name}.v{fact.version}",
        data=fact.model_dump_json(),
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    )


def subject(journey: str) -> str:
    return f"journey.{journey}.{Measured.service}.{Measured.name}"


@dataclass(frozen=True)
class Ordered:
    messages: int = 20_000
    turns: int = 3
    asks: int = 3_000
    singles: int = 300


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Bus]:
    bus = await Bus.connect(Settings(nats_url=url), "bench", Metrics("bench", "1.0.0"))
    try:
        yield bus
    finally:
        await bus.close()


@dataclass(frozen=True)
class Turn:
    per_second: float
    cpu_us: float
    """Microseconds of this process's CPU for a message, connecting included: what a noisy machine changes least."""


class Contest:
    """Three ways from the stream to a listener."""

    def __init__(self, client: Client, url: str, messages: int) -> None:
        self._client = client
        self._js = client.jetstream()
        self._url = url
        self._messages = messages

    async def fill(self) -> None:
        await self._js.add_stream(StreamConfig(name=STREAM.name, subjects=list(STREAM.subjects)))
        fact = measured()
        journeys = [new_ulid() for _ in range(100)]
        for number in range(self._messages):
            journey = journeys[number % len(journeys)]
            one = stored(fact, journey, number // len(journeys) + 1)
            await self._client.publish(subject(journey), one.data.encode(), headers=ours._headers(one))
            if number % 1000 == 0:
                await self._client.flush()
        await self._client.flush()
        assert (await self._js.stream_info(STREAM.name)).state.messages == self._messages

    async def turn(self, way: Callable[[str], Awaitable[float]], durable: str) -> Turn:
        """Raises ``AssertionError`` when the server is not content afterwards."""
        await self._js.add_consumer(
            STREAM.name,
            ConsumerConfig(
                durable_name=durable,
                filter_subject="journey.*.bench.>",
                ack_policy=AckPolicy.EXPLICIT,
                deliver_policy=DeliverPolicy.ALL,
                ack_wait=ours.ACK_WAIT_SECONDS,
                max_deliver=ours.MAX_DELIVER_OF_SERVER,
                max_ack_pending=ours.MAX_ACK_PENDING,
            ),
        )
        used = time.process_time()
        took = await way(durable)
        used = time.process_time() - used
        async with asyncio.timeout(SETTLED_SECONDS):
            while True:
                info = await self._js.consumer_info(STREAM.name, durable)
                if not info.num_pending and not info.num_ack_pending:
                    break
                await asyncio.sleep(0.05)
        assert not info.num_redelivered, "some came twice"
        await self._js.delete_consumer(STREAM.name, durable)
        return Turn(self._messages / took, 1e6 * used / self._messages)

    async def bare(self, durable: str) -> float:
        client = await nats.connect(self._url)
        subscription = await client.jetstream().pull_subscribe_bind(durable=durable, stream=STREAM.name)
        began = time.perf_counter()
        done = 0
        while done < self._messages:
            for message in await subscription.fetch(FETCH, timeout=5):
                Measured.model_validate_json(message.data)
                await message.ack()
                done += 1
        await client.flush()
        took = time.perf_counter() - began
        await subscription.unsubscribe()
        await client.close()
        return took

    async def ours(self, durable: str) -> float:
        done = asyncio.Event()
        count = 0

        async def listener(delivery: Delivery) -> None:
            nonlocal count
            assert isinstance(read_fact(delivery.fact.type, delivery.fact.data), Measured)
            count += 1
            if count == self._messages:
                done.set()

        async with connected(self._url) as bus:
            began = time.perf_counter()
            await bus.listen(STREAM, durable, "journey.*.bench.>", listener)
            await done.wait()
            assert await bus.check() is None
            return time.perf_counter() - began

    async def faststream(self, durable: str) -> float:
        from faststream.nats import JStream, NatsBroker, PullSub

        done = asyncio.Event()
        count = 0
        broker = NatsBroker(self._url, logger=None)

        @broker.subscriber(
            "journey.*.bench.>",
            durable=durable,
            stream=JStream(STREAM.name, declare=False),
            pull_sub=PullSub(batch_size=FETCH, timeout=5.0),
        )
        async def handle(fact: Measured) -> None:
            nonlocal count
            assert isinstance(fact, Measured)
            count += 1
            if count == self._messages:
                done.set()

        began = time.perf_counter()
        await broker.start()
        try:
            await done.wait()
            return time.perf_counter() - began
        finally:
            await broker.stop()


async def measured_all(ordered: Ordered, folder: Path) -> dict[str, Any]:
    """What comes back is what goes into the JSON. Rates are a second."""
    logging.getLogger("faststream").setLevel(logging.ERROR)
    provider = configure_traces("bench")
    try:
        async with NatsServer(folder) as server:
            client = await nats.connect(server.url)
            contest = Contest(client, server.url, ordered.messages)
            await contest.fill()
            ways = {"bare": contest.bare, "ours": contest.ours, "faststream": contest.faststream}
            turns: dict[str, list[Turn]] = {name: [] for name in ways}
            for number in range(ordered.turns):
                for name, way in ways.items():
                    turns[name].append(await contest.turn(way, f"{name}-{number}"))
            best = {name: max(turn.per_second for turn in each) for name, each in turns.items()}
            result = {
                "messages": ordered.messages,
                "turns": {name: [turn.per_second for turn in each] for name, each in turns.items()},
                "cpu_us": {name: min(turn.cpu_us for turn in each) for name, each in turns.items()},
                "per_second": best,
                "ours_to_bare": best["ours"] / best["bare"],
                "ours_to_faststream": best["ours"] / best["faststream"],
                **await _small_talk(client, server.url, ordered),
            }
            await client.close()
    finally:
        provider.shutdown()
    return result


async def _small_talk(client: Client, url: str, ordered: Ordered) -> dict[str, Any]:
    """Single messages, publishing and requests."""
    async with connected(url) as bus, connected(url) as other:
        return {
            "single_ms": await _single(bus, ordered.singles),
            "publish_per_second": {
                "one at a time": await _publish(bus, ordered.asks // 3, 1),
                f"{AT_ONCE} at once": await _publish(bus, ordered.asks, AT_ONCE),
                f"bare, {AT_ONCE} at once": await _publish_bare(client, ordered.asks, AT_ONCE),
            },
            "request_per_second": await _requests(bus, other, client, ordered.asks),
        }


async def _single(bus: Bus, singles: int) -> dict[str, float]:
    """Milliseconds from publishing one fact until the listener has it, nothing else being under way."""
    came = asyncio.Event()
    at = 0.0
    wanted = ""

    async def listener(delivery: Delivery) -> None:
        nonlocal at
        if delivery.fact.subject == wanted:
            at = time.perf_counter()
            came.set()

    await bus.listen(STREAM, "singles", "journey.*.single.>", listener)
    fact = measured()
    took: list[float] = []
    for _ in range(singles):
        came.clear()
        wanted = new_ulid()
        began = time.perf_counter()
        await bus.publish(f"journey.{wanted}.single.measured", stored(fact, wanted, 1))
        await came.wait()
        took.append(1000 * (at - began))
    return {"p50": percentile(took, 0.5), "p95": percentile(took, 0.95), "worst": max(took)}


async def _at_once(times: int, at_once: int, one: Callable[[int], Awaitable[Any]]) -> float:
    """How many a second."""
    numbers = iter(range(times))

    async def some() -> None:
        for number in numbers:
            await one(number)

    began = time.perf_counter()
    await asyncio.gather(*(some() for _ in range(at_once)))
    return times / (time.perf_counter() - began)


async def _publish(bus: Bus, times: int, at_once: int) -> float:
    fact = measured()

    async def one(_: int) -> None:
        journey = new_ulid()
        assert await bus.publish(subject(journey), stored(fact, journey, 1))

    return await _at_once(times, at_once, one)


async def _publish_bare(client: Client, times: int, at_once: int) -> float:
    js, fact = client.jetstream(), measured()

    async def one(_: int) -> None:
        journey = new_ulid()
        told = stored(fact, journey, 1)
        ack = await js.publish(subject(journey), told.data.encode(), headers=ours._headers(told))
        assert not ack.duplicate

    return await _at_once(times, at_once, one)


async def _requests(bus: Bus, other: Bus, client: Client, times: int) -> dict[str, float]:
    """Both ends in this process: a question of a number, an answer of 1 KB."""
    fact = measured()

    async def answer(_: Ask) -> Answer[Any]:
        return Answer[Any](reply=fact, service="bench", sequence=1)

    async def bare_answer(message: Any) -> None:
        Ask.model_validate_json(message.data)
        await message.respond(Answer[Any](reply=fact, service="bench", sequence=1).model_dump_json().encode())

    async def ask(number: int) -> None:
        reply, _ = await bus.request(Ask(number=number), Measured)
        assert reply.padding

    async def ask_bare(number: int) -> None:
        message = await client.request("bare.ask", Ask(number=number).model_dump_json().encode(), timeout=10)
        assert Answer[Measured].model_validate_json(message.data).reply

    await other.serve("bench", "1.0.0", {Ask: answer})
    listening = await nats.connect(client.connected_url.geturl() if client.connected_url else "")
    await listening.subscribe("bare.ask", cb=bare_answer)
    await listening.flush()
    try:
        return {
            "one at a time": await _at_once(times // 3, 1, ask),
            f"{AT_ONCE} at once": await _at_once(times, AT_ONCE, ask),
            f"bare, {AT_ONCE} at once": await _at_once(times, AT_ONCE, ask_bare),
        }
    finally:
        await listening.close()


def run(ordered: Ordered, folder: Path) -> dict[str, Any]:
    """On the loop that services run on."""
    return uvloop.run(measured_all(ordered, folder))
