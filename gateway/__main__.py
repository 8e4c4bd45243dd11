"""``python -m gateway``: until SIGTERM or SIGINT.

The order of the end: not ready any more, streams told to end, open requests finished, bus unsubscribed and
drained, store closed.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial

import uvicorn
import uvloop

from gateway.app import create_app
from gateway.settings import GatewaySettings
from gateway.wire import bounded
from servicekit.runner import ground, settings_or_exit
from servicekit.service import Ground
from servicekit.telemetry.logs import configure_logs
from servicekit.telemetry.ops import OpsServer
from servicekit.telemetry.traces import configure_traces

log = logging.getLogger(__name__)


class GatewayServer(uvicorn.Server):
    """uvicorn's server with our order of the end; signals are the process's business, not the server's."""

    def __init__(self, config: uvicorn.Config, on_stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stopping = on_stopping
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stopping()
        await super().shutdown(sockets)


def configured(app: object, settings: GatewaySettings) -> uvicorn.Config:
    proxies = list(settings.gateway_trusted_proxies)
    return uvicorn.Config(
        app,  # pyright: ignore[reportArgumentType]
        host=settings.gateway_host,
        port=settings.gateway_port,
        http=bounded(settings.gateway_body_seconds),
        log_config=None,
        # Paths hold ids and one-time tokens: traces and metrics know routes, and that is enough.
        access_log=False,
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=settings.gateway_stop_seconds,
        lifespan="on",
        ws="none",
    )


async def serve(under: Ground[GatewaySettings], told: asyncio.Event) -> None:
    """Serves until ``told``; raises ``SystemExit`` when it cannot listen."""
    settings = under.settings
    app = create_app(under)
    ops = OpsServer(
        under.metrics, ready={"bus": under.bus.check, "store": partial(_pinged, under)}, host=settings.ops_host
    )

    def stopping() -> None:
        ops.stopping()
        app.state.edge.stopping.set()

    server = GatewayServer(configured(app, settings), stopping)
    serving = asyncio.create_task(server.serve(), name="http")
    listening = asyncio.create_task(server.listening.wait())
    waiting = asyncio.create_task(told.wait())
    try:
        await asyncio.wait({serving, listening}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            # Ready only once it listens.
            port = await ops.start(settings.ops_port)
            log.info("ready", extra={"ops_port": port, "port": settings.gateway_port})
            await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
            log.info("stopping")
        server.should_exit = True
        await serving
    finally:
        for task in (listening, waiting):
            task.cancel()
        await ops.stop()


async def _pinged(under: Ground[GatewaySettings]) -> str | None:
    await under.store.ping()
    return None


def main() -> None:
    settings = settings_or_exit(GatewaySettings)
    configure_logs("gateway", settings.log_level)
    log.info("starting", extra={"settings": settings.shown()})
    provider = configure_traces("gateway", file=settings.traces_file)

    async def run() -> None:
        told = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told.set)
        async with ground("gateway", settings) as under:
            await serve(under, told)
        log.info("stopped")

    try:
        uvloop.run(run())
    except Exception as error:
        log.exception("cannot run", extra={"error": type(error).__name__})
        sys.exit(1)
    finally:
        provider.shutdown()


if __name__ == "__main__":
    main()
