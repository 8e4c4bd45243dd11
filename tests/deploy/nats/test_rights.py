"""Each process on a real nats-server: it does its own work, and nothing in anybody else's name."""

from __future__ import annotations

import ast
import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from contracts import subjects
from contracts.commands.base import request_types
from contracts.commands.identity import IssueNonce
from contracts.subjects import PARTNER, STREAMS
from deploy.local.ports import free_ports
from deploy.nats import generate, provision, rights
from deploy.nats.rights import GATEWAY, PROCESSES, SERVICES
from deploy.nats.server import NatsServer
from gateway.acts import act_types
from servicekit.service import Service

ROOT = Path(__file__).resolve().parents[3]
JOURNEY_ID = "01M84XR9A6V8QWQ6WD7GBC0C2F"


@dataclass
class Bus:
    """One server for all tests of the module; what stays in its streams is nobody's."""

    folder: Path
    url: str
    stack: AsyncExitStack

    async def of(self, process: str) -> tuple[Client, asyncio.Queue[str]]:
        """Connected as that process, and what the server would not let it do, in its own words."""
        refused: asyncio.Queue[str] = asyncio.Queue()

        async def note(error: Exception) -> None:
            refused.put_nowait(str(error))

        seed = generate.process_seed(self.folder, process)
        return await self._connect(seed, inbox_prefix=rights.inbox(process), error_cb=note), refused

    async def operators(self) -> Client:
        return await self._connect(generate.operators_seed(self.folder))

    async def _connect(self, seed: Path, **more: Any) -> Client:
        client = await nats.connect(self.url, nkeys_seed=str(seed), allow_reconnect=False, **more)
        self.stack.push_async_callback(client.close)
        return client

    async def held(self) -> set[str]:
        """Every subject that lies in a stream."""
        js = (await self.operators()).jetstream()
        found: set[str] = set()
        for stream in STREAMS:
            found |= set((await js.stream_info(stream.name, subjects_filter=">")).state.subjects or {})
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bus(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bus]:
    folder = tmp_path_factory.mktemp("rights")
    port, monitor = free_ports(2)
    config = generate.write(folder, [], port=port, monitor=monitor)
    async with NatsServer(folder, config) as server, AsyncExitStack() as stack:
        await provision.provision(server.url, generate.operators_seed(folder), [])
        yield Bus(folder, server.url, stack)


# -- the table is what the code does ---------------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_is_given_the_durables_it_listens_by(service: str) -> None:
    module = import_module(f"services.{service}.service")
    (kind,) = (
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Service) and each.__module__ == module.__name__
    )
    assert kind.hears == rights.HEARS.get(service, ())


