"""A disk that is really full (ENOSPC), under one service and under blobs and keys: a small file system of their own.

Mounting one takes a mount namespace; ``make faults`` gives it (``unshare -Urm``).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.local.environment import shared
from deploy.simulator.api import ProblemAnswer
from deploy.simulator.proposals import proposal
from tests.faults.platform import AtSteps, Breakable

STORE = "sqlite"
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

WHOLE_BYTES = 64 * 1024 * 1024


@contextmanager
def small_disk(folder: Path) -> Generator[Path]:
    folder.mkdir(parents=True)
    options = f"size={WHOLE_BYTES}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def filled(disk: Path) -> Generator[None]:
    """To the last byte."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1024 * 1024, 1):
            with suppress(OSError):
                while True:
                    file.write(b"\0" * size)
    try:
        yield
    finally:
        ballast.unlink()


@pytest.mark.parametrize(
    ("service", "step"), [("disclosure", "documents"), ("signing", "forms"), ("payment", "payment")]
)
async def test_the_disk_of_one_service_is_full(world: Breakable, tmp_path: Path, service: str, step: str) -> None:
    with small_disk(tmp_path / "disk") as disk:
        customer = await world.customer(extra=False)

        async def full() -> None:
            with filled(disk):
                assert (await world.refused_at(customer)).status == 503

        async with moved(world, service, disk):
            at = AtSteps(customer, {step: full})
            await world.persevere(customer)
            assert not at.left
            world.fair(customer)
            await world.unharmed(customer)


@asynccontextmanager
async def moved(world: Breakable, service: str, disk: Path) -> AsyncGenerator[None]:
    """Everything the service keeps, onto another disk and back."""

    async def move(there: Path, here: Path) -> None:
        await world.whole.run.stop_one(service)
        for file in here.glob(f"{service}.sqlite*"):
            shutil.move(file, there / file.name)
        await world.whole.run.restart(service, {"TOUBAO_DATA_DIR": str(there)})

    data = world.settings_of(service).data_dir
    await move(disk, data)
    try:
        yield
    finally:
        await move(data, disk)


@contextmanager
def on_a_small_disk(folder: Path) -> Generator[None]:
    """Lays one over a folder in use, with what is in it."""
    covered = folder.with_name(f"{folder.name}-covered")
    subprocess.run(["cp", "-a", str(folder), str(covered)], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={WHOLE_BYTES}", "none", str(folder)], check=True)
    try:
        subprocess.run(["cp", "-a", f"{covered}/.", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["cp", "-a", f"{folder}/.", str(covered)], check=True)
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        subprocess.run(["cp", "-a", f"{covered}/.", str(folder)], check=True)
        shutil.rmtree(covered)


async def test_the_disk_of_the_blobs_is_full(world: Breakable) -> None:
    folder = Path(shared(world.whole.run.place)["TOUBAO_BLOBS_DIR"])
    customer = await world.customer(extra=False)
    with on_a_small_disk(folder):

        async def full() -> None:
            with filled(folder):
                assert (await world.refused_at(customer)).status == 503

        at = AtSteps(customer, dict.fromkeys(("consents", "terms", "forms", "signature"), full))
        await world.persevere(customer)
        assert not at.left
        world.fair(customer)
        await world.unharmed(customer)


async def test_the_disk_of_the_keys_is_full(world: Breakable) -> None:
    """No journey begins whose key cannot be kept; the next try is taken."""
    folder = Path(shared(world.whole.run.place)["TOUBAO_VAULT_KEYS_DIR"])
    channel = world.whole.channel
    channel.patience = 0.01
    asked = proposal(world.whole.someone(), datetime.now(UTC), world.whole.chance, extra=False)
    with on_a_small_disk(folder):
        with filled(folder), pytest.raises(ProblemAnswer) as caught:
            await channel.submit(asked, key="the-same-key-throughout")
        assert (caught.value.status, caught.value.code) == (503, "unavailable")
        assert caught.value.retry_after
        channel.patience = 60
        assert (await channel.submit(asked, key="the-same-key-throughout"))["journey_id"]
