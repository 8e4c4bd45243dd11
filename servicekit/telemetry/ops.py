"""The operators' port of a service: ``/metrics``, ``/healthz``, ``/readyz``."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Final

from aiohttp import web
from prometheus_client.aiohttp import make_aiohttp_handler

from servicekit.telemetry.logs import mask
from servicekit.telemetry.metrics import Metrics

Check = Callable[[], Awaitable[str | None]]
"""None when well, else a short reason without personal data. An exception counts as its type's name."""

_NO_CHECKS: Final[Mapping[str, Check]] = MappingProxyType({})
_PROBE_SECONDS: Final = 0.25
_WINDOW: Final = 40
"""Probes that the reported lag looks back on: 10 s."""


class OpsServer:
    """Answers operators on a port of its own.

    ``ready`` are the checks of ``/readyz`` (bus, store, ...), ``alive`` those of ``/healthz`` beside the lag
    of the event loop (e.g. "bus gone for over a minute": what only a restart may cure). Each check has
    ``deadline`` seconds. ``/readyz`` is false from :meth:`stopping` on: no work for a process that leaves.
    """

    def __init__(
        self,
        metrics: Metrics,
        ready: Mapping[str, Check] = _NO_CHECKS,
        alive: Mapping[str, Check] = _NO_CHECKS,
        *,
        host: str = "127.0.0.1",
        deadline: float = 1.0,
        max_lag: float = 5.0,
    ) -> None:
        self._metrics = metrics
        self._ready = dict(ready)
        self._alive = {"loop": self._loop_lag, **alive}
        self._host = host
        self._deadline = deadline
        self._max_lag = max_lag
        self._lags: deque[float] = deque([0.0], maxlen=_WINDOW)
        self._stopping = False
        self._runner: web.AppRunner | None = None
        self._probe: asyncio.Task[None] | None = None

    async def start(self, port: int = 0) -> int:
        """Listen; 0 takes a free port. Returns the port. Raises OSError if it is taken."""
        app = web.Application()
        app.router.add_get("/metrics", make_aiohttp_handler(self._metrics.registry))
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        # Nobody waits for an operator's connection when the process leaves.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self._probe = asyncio.create_task(self._measure_lag(), name="ops-loop-lag")
        bound: int = runner.addresses[0][1]
        return bound

    def stopping(self) -> None:
        """From now on not ready, still alive: the service finishes what it has."""
        self._stopping = True

    async def stop(self) -> None:
        """Close the port. May be called twice."""
        self._stopping = True
        if self._probe is not None:
            self._probe.cancel()
            with suppress(asyncio.CancelledError):
                await self._probe
            self._probe = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _healthz(self, _: web.Request) -> web.Response:
        return _answer(await self._run(self._alive))

    async def _readyz(self, _: web.Request) -> web.Response:
        if self._stopping:
            return _answer({"process": "stopping"})
        results = await self._run(self._ready)
        # Asked before the stop, answered after it: the answer must be that of now.
        return _answer({"process": "stopping"} if self._stopping else results)

    async def _run(self, checks: Mapping[str, Check]) -> dict[str, str | None]:
        reasons = await asyncio.gather(*(self._one(check) for check in checks.values()))
        return dict(zip(checks, reasons, strict=True))

    async def _one(self, check: Check) -> str | None:
        try:
            async with asyncio.timeout(self._deadline):
                reason = await check()
        except TimeoutError:
            return f"no answer within {self._deadline:g} s"
        except Exception as error:  # noqa: BLE001 - whatever fails, the check has failed
            # Only the type: the text of an error may quote addresses, queries or values.
            return type(error).__name__
        return None if reason is None else mask(reason)

    async def _loop_lag(self) -> str | None:
        lag = max(self._lags)
        return None if lag <= self._max_lag else f"the event loop was {lag:.1f} s late"

    async def _measure_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _PROBE_SECONDS
            await asyncio.sleep(_PROBE_SECONDS)
            self._lags.append(max(0.0, loop.time() - due))
            self._metrics.loop_lag_seconds.set(max(self._lags))


def _answer(reasons: Mapping[str, str | None]) -> web.Response:
    well = not any(reasons.values())
    return web.json_response(
        {
            "status": "ok" if well else "failing",
            "checks": [{"name": name, "ok": reason is None, "reason": reason} for name, reason in reasons.items()],
        },
        status=200 if well else 503,
        headers={"Cache-Control": "no-store"},
    )
