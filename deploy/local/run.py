"""The whole platform on one machine, as an async context manager.

    async with LocalRun(folder, ports=Ports.pick(0)) as run:
        ... run.gateway_url ...

Order: what needs nothing (bus, store, outside parties, set-up of files), then the services and the gateway at once.
Stopping goes the other way round.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from deploy.local import environment, wire_server
from deploy.local.environment import HOST, Layout, Place
from deploy.local.ports import SERVICES, Ports, taken
from deploy.local.processes import Console, Process, Program, Shown, run_to_end, until_ready
from deploy.local.settings import ROOT, inherited
from deploy.nats import generate, provision
from deploy.nats.partners import PARTNERS_FILE, Partner, read
from deploy.nats.server import executable
from deploy.prometheus import server as prometheus

READY_SECONDS = 60.0
FONTS = ROOT / "var" / "fonts"
"""Prepared once per machine, the same for every run."""
EVERYTHING = (*SERVICES, "gateway")


class PortTaken(RuntimeError):
    """Somebody listens there already; the message says what to do."""


class LocalRun:
    """Attributes after start: ``place`` (URLs, files), ``ready`` (seconds to ready by name), ``release``."""

    def __init__(
        self,
        folder: Path,
        *,
        ports: Ports | None = None,
        store: str = "sqlite",
        nats_url: str | None = None,
        nats_seed: Path | None = None,
        mongodb_uri: str | None = None,
        partners: Path = PARTNERS_FILE,
        products: Iterable[Path] = (),
        services: Iterable[str] = EVERYTHING,
        extra: Mapping[str, Mapping[str, str]] | None = None,
        shown: Shown = "nothing",
        log_level: str = "INFO",
        fonts: Path = FONTS,
        prometheus: bool = False,
        scrape_seconds: int | None = None,
    ) -> None:
        """``products``: folders published instead of the house's own. ``extra``: environment by process name, over
        what the run gives; under ``""`` for all services and the gateway. ``prometheus``: one runs beside it and looks
        every ``scrape_seconds``.
        """
        self.ports = ports or Ports.pick(0)
        self.layout = Layout(folder.resolve(), fonts.resolve())
        self.store = store
        self.partners: tuple[Partner, ...] = read(partners)
        self.ready: dict[str, float] = {}
        self.console = Console(shown)
        self._own_nats = nats_url is None
        self._own_mongodb = store == "mongodb" and mongodb_uri is None
        self._nats_url = nats_url or f"nats://{HOST}:{self.ports.nats}"
        self._nats_seed = nats_seed or (generate.operators_seed(self.layout.nats) if self._own_nats else None)
        self._mongodb_uri = mongodb_uri or f"mongodb://{HOST}:{self.ports.mongodb}"
        self._products = tuple(products)
        self._services = tuple(services)
        self._extra = {name: dict(each) for name, each in (extra or {}).items()}
        self._log_level = log_level
        self.prometheus = prometheus
        self._scrape_seconds = scrape_seconds
        self._processes: dict[str, Process] = {}
        self._place: Place | None = None
        self._http: aiohttp.ClientSession | None = None
        self._stack = AsyncExitStack()
        self.took = 0.0
        """Seconds from the start until everything was ready."""

    # --- where things are -----------------------------------------------------------------------------------

    @property
    def place(self) -> Place:
        assert self._place is not None, "not started"
        return self._place

    @property
    def folder(self) -> Path:
        return self.layout.folder

    @property
    def gateway_url(self) -> str:
        return self.place.gateway_url

    @property
    def nats_url(self) -> str:
        return self._nats_url

    @property
    def nats_seed(self) -> Path | None:
        """Of the operators, who may do everything; a process's own is ``place.seed_of(name)``."""
        return self._nats_seed

    def partner_seed(self, channel_id: str) -> Path:
        return generate.partner_seed(self.layout.nats, channel_id)

    @property
    def trust(self) -> Path:
        """Certificates to verify an evidence pack under (``verify --trust``)."""
        return self.layout.sandbox / "trust"

    def ops_url(self, service: str) -> str:
        return f"http://{HOST}:{self.ports.ops_of(service)}"

    def log(self, name: str) -> Path:
        return self.layout.logs / f"{name}.log"

    def process(self, name: str) -> Process:
        return self._processes[name]

    # --- start and stop -------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Raises ``PortTaken``, ``Ended`` (with the last lines of what ended) or ``TimeoutError``."""
        self._check_ports()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._http = await self._stack.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))
        )
        began = time.monotonic()
        self._master_key()
        self._place = self._described(release="")
        async with asyncio.TaskGroup() as group:
            if self._own_nats:
                group.create_task(self._start_nats())
            else:
                group.create_task(self._provision())
            if self._own_mongodb:
                group.create_task(self._start_mongodb())
            group.create_task(self._prepare_fonts())
            group.create_task(self._make_credentials())
            published = group.create_task(self._publish())
            # It makes keys and certificates the services need to start.
            group.create_task(self._start_sandbox())
        self._place = self._described(release=published.result())
        async with asyncio.TaskGroup() as group:
            for name in self._services:
                group.create_task(self.start_one(name))
            if self.prometheus:
                group.create_task(self._start_prometheus())
        self._tell_the_simulator()
        self.took = time.monotonic() - began

    async def stop(self) -> None:
        """Everything, the last started first; at most a few seconds, then by force. Can be called again."""
        order = ("gateway", "prometheus", *SERVICES, "sandbox", "mongodb", "nats")
        for group in (order[:2], order[2:-3], order[-3:]):
            await asyncio.gather(*(self._processes[name].stop() for name in group if name in self._processes))
        await self._stack.aclose()

    async def start_one(self, name: str) -> float:
        """Starts a service or the gateway, also one that was stopped or killed; seconds until it was ready."""
        module = "gateway" if name == "gateway" else f"services.{name}"
        told = {
            **environment.of_service(self.place, name),
            **self._extra.get("", {}),
            **self._extra.get(name, {}),
        }
        process = self._program(name, [sys.executable, "-m", module], told)
        await process.start()
        self.ready[name] = await until_ready(process, lambda: self.is_ready(name), READY_SECONDS)
        return self.ready[name]

    async def stop_one(self, name: str) -> int | None:
        return await self._processes[name].stop()

    async def kill(self, name: str) -> int:
        """kill -9, with everything it started. Also "nats", "mongodb", "sandbox"; ``restart`` brings those back."""
        return await self._processes[name].kill()

    async def restart(self, name: str, told: Mapping[str, str] | None = None) -> None:
        """``told``: environment for this service from now on, over what it had."""
        if told is not None:
            self._extra[name] = {**self._extra.get(name, {}), **told}
        if name in self._processes and self._processes[name].running:
            await self._processes[name].stop()
        match name:
            case "nats":
                await self._start_nats(again=True)
            case "mongodb":
                await self._start_mongodb()
            case "sandbox":
                await self._start_sandbox()
            case "prometheus":
                await self._start_prometheus()
            case _:
                await self.start_one(name)

    async def is_ready(self, name: str) -> bool:
        return await self._answers(f"{self.ops_url(name)}/readyz")

    async def watch(self) -> None:
        """Returns never; raises ``Ended`` when something ends that nobody stopped."""
        while True:
            for process in self._processes.values():
                if process.wanted and not process.running:
                    await process.wait()
                    raise process.ended()
            await asyncio.sleep(0.2)

    # --- the parts ------------------------------------------------------------------------------------------

    def _check_ports(self) -> None:
        unused = set()
        if not self._own_nats:
            unused |= {"nats", "nats_monitor"}
        if not self._own_mongodb:
            unused.add("mongodb")
        if not self.prometheus:
            unused.add("prometheus")
        for what, port in self.ports.all().items():
            if what not in unused and taken(port):
                raise PortTaken(
                    f"port {port} (for {what}) is taken: is another run up? "
                    "TOUBAO_PORT_BASE=N moves all ports, 0 takes free ones"
                )

    def _described(self, release: str) -> Place:
        return Place(
            layout=self.layout,
            ports=self.ports,
            nats_url=self._nats_url,
            nats_seed=self._nats_seed,
            own_nats=self._own_nats,
            store=self.store,
            mongodb_uri=self._mongodb_uri,
            release=release,
            log_level=self._log_level,
            channels=tuple(partner.channel_id for partner in self.partners),
        )

    def _program(self, name: str, command: list[str], told: Mapping[str, str]) -> Process:
        program = Program(name, command, {**inherited(), **told}, ROOT)
        process = Process(program, self.log(name), self.console)
        self._processes[name] = process
        return process

    def _master_key(self) -> None:
        path = self.layout.master_key
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(32) + "\n", encoding="ascii")

    def _tell_the_simulator(self) -> None:
        """So that a person at another terminal needs to know nothing."""
        first, *others = (partner.channel_id for partner in self.partners)
        told = environment.of_simulator(self.place, first, others[0] if others else None)
        self.layout.simulator.write_text("".join(f"{name}={value}\n" for name, value in told.items()), "utf-8")

    async def _start_nats(self, *, again: bool = False) -> None:
        config = generate.write(
            self.layout.nats, self.partners, host=HOST, port=self.ports.nats, monitor=self.ports.nats_monitor
        )
        process = self._program("nats", [executable(), "--config", str(config)], {})
        await process.start()
        # /healthz answers once JetStream has read what it keeps.
        healthy = f"http://{HOST}:{self.ports.nats_monitor}/healthz"
        self.ready["nats"] = await until_ready(process, lambda: self._answers(healthy), READY_SECONDS)
        if not again:
            await self._provision()

    async def _provision(self) -> None:
        await provision.provision(self._nats_url, self._nats_seed, self.partners)

    async def _start_mongodb(self) -> None:
        process = self._program("mongodb", wire_server.command(self.layout.mongodb, self.ports.mongodb), {})
        await process.start()

        async def listens() -> bool:
            with suppress(OSError):
                _, writer = await asyncio.open_connection(HOST, self.ports.mongodb)
                writer.close()
                await writer.wait_closed()
                return True
            return False

        self.ready["mongodb"] = await until_ready(process, listens, READY_SECONDS)

    async def _start_sandbox(self) -> None:
        told = {**environment.of_sandbox(self.place), **self._extra.get("sandbox", {})}
        process = self._program("sandbox", [sys.executable, "-m", "deploy.sandbox"], told)
        await process.start()
        ready = f"{self.place.party_url('authority')}/readyz"
        self.ready["sandbox"] = await until_ready(process, lambda: self._answers(ready), READY_SECONDS)

    async def _start_prometheus(self) -> None:
        targets = {name: f"{HOST}:{self.ports.ops_of(name)}" for name in self._services}
        config = prometheus.write(self.layout.prometheus, targets, self._scrape_seconds)
        process = self._program("prometheus", prometheus.command(config, HOST, self.ports.prometheus), {})
        await process.start()
        ready = f"{self.place.prometheus_url}/-/ready"
        self.ready["prometheus"] = await until_ready(process, lambda: self._answers(ready), READY_SECONDS)

    async def _publish(self) -> str:
        command = [sys.executable, "-m", "products.publish", "--releases", str(self.layout.releases)]
        for folder in self._products:
            command += ["--products", str(folder)]
        output = await run_to_end(Program("publish", command, inherited(), ROOT), self.log("publish"), self.console)
        return output.strip().splitlines()[-1]

    async def _prepare_fonts(self) -> None:
        command = [sys.executable, "-m", "servicekit.documents.fonts", "--into", str(self.layout.fonts)]
        if not (self.layout.fonts / "fonts.json").exists():
            await run_to_end(Program("fonts", command, inherited(), ROOT), self.log("fonts"), self.console)

    async def _make_credentials(self) -> None:
        """Keys and passwords for every partner, a salesperson of each, and some staff; what exists is kept."""
        asked = environment.who_may({partner.channel_id: partner.name for partner in self.partners})
        command = [sys.executable, "-m", "gateway.credentials", "--into", str(self.layout.credentials), *asked]
        await run_to_end(Program("credentials", command, inherited(), ROOT), self.log("credentials"), self.console)

    def api_key(self, owner: str) -> str:
        """Of a channel, or of one of ``environment.STAFF``."""
        return self.layout.api_key(owner).read_text("ascii").strip()

    def password(self, owner: str) -> str:
        """Of ``environment.salesperson_of`` a channel, or of one of ``environment.STAFF``."""
        return self.layout.password(owner).read_text("ascii").strip()

    async def _answers(self, url: str) -> bool:
        assert self._http is not None
        with suppress(aiohttp.ClientError, TimeoutError):
            async with self._http.get(url) as answer:
                return answer.status == 200
        return False
