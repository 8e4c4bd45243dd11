"""Starts and stops one service: settings → bus, store, blobs, vault, telemetry → handlers → orderly stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

import uvloop
from ulid import ULID

from servicekit.blobs import FileBlobs
from servicekit.bus import Bus
from servicekit.service import Ground, Service
from servicekit.settings import Settings
from servicekit.store import open_store
from servicekit.telemetry.logs import configure_logs
from servicekit.telemetry.metrics import Metrics
from servicekit.telemetry.ops import OpsServer
from servicekit.telemetry.traces import configure_traces
from servicekit.vault import Vault

log = logging.getLogger(__name__)

STOP_SECONDS: Final = 5.0


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
) -> AsyncGenerator[Ground[Any]]:
    """Bus, store, blobs, vault and metrics of one process, closed in the opposite order."""
    async with AsyncExitStack() as stack:
        metrics = Metrics(name, Service.version)
        bus = await Bus.connect(settings, name, metrics)
        stack.push_async_callback(bus.close)
        store = open_store(settings, name)
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


def run(kind: type[Service[Any, Any]]) -> None:
    """``python -m services.<name>``: until SIGTERM or SIGINT, then stops within seconds."""
    settings = kind.settings.read()
    configure_logs(kind.name, settings.log_level)
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
