"""kill -9 of whoever writes, between any two steps: nothing acknowledged is lost, no half document.

The writer kills itself at a named step (``kill_writer.py``), or is killed from outside after so many answers.
"""

import asyncio
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ulid import ULID

from deploy.local.wire_server import free_port, start_wire_server
from servicekit.store import Store
from servicekit.store.mongodb import MongoStore
from servicekit.store.sqlite import SqliteStore

ROOT = Path(__file__).resolve().parents[3]
WRITER = Path(__file__).with_name("kill_writer.py")


class Writer:
    """The process and what it said it had acknowledged."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.saved = self.marked = 0

    @classmethod
    async def start(cls, backend: str, location: str, name: str, crash_point: str = "never") -> "Writer":
        arguments = (str(WRITER), backend, location, name, crash_point)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        out = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdout=out, stderr=out, env=environment
        )
        return cls(process)

    async def read(self) -> bool:
        assert self.process.stdout is not None
        line = (await self.process.stdout.readline()).decode()
        if not line.endswith("\n"):
            return False
        what, number = line.split()
        setattr(self, what, int(number))
        return True

    async def read_to_the_end(self) -> None:
        while await self.read():
            pass
        await self.process.wait()

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()

    async def said(self) -> str:
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()


async def check(store: Store, writer: Writer, name: str) -> None:
    """The document is whole, and holds all that was acknowledged and at most one save more."""
    journeys = store.collection("journeys")
    kept = await journeys.get(name)
    if kept is None:
        assert writer.saved == 0
        return
    assert writer.saved <= kept.version <= writer.saved + 1
    assert kept.state == {"n": kept.version}
    assert [fact.sequence for fact in kept.facts] == list(range(1, kept.version + 1))
    assert all(fact.data.startswith(f'{{"n":{fact.sequence},') for fact in kept.facts)
    assert writer.marked <= kept.published <= len(kept.facts)
    # The sweeper finds exactly what was not marked.
    pending = await journeys.find(above=("pending", 0))
    assert (kept.id in [each.id for each in pending]) == (kept.published < len(kept.facts))


SQLITE_STEPS = ["BEGIN", "INSERT", "UPDATE", "COMMIT", "SAVE", "MARK"]
MONGO_STEPS = ["insert", "update", "find", "SAVE", "MARK"]


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("step", SQLITE_STEPS)
async def test_killed_at_a_step_sqlite(tmp_path: Path, side: str, step: str) -> None:
    path = tmp_path / "service.sqlite"
    for count in (1,) if step == "INSERT" else (1, 2, 3, 8):
        name = f"{side}{step}{count}"
        writer = await Writer.start("sqlite", str(path), name, f"{side} {step}:{count}")
        await writer.read_to_the_end()
        assert writer.process.returncode == -signal.SIGKILL, await writer.said()
        store = SqliteStore(path)
        await check(store, writer, name)
        await store.close()


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("step", MONGO_STEPS)
async def test_killed_at_a_step_mongodb(mongo_uri: str, side: str, step: str) -> None:
    database = f"toubao_test_{ULID()}".lower()
    for count in (1,) if step == "insert" else (1, 2, 5):
        name = f"{side}{step}{count}"
        writer = await Writer.start("mongodb", f"{mongo_uri} {database}", name, f"{side} {step}:{count}")
        await writer.read_to_the_end()
        assert writer.process.returncode == -signal.SIGKILL, await writer.said()
        store = MongoStore(mongo_uri, database)
        await check(store, writer, name)
        await store.close()


@pytest.mark.parametrize("seed", range(3))
async def test_killed_at_any_moment_among_others_sqlite(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "service.sqlite"
    await killed_at_any_moment("sqlite", str(path), lambda: SqliteStore(path), seed)


@pytest.mark.parametrize("seed", range(3))
async def test_killed_at_any_moment_among_others_mongodb(mongo_uri: str, seed: int) -> None:
    database = f"toubao_test_{ULID()}".lower()
    await killed_at_any_moment("mongodb", f"{mongo_uri} {database}", lambda: MongoStore(mongo_uri, database), seed)


async def killed_at_any_moment(backend: str, location: str, open_store: Callable[[], Store], seed: int) -> None:
    """Three writers on one store, each killed after a number of answers, then going on where they were."""
    chance = random.Random(seed)
    writers: list[Writer] = []

    async def live_and_die(name: str) -> None:
        saved = marked = 0
        for _ in range(2):
            writer = await Writer.start(backend, location, name)
            writers.append(writer)
            writer.saved, writer.marked = saved, marked
            for _ in range(chance.randint(1, 60)):
                assert await writer.read(), await writer.said()
            writer.process.kill()
            await writer.read_to_the_end()
            store = open_store()
            await check(store, writer, name)
            kept = await store.collection("journeys").get(name)
            saved, marked = (kept.version, kept.published) if kept else (0, 0)
            await store.close()

    try:
        await asyncio.gather(*(live_and_die(name) for name in ("one", "two", "three")))
    finally:
        for writer in writers:
            await writer.end()


async def test_the_wire_server_killed_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    port = free_port()
    server = await asyncio.to_thread(start_wire_server, tmp_path, port)
    writer = None
    try:
        writer = await Writer.start("mongodb", f"{server.uri} toubao_test", "one")
        for _ in range(25):
            assert await writer.read(), await writer.said()
        server.kill()
        await writer.read_to_the_end()
        assert writer.saved >= 10
        assert "StoreUnavailable" in await writer.said()
        server = await asyncio.to_thread(start_wire_server, tmp_path, port)
        store = MongoStore(server.uri, "toubao_test")
        await check(store, writer, "one")
        await store.close()
    finally:
        if writer is not None:
            await writer.end()
        server.stop()
