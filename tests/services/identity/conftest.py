"""The real identity service at its desk, the stand-in of the platform over HTTP, and customers."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from deploy.sandbox.face_platform import FacePlatform
from deploy.sandbox.records import Records
from deploy.sandbox.settings import SandboxSettings
from deploy.simulator.proposals import Person, person
from products import Release
from services.identity.service import Identity
from tests.desk import Clock, Desk, desk
from tests.nats_server import NatsServer
from tests.purchase import Purchase, published
from tests.services.identity.customer import Customer, Provider

KEY = "5a" * 32


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> tuple[Release, Path]:
    folder = tmp_path_factory.mktemp("releases")
    return published(folder), folder


@dataclass
class Outside:
    """The platform, and whether it is there."""

    server: TestServer
    asked: list[tuple[str, bytes]] = field(default_factory=list)
    down: bool = False
    fail_once: bool = False


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def outside(tmp_path: Path, clock: Clock) -> AsyncIterator[Outside]:
    records = Records(tmp_path / "platform.sqlite3")
    (tmp_path / "face.key").write_text(KEY)
    platform = FacePlatform(
        SandboxSettings(data_dir=tmp_path), records, KEY.encode(), "http://face.test", lambda: clock().timestamp()
    )
    app = platform.app()
    server = TestServer(app)
    outside = Outside(server)

    @web.middleware
    async def watched(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
        outside.asked.append((request.path, await request.read()))
        if outside.down or outside.fail_once:
            outside.fail_once = False
            return web.json_response({"code": "busy"}, status=503)
        return await handler(request)

    app.middlewares.append(watched)
    async with server:
        yield outside
    records.close()


@dataclass
class House:
    """The service, and customers on their way to it."""

    at: Desk
    outside: Outside
    provider: Provider
    release: Release

    async def customer(self, who: Person | None = None, journey_id: str | None = None) -> Customer:
        """Somebody with a proposal of their own, about to tap on the link."""
        purchase = Purchase(self.at, self.release, who or person(random.Random(11)))
        if journey_id is not None:
            purchase.journey_id = journey_id
        else:
            await purchase.up_to("opened")
        return Customer(self.at, purchase, self.provider, self.outside.server)


Opens = Callable[[], Any]


@pytest.fixture
def opens(nats: NatsServer, tmp_path: Path, clock: Clock, outside: Outside, release: tuple[Release, Path]) -> Opens:
    """Starts the service; again after the first ended, it is a restart."""
    (tmp_path / "releases").symlink_to(release[1])

    def start() -> Any:
        return desk(
            Identity,
            tmp_path,
            nats,
            clock=clock,
            play_identity=False,
            play_evidence=False,
            identity_platform_url=str(outside.server.make_url("")).rstrip("/"),
            identity_platform_key_file=tmp_path / "face.key",
            identity_public_url="https://toubao.test",
        )

    return start


@pytest.fixture
async def house(opens: Opens, outside: Outside, release: tuple[Release, Path]) -> AsyncIterator[House]:
    async with opens() as at:
        provider = Provider()
        await provider.serve(at)
        yield House(at, outside, provider, release[0])


@pytest.fixture
async def customer(house: House) -> Customer:
    return await house.customer()