def test_the_gateway_may_ask_what_it_asks_and_nothing_else() -> None:
    """Requests are asked by their class: those named in the gateway's code, and every act through one endpoint."""
    named = {
        node.id if isinstance(node, ast.Name) else node.attr
        for path in (ROOT / "gateway").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Name | ast.Attribute)
    }
    acts = set(act_types().values())
    asked = {kind for kind in request_types().values() if kind.__name__ in named} | acts
    assert asked <= set(rights.asks(GATEWAY))
    # Other tests of the same process may have made requests of their own.
    allowed = {kind for kind in rights.asks(GATEWAY) if kind.__module__.startswith("contracts.")}
    assert {kind.__name__ for kind in allowed - asked} == set()


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_may_ask_what_its_code_asks(service: str) -> None:
    named = {
        node.func.id
        for path in (ROOT / "services" / service).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    # A service makes a request only to ask it. What the ground asks for it (proofs, attestation) is not in its folder.
    made = {kind for kind in request_types().values() if kind.__name__ in named and kind.service != service}
    assert made <= set(rights.asks(service))
    assert {k for k in rights.asks(service) if k.__name__ not in {"JudgeProof", "Attest"}} == made


# -- what the server lets through ------------------------------------------------------------------------------

on_the_server = pytest.mark.asyncio(loop_scope="module")
each_process = pytest.mark.parametrize("process", PROCESSES)


@on_the_server
@each_process
async def test_nobody_publishes_a_fact_of_another(bus: Bus, process: str) -> None:
    client, refused = await bus.of(process)
    before = await bus.held()
    fact = f"made_up_by_{process}"
    for other in SERVICES:
        await client.publish(subjects.journey_fact(JOURNEY_ID, other, fact), b"{}")
        await client.publish(subjects.aftercare_fact(other, fact, "1"), b"{}")
    await client.publish(subjects.partner_fact("a_channel", fact, "1"), b"{}")
    await client.publish(subjects.dead_letter("JOURNEY", "somebody-elses"), b"{}")
    await client.flush(timeout=5)
    assert "permissions violation" in (await asyncio.wait_for(refused.get(), 10)).lower()
    own = {
        GATEWAY: subjects.partner_fact("a_channel", fact, "1"),
        "nps": subjects.aftercare_fact("nps", fact, "1"),
        "appdownload": subjects.aftercare_fact("appdownload", fact, "1"),
    }
    assert await bus.held() - before == {own.get(process, subjects.journey_fact(JOURNEY_ID, process, fact))}


@on_the_server
@each_process
async def test_nobody_answers_for_another_nor_reads_what_others_are_answered(bus: Bus, process: str) -> None:
    client, refused = await bus.of(process)
    core = await bus.operators()
    others = [name for name in PROCESSES if name != process]
    heard: list[str] = []
    forged: list[str] = []

    async def hear(message: Msg) -> None:
        heard.append(message.subject)

    async def told(message: Msg) -> None:
        forged.append(message.subject)

    for other in others:
        await client.subscribe(f"cmd.{other}.>", cb=hear)
        await client.subscribe(f"cmd.{other}.>", queue="q", cb=hear)
        await client.subscribe(f"{rights.inbox(other)}.>", cb=hear)
        await core.subscribe(f"{rights.inbox(other)}.forged.>", cb=told)
    for wide in (">", "cmd.>", "_INBOX.>", "cmd.*.judge_proof", "dead.>", "$JS.>"):
        await client.subscribe(wide, cb=hear)
    await client.flush(timeout=5)
    await core.flush(timeout=5)
    for other in others:
        await core.publish(f"cmd.{other}.judge_proof", b"{}", reply="_INBOX.x")
        await core.publish(f"{rights.inbox(other)}.abc.def", b"{}")
        # An answer that nobody asked it for.
        await client.publish(f"{rights.inbox(other)}.forged.x", b"{}")
    await core.flush(timeout=5)
    await client.flush(timeout=5)
    await core.flush(timeout=5)
    assert (heard, forged) == ([], [])
    assert "permissions violation" in (await asyncio.wait_for(refused.get(), 10)).lower()


@on_the_server
async def test_the_gateway_cannot_ask_what_only_services_ask(bus: Bus) -> None:
    client, _ = await bus.of(GATEWAY)
    core = await bus.operators()
    heard: set[str] = set()
    last = asyncio.Event()

    async def hear(message: Msg) -> None:
        heard.add(message.subject)
        if message.reply.endswith(".last"):
            last.set()

    await core.subscribe("cmd.>", cb=hear)
    await core.flush(timeout=5)
    for subject in request_types():
        await client.publish(subject, b"{}", reply=f"{rights.inbox(GATEWAY)}.x.y")
    # In order: once this came, so had everything before it.
    await client.publish(IssueNonce.subject(), b"{}", reply=f"{rights.inbox(GATEWAY)}.x.last")
    await asyncio.wait_for(last.wait(), 5)
    assert set(request_types()) - heard == {kind.subject() for kind in rights.OTHERS_ASK}


@on_the_server
@each_process
async def test_nobody_makes_a_consumer_or_touches_a_stream(bus: Bus, process: str) -> None:
    """A consumer delivers wherever its maker says, past every right to publish."""
    client, refused = await bus.of(process)
    core = (await bus.operators()).jetstream()
    before = await _state(core)
    forged = {
        "stream_name": PARTNER.name,
        "config": {"durable_name": "forged", "deliver_subject": subjects.journey_fact(JOURNEY_ID, "payment", "x")},
    }
    for stream in STREAMS:
        for verb in ("CONSUMER.DURABLE.CREATE", "CONSUMER.CREATE", "CONSUMER.DELETE"):
            for name in ("forged", *(d.name for d in rights.durables(process))):
                await client.publish(f"$JS.API.{verb}.{stream.name}.{name}", json.dumps(forged).encode())
        for verb in ("STREAM.PURGE", "STREAM.DELETE", "STREAM.UPDATE", "STREAM.MSG.DELETE", "DIRECT.GET"):
            await client.publish(f"$JS.API.{verb}.{stream.name}", b"{}")
    await client.flush(timeout=5)
    assert "permissions violation" in (await asyncio.wait_for(refused.get(), 10)).lower()
    assert await _state(core) == before


async def _state(js: JetStreamContext) -> dict[str, tuple[int, int]]:
    states = {stream.name: (await js.stream_info(stream.name)).state for stream in STREAMS}
    return {name: (state.consumer_count, state.messages) for name, state in states.items()}


@on_the_server
@each_process
async def test_each_reads_by_its_own_durables_and_by_nobody_elses(bus: Bus, process: str) -> None:
    client, _ = await bus.of(process)
    for durable in rights.durables(process):
        info = await client.jetstream(timeout=5).consumer_info(durable.stream.name, durable.name)
        assert info.config.filter_subject == durable.filter_subject
    theirs = next(d for other in PROCESSES if other != process for d in rights.durables(other))
    with pytest.raises((nats.errors.Error, TimeoutError)):
        await client.jetstream(timeout=0.1).consumer_info(theirs.stream.name, theirs.name)
