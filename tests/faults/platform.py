"""The whole platform for tests that break it: each process has a clock a test can step, what customers were refused is
kept, and what must hold of a journey in the end is looked up where it is kept for good.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import nats
from nats.aio.client import Client

from contracts.facts.base import Fact, read_fact
from contracts.facts.issuance import PolicyIssued
from contracts.facts.payment import OrderPlaced
from deploy.local.environment import shared
from deploy.local.ports import SERVICES
from deploy.local.run import LocalRun
from deploy.nats import provision
from deploy.simulator.api import Json, Phone, ProblemAnswer, Reply
from deploy.simulator.customer import Customer, Habits, Stuck
from servicekit.settings import Settings
from servicekit.store import Document, open_store
from tests.faults.slow_wire import SlowWire
from tests.journey.whole import Told, Whole, started

PROCESSES = (*SERVICES, "gateway")
EVERYBODY = (*PROCESSES, "sandbox")
PATIENCE_SECONDS = 90.0
"""Of a customer whose page waits. A platform on two busy cores needs some of it to start again."""


STEPPED = Path(__file__).with_name("stepped")


@dataclass
class Clocks:
    """The wall clock of each process, see ``stepped/sitecustomize.py``."""

    folder: Path

    def told(self) -> dict[str, dict[str, str]]:
        """Environment by process."""
        self.folder.mkdir(parents=True)
        for name in EVERYBODY:
            self._file(name).write_text("0", "ascii")
        return {name: {"PYTHONPATH": str(STEPPED), "CLOCK_FILE": str(self._file(name))} for name in EVERYBODY}

    async def set(self, run: LocalRun, seconds: int, *names: str) -> None:
        """When this returns, the clock of each is so far from the machine's."""
        for name in names:
            self._shown(name).unlink(missing_ok=True)
            self._file(name).write_text(str(seconds), "ascii")
            os.kill(run.process(name).pid, signal.SIGUSR1)
        async with asyncio.timeout(30):
            while not all(self._shown(name).exists() for name in names):  # noqa: ASYNC110 - another process tells
                await asyncio.sleep(0.01)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.seconds"

    def _shown(self, name: str) -> Path:
        return self.folder / f"{name}.shown"


class Watched(Phone):
    """A phone that keeps what it was refused, and how often nobody answered."""

    def __init__(self, phone: Phone) -> None:
        super().__init__(
            phone.http,
            f"{phone.base}/j#{phone.session.journey_id}.{phone.session.link_secret}",
            device=phone.device,
            patience=PATIENCE_SECONDS,
        )
        self.refused: list[ProblemAnswer] = []
        self.unanswered = 0

    async def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        try:
            return await super().send(method, path, body, headers)
        except ProblemAnswer as problem:
            if problem.code != "use_dpop_nonce":
                self.refused.append(problem)
            raise
        except aiohttp.ClientError:
            self.unanswered += 1
            raise


