"""What tests of every part may ask for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.nats import server
from servicekit.documents.render import Renderer
from services.signing.reading import Reader
from tests.nats_server import NatsServer, nats_server
from tests.servicekit.documents.prepared import fonts_folder, render_settings


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A hostile log line may hold half a surrogate pair, which cannot cross to the process that collects results."""
    report = yield
    report.sections = [(name, said.encode(errors="backslashreplace").decode()) for name, said in report.sections]
    return report


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """One real nats-server for the whole run; a desk wipes its streams before it begins."""
    with nats_server(tmp_path_factory.mktemp("nats")) as shared:
        yield shared


@pytest.fixture(name="nats_server")
async def own_nats_server(tmp_path: Path) -> AsyncIterator[server.NatsServer]:
    """A nats-server of the test's own, without accounts, on a port of the system's choosing."""
    async with server.NatsServer(tmp_path / "nats") as own:
        yield own


@pytest.fixture(scope="session")
def warm() -> Iterator[Renderer]:
    """A renderer whose worker is warm."""
    renderer = Renderer(render_settings())
    asyncio.run(renderer.start())
    yield renderer
    asyncio.run(renderer.stop())


@pytest.fixture
def warm_workers(warm: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Services draw with workers that are warm already, as after their first minute.

    How workers begin and end is tried in servicekit, and by every service started as a process.
    """
    _take(Renderer, warm, monkeypatch)


@pytest.fixture(scope="session")
def reading() -> Iterator[Reader]:
    """A reader of handwriting whose worker is warm."""
    reader = Reader(fonts_folder())
    asyncio.run(reader.start())
    yield reader
    asyncio.run(reader.stop())


@pytest.fixture
def warm_readers(reading: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Likewise those that read handwriting."""
    _take(Reader, reading, monkeypatch)


def _take(kind: type[Any], warm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(self: Any) -> None:
        self._workers = warm._workers

    async def stop(self: Any) -> None:
        del self._workers

    monkeypatch.setattr(kind, "start", start)
    monkeypatch.setattr(kind, "stop", stop)
