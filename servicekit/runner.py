"""Starts and stops one service: settings → bus, store, blobs, vault, telemetry → handlers → orderly stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import uvloop
from pydantic import ValidationError
from ulid import ULID

from servicekit import crash_points
from servicekit.blobs import FileBlobs
from servicekit.bus import Bus
from servicekit.service import Ground, Service
from servicekit.settings import PREFIX, Settings, UnknownSetting
from servicekit.store import open_store
from servicekit.telemetry.logs import configure_logs
from servicekit.telemetry.metrics import Metrics
from servicekit.telemetry.ops import OpsServer
from servicekit.telemetry.traces import configure_traces
from servicekit.vault import Vault

log = logging.getLogger(__name__)

SettingsT = TypeVar("SettingsT", bound=Settings)


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_ulid() -> str:
    return str(ULID())


@asynccontextmanager
async def ground(
    name: str,
    settings: Settings,
    *,
    now: Callable[[], datetime] = utc_now,
    new_id: Callable[[], str] = new_ulid,
    ticks: Callable[[], float] = time.monotonic,
) -> AsyncGenerator[Ground[Any]]:
    """Bus, store, blobs, vault and metrics of one process, closed in the opposite order."""
    async with AsyncExitStack() as stack:
        crash_points.look(settings.crash_points_dir, name)
        metrics = Metrics(name, Service.version)
        metrics.disk({"data": settings.data_dir, "blobs": settings.blobs_dir})
        bus = await Bus.connect(settings, name, metrics)
        stack.push_async_callback(bus.close)
        store = crash_points.watched(open_store(settings, name))
        stack.push_async_callback(store.close)
        blobs = FileBlobs(settings.blobs_dir)
        vault = Vault(blobs, settings.vault_keys_dir, settings.master_key_file, now=now)
        yield Ground(
            settings=settings,
            bus=bus,
            store=store,
            blobs=blobs,
            vault=vault,
            metrics=metrics,
            now=now,
            new_id=new_id,
            ticks=ticks,
        )


@asynccontextmanager
async def running(
    kind: type[Service[Any, Any]],
    settings: Settings,
    *,
    now: Callable[[], datetime] = utc_now,
    new_id: Callable[[], str] = new_ulid,
) -> AsyncGenerator[Service[Any, Any]]:
    """A service, started, with its operators' port; stopped on leaving."""
    async with ground(kind.name, settings, now=now, new_id=new_id) as under:
        service = kind(under)
        ops = OpsServer(
            under.metrics,
            ready={"bus": under.bus.check, "store": _pinged(under), "service": service.check},
            host=settings.ops_host,
        )
        await service.start()
        try:
            port = await ops.start(settings.ops_port)
            log.info("ready", extra={"ops_port": port})
            yield service
        finally:
            ops.stopping()
            await service.stop()
            await ops.stop()


def _pinged(under: Ground[Any]) -> Callable[[], Any]:
    async def check() -> str | None:
        await under.store.ping()
        return None

    return check


def settings_or_exit(kind: type[SettingsT]) -> SettingsT:
    """The settings, or an end with one line a variable that says what is wrong and never what it held."""
    try:
        return kind.read()
    except UnknownSetting as error:
        sys.stderr.write(f"{error}: no such setting\n")
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_context=False, include_input=False):
            name = PREFIX + "_".join(str(part) for part in fault["loc"]).upper()
            sys.stderr.write(f"{name}: {fault['msg']}\n")
    sys.exit(2)


def run(kind: type[Service[Any, Any]]) -> None:
    """``python -m services.<name>``: until SIGTERM or SIGINT, then stops within two seconds.

    Exit status 2: the settings are wrong. 1: it could not start, or broke. 0: it was told to stop and did.
    """
    settings = settings_or_exit(kind.settings)
    configure_logs(kind.name, settings.log_level)
    log.info("starting", extra={"settings": settings.shown()})
    provider = configure_traces(kind.name, file=settings.traces_file)

    async def main() -> None:
        told = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told.set)
        async with running(kind, settings):
            await told.wait()
            log.info("stopping")
        log.info("stopped")

    try:
        uvloop.run(main())
    except Exception as error:
        log.exception("cannot run", extra={"error": type(error).__name__})
        sys.exit(1)
    finally:
        provider.shutdown()