@dataclass
class Breakable:
    """The platform and the means to break it."""

    whole: Whole
    clocks: Clocks
    wire: SlowWire
    """To the bus, for who is told to speak over it."""
    folder: Path
    _packs: int = field(default=0)

    # -- people --------------------------------------------------------------------------------------------

    async def customer(self, habits: Habits | None = None, **more: Any) -> Customer:
        customer = await self.whole.customer(habits or Habits(score=None, use_app=False), **more)
        customer.phone = Watched(customer.phone)
        return customer

    async def persevere(
        self,
        customer: Customer,
        step: str | None = None,
        *,
        past: Sequence[str] = (),
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """The customer goes on to ``step`` or the end, as somebody does whose page says "please wait": what failed is
        tried again, and after a refusal of ``past`` the page is looked at anew. Raises whatever still fails after
        ``patience`` seconds.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + patience
        while True:
            try:
                if step is None:
                    await customer.pass_through()
                else:
                    await customer.until(step)
            except (aiohttp.ClientError, TimeoutError, Stuck, ProblemAnswer) as failed:
                final = isinstance(failed, ProblemAnswer) and failed.status != 503 and failed.code not in past
                if final or loop.time() > until:
                    raise
                customer.tell(f"tries again after {type(failed).__name__}")
                await asyncio.sleep(0.5)
            else:
                return

    async def refused_at(self, customer: Customer) -> ProblemAnswer:
        """The customer takes the step the page shows, once, and is refused; fails when they are not."""
        assert isinstance(customer.phone, Watched)
        customer.phone.patience = 0.01
        try:
            await customer.turn(await customer.look())
        except ProblemAnswer as problem:
            return problem
        finally:
            customer.phone.patience = PATIENCE_SECONDS
        raise AssertionError(f"{customer.passage.view['place']['step']} was taken")

    # -- what customers are told ---------------------------------------------------------------------------

    def fair(self, customer: Customer, *, also: Sequence[str] = ()) -> list[str]:
        """The codes the customer was refused with, having made sure that each is a clear word to wait: 503 and for how
        long. ``also``: refusals the fault itself calls for.
        """
        assert isinstance(customer.phone, Watched)
        refused = customer.phone.refused
        for problem in refused:
            assert problem.body["title"], problem
            assert problem.body["detail"], problem
            if problem.code not in also:
                assert problem.status == 503, problem
                assert problem.retry_after, problem
        return [problem.code for problem in refused]

    # -- what must hold in the end -------------------------------------------------------------------------

    async def unharmed(self, customer: Customer, *, doubts: Sequence[str] = (), refunds: int = 0) -> list[str]:
        """Paid once, one policy a product; facts are without gap, nothing lies dead, the pack verifies.

        ``refunds``: how many more payments were taken, of which each went back whole.
        ``doubts``: what else but the shortened readings the verifier may find not proven. Returns what of that it did.
        """
        assert await self.dead_letters() == 0
        journey = customer.passage.journey_id
        bought = {p["product"] for p in customer.passage.view["card"]["products"] if not p["optional"] or p["chosen"]}
        told = await self.facts(journey)
        orders = {f.order_no: f for _, f in told if isinstance(f, OrderPlaced)}
        taken = [e for e in await self.ledger() if e["out_trade_no"] in orders]
        assert sorted(e["kind"] for e in taken) == ["refunded"] * refunds + ["taken"] * (1 + refunds), taken
        assert {e["amount_fen"] for e in taken} == {customer.passage.view["card"]["total_fen"]}
        issued = [f for _, f in told if isinstance(f, PolicyIssued)]
        assert {f.product for f in issued} == bought
        assert len(issued) == len(bought) == len(customer.passage.policies)
        assert {f.policy_no for f in issued} == set(customer.passage.policies)
        sequences: dict[str, list[int]] = defaultdict(list)
        for message, _ in told:
            sequences[message.headers["ce-source"]].append(int(message.headers["ce-sequence"]))
        for source, got in sequences.items():
            assert sorted(got) == [*range(1, len(got) + 1)], source
        self._packs += 1
        folder = self.folder / f"pack-{self._packs}"
        folder.mkdir()
        _, findings = await self.whole.verdict(await self.whole.pack(journey, folder))
        found = [d for d in findings["doubts"] if "dwell_scale" not in d]
        assert [d for d in found if not any(known in d for known in doubts)] == []
        return found

    async def ledger(self) -> list[Json]:
        async with self.whole.http.get(f"{self.whole.parties.wechat}/sandbox/ledger") as answer:
            return (await answer.json())["entries"]

    @asynccontextmanager
    async def operator(self) -> AsyncGenerator[Client]:
        """A connection with the right to everything."""
        client = await nats.connect(self.whole.run.nats_url, nkeys_seed=str(self.whole.run.nats_seed))
        try:
            yield client
        finally:
            await client.close()

    async def messages(self, subject: str) -> list[Told]:
        """Everything stream JOURNEY keeps under ``subject``, in its order."""
        async with self.operator() as client:
            js = client.jetstream()
            pull = await js.pull_subscribe(subject, stream="JOURNEY")
            pending = (await pull.consumer_info()).num_pending or 0
            found: list[Told] = []
            while len(found) < pending:
                for each in await pull.fetch(pending - len(found), timeout=5):
                    found.append(Told(each.subject, dict(each.headers or {}), each.data))
                    await each.ack()
            await pull.unsubscribe()
        return found

    async def facts(self, journey_id: str) -> list[tuple[Told, Any]]:
        """The journey's facts as the stream keeps them, each once."""
        found = {m.headers["ce-id"]: m for m in await self.messages(f"journey.{journey_id}.>")}
        return [(m, read_fact(m.headers["ce-type"], m.data)) for m in found.values()]

    @property
    def recorders(self) -> tuple[str, ...]:
        """Services that keep facts."""
        return SERVICES

    def settings_of(self, service: str) -> Settings:
        """As the service itself is told."""
        run = self.whole.run
        told = shared(run.place)
        return Settings(
            nats_url=run.nats_url,
            nats_seed_file=run.place.seed_of(service),
            store=run.store,  # pyright: ignore[reportArgumentType] - checked by the model
            mongodb_uri=told["TOUBAO_MONGODB_URI"],
            data_dir=Path(told["TOUBAO_DATA_DIR"]),
            blobs_dir=Path(told["TOUBAO_BLOBS_DIR"]),
            vault_keys_dir=Path(told["TOUBAO_VAULT_KEYS_DIR"]),
            master_key_file=Path(told["TOUBAO_MASTER_KEY_FILE"]),
        )

    async def document(self, service: str, journey_id: str) -> Document | None:
        """What a service's store has of a journey."""
        store = open_store(self.settings_of(service), service)
        try:
            return await store.collection("journeys").get(journey_id)
        finally:
            await store.close()

    async def provision(self) -> None:
        run = self.whole.run
        await provision.provision(run.nats_url, run.nats_seed, run.partners)

    async def settled(self) -> None:
        """Waits until every durable of ours has handed over and got acknowledged whatever its stream has."""
        async with asyncio.timeout(PATIENCE_SECONDS), self.operator() as client:
            js = client.jetstream()
            while True:
                infos = [info for stream in ("JOURNEY", "AFTERCARE") for info in await js.consumers_info(stream)]
                if not any((info.num_pending or 0) + (info.num_ack_pending or 0) for info in infos):
                    return
                await asyncio.sleep(0.1)

    async def notified(self, journey_id: str) -> list[Json]:
        """Waits until the channel has told of the journey's payment, taken or not; how often, and what it heard."""
        numbers = {f.order_no for _, f in await self.facts(journey_id) if isinstance(f, OrderPlaced)}
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                async with self.whole.http.get(f"{self.whole.parties.wechat}/sandbox/notifications") as answer:
                    told = [n for n in (await answer.json())["notifications"] if n["number"] in numbers]
                if any(each["attempts"] for each in told):
                    return told
                await asyncio.sleep(0.05)

    async def until_fact(self, journey_id: str, kind: type[Fact]) -> None:
        """Waits for such a fact of the journey."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                if any(isinstance(fact, kind) for _, fact in await self.facts(journey_id)):
                    return
                await asyncio.sleep(0.1)

    async def dead_letters(self) -> int:
        async with self.operator() as client:
            return (await client.jetstream().stream_info("DEAD")).state.messages


class AtSteps:
    """Something happens once at each of some steps, when the page shows it and before the customer acts on it."""

    def __init__(self, customer: Customer, happens: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
        self._customer = customer
        self._waiting = dict(happens)
        customer.meanwhile = self

    async def __call__(self, view: Json) -> None:
        while (happens := self._waiting.pop(view["place"]["step"], None)) is not None:
            await happens()
            view = await self._customer.look()

    @property
    def left(self) -> set[str]:
        """Steps the customer did not come by."""
        return set(self._waiting)


@asynccontextmanager
async def breakable(folder: Path, store: str, told: Mapping[str, str] | None = None) -> AsyncGenerator[Breakable]:
    """``told``: more environment of every service and the gateway."""
    clocks = Clocks(folder / "clocks")
    async with (
        started(folder / "var", store, extra={"": told or {}, **clocks.told()}) as whole,
        SlowWire(whole.run.nats_url) as wire,
    ):
        yield Breakable(whole, clocks, wire, folder)
