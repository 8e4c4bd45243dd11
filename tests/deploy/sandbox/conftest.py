"""A running sandbox on free ports, its clock in the test's hand, and a server that hears its callbacks."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from deploy.sandbox.credentials import Credentials
from deploy.sandbox.process import Running, running
from deploy.sandbox.settings import Party, SandboxSettings
from tests.deploy.sandbox.callers import Clock, Listener, Signed, Start
from tests.prepared import sandbox_keys


@pytest.fixture(scope="session")
def keys_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys and certificates made once: each test gets a copy."""
    return sandbox_keys(tmp_path_factory.mktemp("sandbox"))


@pytest.fixture
def data_dir(keys_made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(keys_made, tmp_path / "sandbox"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    heard = Listener()
    app = web.Application()
    app.router.add_post("/callback", heard.hear)
    async with TestServer(app) as server:
        heard.url = str(server.make_url("/callback"))
        yield heard


@pytest.fixture
def start(data_dir: Path, clock: Clock, listener: Listener) -> Start:
    """Starts the sandbox on free ports; keyword arguments change settings."""

    def begin(**changed: Any) -> AbstractAsyncContextManager[Running]:
        values: dict[str, Any] = {f"{party}_port": 0 for party in Party} | {
            "data_dir": data_dir,
            "wechat_notify_schedule": (0.01, 0.01, 0.01, 0.01),
            "wechat_refund_seconds": 0,
            "app_callback_url": listener.url,
            "app_callback_schedule": (0.01, 0.01, 0.01),
        }
        return running(SandboxSettings(**(values | changed)), clock)

    return begin


@pytest.fixture
async def sandbox(start: Start) -> AsyncIterator[Running]:
    async with start() as started:
        yield started


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


@pytest.fixture
def face(sandbox: Running, http: aiohttp.ClientSession, data_dir: Path, clock: Clock) -> Signed:
    return Signed(http, sandbox.urls[Party.FACE], Credentials(data_dir).face_key.read_bytes(), clock)


@pytest.fixture
def sms(sandbox: Running, http: aiohttp.ClientSession, data_dir: Path, clock: Clock) -> Signed:
    return Signed(http, sandbox.urls[Party.SMS], Credentials(data_dir).sms_key.read_bytes(), clock)
