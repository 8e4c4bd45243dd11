"""How the bus takes messages off a stream: at once, all of them, each once, whatever happens on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import nats as driver
import pytest
from nats.aio.msg import Msg

from contracts import subjects
from contracts.facts.base import HeardFact
from deploy.nats.provision import provision
from servicekit import bus as module
from servicekit.bus import Bus, BusUnavailable, Delivery, Unhandleable, _Pull
from servicekit.runner import new_ulid, utc_now
from servicekit.settings import Settings
from servicekit.store import StoredFact
from servicekit.telemetry.metrics import Metrics
from tests.nats_server import NatsServer, nats_server

SOON = 30.0


async def connected(url: str) -> Bus:
    return await Bus.connect(Settings(nats_url=url), "tests", Metrics("tests", "1.0.0"))


@pytest.fixture
async def bus(nats: NatsServer) -> AsyncIterator[Bus]:
    await nats.wipe()
    await provision(nats.url, None, ())
    opened = await connected(nats.url)
    yield opened
    await opened.close()


def fact(journey: str, sequence: int = 1) -> StoredFact:
    return StoredFact(
        id=new_ulid(),
        source="/services/door",
        type="toubao.door.knocked.v1",
        subject=journey,
        time=utc_now().isoformat(timespec="microseconds"),
        sequence=sequence,
        dataschema="urn:toubao:contracts:door.knocked.v1",
        data=HeardFact(at=utc_now()).model_dump_json(),
    )


async def told(bus: Bus, *sequences: int) -> None:
    journey = new_ulid()
    for sequence in sequences or (1,):
        await bus.publish(f"journey.{journey}.door.knocked", fact(journey, sequence))


class Ear:
    """Hears, and lets somebody wait for how much it has heard."""

    def __init__(self, holds_on: asyncio.Event | None = None) -> None:
        self.heard: list[Delivery] = []
        self.under_way = 0
        self.most = 0
        self._holds_on = holds_on
        self._news = asyncio.Condition()

    async def __call__(self, delivery: Delivery) -> None:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        self.heard.append(delivery)
        async with self._news:
            self._news.notify_all()
        await (asyncio.sleep(0) if self._holds_on is None else self._holds_on.wait())
        self.under_way -= 1

    async def until(self, count: int) -> None:
        async with asyncio.timeout(SOON), self._news:
            await self._news.wait_for(lambda: len(self.heard) >= count)

    async def on(self, bus: Bus) -> None:
        await bus.listen(subjects.JOURNEY, "ear-door", subjects.journey_facts_of("door"), self)


async def settled(url: str) -> Any:
    """The consumer once nothing is left for it."""
    client = await driver.connect(url)
    try:
        async with asyncio.timeout(SOON):
            while True:
                info = await client.jetstream().consumer_info("JOURNEY", "ear-door")
                if not info.num_pending and not info.num_ack_pending:
                    return info
                await asyncio.sleep(0.02)
    finally:
        await client.close()


async def test_a_message_that_comes_alone_is_not_kept_back(bus: Bus) -> None:
    ear = Ear()
    await ear.on(bus)
    began = asyncio.get_running_loop().time()
    for count in range(20):
        await told(bus)
        await ear.until(count + 1)
    # Whoever waits for a batch to fill waits a second or two for each.
    assert asyncio.get_running_loop().time() - began < 10


async def test_a_burst_comes_whole_each_once_and_never_too_much_at_a_time(bus: Bus, nats: NatsServer) -> None:
    for _ in range(10):
        await told(bus, *range(1, 101))
    ear = Ear()
    await ear.on(bus)
    await ear.until(1000)
    assert (await settled(nats.url)).num_redelivered == 0
    assert len({each.fact.id for each in ear.heard}) == len(ear.heard) == 1000
    assert 1 < ear.most <= module.BATCH


async def test_what_takes_longer_than_the_server_waits_comes_once(
    bus: Bus, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ACK_WAIT_SECONDS", 1.0)
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.1)
    client = await driver.connect(nats.url)
    await client.jetstream().delete_consumer("JOURNEY", "ear-door") if await _there(client) else None
    await client.close()
    go_on = asyncio.Event()
    ear = Ear(go_on)
    await ear.on(bus)
    await told(bus)
    await ear.until(1)
    await asyncio.sleep(2.5)  # as long as it takes; nothing tells that something does not come
    go_on.set()
    await settled(nats.url)
    assert [each.delivered for each in ear.heard] == [1]


async def _there(client: Any) -> bool:
    return "ear-door" in [info.name for info in await client.jetstream().consumers_info("JOURNEY")]


async def test_what_a_stop_leaves_unfinished_comes_to_the_next_at_once(bus: Bus, nats: NatsServer) -> None:
    leaving = await connected(nats.url)
    await told(bus, *range(1, 151))
    busy = Ear(asyncio.Event())
    await busy.on(leaving)
    await busy.until(module.BATCH)
    began = asyncio.get_running_loop().time()
    await leaving.close()
    ear = Ear()
    await ear.on(bus)
    await ear.until(150)
    assert len({each.fact.id for each in ear.heard}) == 150
    # Not only when the server has waited in vain for those that were under way.
    assert asyncio.get_running_loop().time() - began < module.ACK_WAIT_SECONDS


async def test_a_server_that_comes_back_is_asked_anew(tmp_path: Path) -> None:
    with nats_server(tmp_path) as mortal:
        await provision(mortal.url, None, ())
        bus = await connected(mortal.url)
        ear = Ear()
        await ear.on(bus)
        await told(bus)
        await ear.until(1)
        mortal.kill()
        mortal.start()
        await _told_at_last(bus)
        await ear.until(2)
        await bus.close()


async def _told_at_last(bus: Bus) -> None:
    """As the sweeper does: until the bus takes it."""
    async with asyncio.timeout(SOON):
        while True:
            try:
                return await told(bus)
            except BusUnavailable:
                await asyncio.sleep(0.05)


async def test_a_consumer_that_is_gone_is_made_anew_and_asked(bus: Bus, nats: NatsServer) -> None:
    ear = Ear()
    await ear.on(bus)
    await told(bus)
    await ear.until(1)
    await settled(nats.url)
    client = await driver.connect(nats.url)
    await client.jetstream().delete_consumer("JOURNEY", "ear-door")
    await client.close()
    await told(bus)
    # A new consumer begins at the beginning.
    await ear.until(3)
    assert len({each.fact.id for each in ear.heard}) == 2


async def test_a_dead_letter_is_driven_again_for_its_own_consumer_alone(bus: Bus) -> None:
    """Otherwise each of two that cannot handle a message would put it aside anew at every redrive of the other."""
    heard: list[str] = []

    def deaf(name: str) -> Callable[[Delivery], Awaitable[None]]:
        async def listener(_: Delivery) -> None:
            heard.append(name)
            raise Unhandleable("never")

        return listener

    for name in ("ear", "nose"):
        await bus.listen(subjects.JOURNEY, f"{name}-door", subjects.journey_facts_of("door"), deaf(name))
    await told(bus)

    async def letters(name: str) -> int:
        return len(await bus.history(subjects.DEAD, subjects.dead_letter("JOURNEY", f"{name}-door"), 0, 10))

    async def until(**expected: int) -> None:
        async with asyncio.timeout(SOON):
            while {name: await letters(name) for name in expected} != expected:  # noqa: ASYNC110 - the server tells
                await asyncio.sleep(0.02)

    await until(ear=1, nose=1)
    assert await bus.redrive("JOURNEY", "ear-door") == 1
    await until(ear=1, nose=1)
    # What is told next comes behind what was driven again: nothing of that is still on its way then.
    await told(bus)
    await until(ear=2, nose=2)
    assert sorted(heard) == ["ear", "ear", "ear", "nose", "nose"]


# --- the protocol, word by word ---------------------------------------------------------------------------


class Server:
    """The other end of a pull: keeps what was asked, sends what a test wants."""

    is_connected = True

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self._came: Any = None
        self._asking = asyncio.Condition()

    def new_inbox(self) -> str:
        return "_INBOX.tests.1"

    async def subscribe(self, subject: str, cb: Any) -> Any:
        self._came = cb

    async def publish(self, subject: str, data: bytes, reply: str) -> None:
        assert subject == "$JS.API.CONSUMER.MSG.NEXT.JOURNEY.ear"
        self.asked.append(json.loads(data))
        async with self._asking:
            self._asking.notify_all()

    async def until_asked(self, times: int) -> list[int]:
        """How many messages each time."""
        async with asyncio.timeout(SOON), self._asking:
            await self._asking.wait_for(lambda: len(self.asked) >= times)
        return [each["batch"] for each in self.asked]

    async def says(self, status: str, **headers: str) -> None:
        await self._came(Msg(None, "_INBOX.tests.1", "", b"", {"Status": status, **headers}))  # pyright: ignore[reportArgumentType]

    async def sends(self, count: int) -> None:
        for _ in range(count):
            await self._came(Msg(None, "journey.1.door.knocked", "$JS.ACK.J.ear.1.1.1.1.0", b"", None))  # pyright: ignore[reportArgumentType]


class Pulled:
    def __init__(self) -> None:
        self.server = Server()
        self.lost = 0
        self.go_on = asyncio.Event()
        self.pull = _Pull(self.server, "JOURNEY", "ear", self.deliver, self.on_lost)  # pyright: ignore[reportArgumentType]

    async def deliver(self, message: Msg) -> None:
        await self.go_on.wait()

    def on_lost(self) -> None:
        self.lost += 1


@pytest.fixture
async def pulled(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pulled]:
    for name, seconds in (("HEARTBEAT_SECONDS", 0.05), ("SILENCE_SECONDS", 0.4), ("PAUSE_SECONDS", 0.01)):
        monkeypatch.setattr(module, name, seconds)
    made = Pulled()
    running = asyncio.create_task(made.pull.run())
    assert await made.server.until_asked(1) == [module.BATCH]
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    made.go_on.set()


async def test_more_is_asked_for_before_it_runs_dry_and_what_is_being_handled_counts(pulled: Pulled) -> None:
    half = module.BATCH // 2
    await pulled.server.sends(half)
    assert await pulled.server.until_asked(1) == [module.BATCH]  # as many under way as ever
    pulled.go_on.set()
    assert await pulled.server.until_asked(2) == [module.BATCH, half]


async def test_what_was_asked_in_vain_is_asked_again(pulled: Pulled) -> None:
    await pulled.server.says("408", **{"Nats-Pending-Messages": str(module.BATCH), "Nats-Pending-Bytes": "0"})
    assert await pulled.server.until_asked(2) == [module.BATCH] * 2
    assert pulled.lost == 0


@pytest.mark.parametrize("status", ["404", "409", "503"])
async def test_a_refusal_is_told_and_asked_again(pulled: Pulled, status: str) -> None:
    await pulled.server.says(status)
    assert await pulled.server.until_asked(2) == [module.BATCH] * 2
    assert pulled.lost == 1


async def test_silence_is_asked_again_and_word_of_life_is_not(pulled: Pulled) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + 2 * module.SILENCE_SECONDS
    while loop.time() < until:
        await pulled.server.says("100")
        await asyncio.sleep(0.02)
    assert len(pulled.server.asked) == 1
    assert await pulled.server.until_asked(2) == [module.BATCH] * 2
    assert pulled.lost == 1


async def test_nobody_is_asked_while_there_is_no_connection(pulled: Pulled) -> None:
    pulled.server.is_connected = False
    pulled.pull.ask_anew()
    await asyncio.sleep(3 * module.HEARTBEAT_SECONDS)
    assert len(pulled.server.asked) == 1
    pulled.server.is_connected = True
    pulled.pull.reconnected()
    assert await pulled.server.until_asked(2) == [module.BATCH] * 2
    assert pulled.lost == 1


@pytest.mark.parametrize(
    "reply",
    [
        "$JS.ACK.JOURNEY.ear.7.100.200.1795684891408783579.3",
        "$JS.ACK.hub.ACCOUNT.JOURNEY.ear.7.100.200.1795684891408783579.3",
        "$JS.ACK.hub.ACCOUNT.JOURNEY.ear.7.100.200.1795684891408783579.3.random",
    ],
)
def test_how_often_it_was_delivered_stands_in_the_reply(reply: str) -> None:
    message = Msg(None, "s", reply, b"")  # pyright: ignore[reportArgumentType]
    assert module._delivered(message) == 7 == message.metadata.num_delivered
