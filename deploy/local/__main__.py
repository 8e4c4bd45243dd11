"""The local run: ``python -m deploy.local up [--only proposal,identity]``. Ends on SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from deploy.local.ports import Ports
from deploy.local.processes import Ended, Shown
from deploy.local.run import EVERYTHING, LocalRun, PortTaken
from deploy.local.settings import LocalSettings

FAULTS = (PortTaken, Ended, TimeoutError, FileNotFoundError)
"""What a person can do something about: told in a sentence, without a traceback."""


def prepared(settings: LocalSettings, shown: Shown, services: Iterable[str] = EVERYTHING) -> LocalRun:
    return LocalRun(
        settings.folder,
        ports=Ports.pick(settings.port_base),
        store=settings.store,
        nats_url=settings.nats_url,
        nats_seed=settings.nats_seed_file,
        mongodb_uri=settings.mongodb_uri,
        services=services,
        shown=shown,
        log_level=settings.log_level,
        prometheus=settings.prometheus,
    )


@asynccontextmanager
async def ended_by_signals() -> AsyncIterator[None]:
    """SIGINT and SIGTERM cancel what runs in the block, so that everything is stopped in order."""
    loop, me = asyncio.get_running_loop(), asyncio.current_task()
    assert me is not None
    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, me.cancel)
    try:
        yield
    finally:
        for sign in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(sign)


def faults(error: BaseException) -> list[str]:
    """The sentences of a fault that was foreseen, also of several at once; none for any other."""
    if isinstance(error, BaseExceptionGroup):
        each = [faults(inner) for inner in error.exceptions]
        return [line for lines in each for line in lines] if all(each) else []
    if isinstance(error, FAULTS):
        return [str(error) or "something was not ready in time, see the logs"]
    return []


def guarded(coroutine) -> int:
    """Runs it; a foreseen fault becomes a sentence and status 1, a signal status 130."""
    try:
        return asyncio.run(coroutine)
    except (asyncio.CancelledError, KeyboardInterrupt):
        return 130
    except BaseException as error:
        told = faults(error)
        if not told:
            raise
        print("\n".join(told), file=sys.stderr)
        return 1


def table(run: LocalRun) -> str:
    rows = [f"  {name:<12} {seconds:5.1f} s" for name, seconds in run.ready.items()]
    return "\n".join([*rows, f"everything ready after {run.took:.1f} s"])


def links(run: LocalRun) -> str:
    place = run.place
    seen = [f"  Prometheus            {place.prometheus_url}/consoles/toubao.html"] if run.prometheus else []
    return "\n".join([
        f"  gateway               {place.gateway_url}",
        f"  its HTTP API          {place.gateway_url}/openapi.json",
        f"  check a policy        {place.gateway_url}/verify",
        f"  for salespeople       {place.gateway_url}/sales",
        f"  for staff             {place.gateway_url}/staff",
        f"  SMS inbox (stand-in)  {place.party_url('sms')}/inbox",
        f"  metrics               {run.ops_url('gateway')}/metrics",
        *seen,
        f"  bus                   {run.nats_url}",
        f"  API keys, passwords   {run.layout.credentials / 'keys'} (NAME.key, NAME.password: sign in as NAME)",
        "  A customer's link opens in another browser or a private window: who is signed in cannot act as a customer.",
        f"  logs                  {run.layout.logs}",
    ])  # fmt: skip


async def up(settings: LocalSettings, services: Iterable[str]) -> int:
    async with ended_by_signals(), prepared(settings, "everything", services) as run:
        print(f"{table(run)}\n{links(run)}\nCtrl-C stops it.", flush=True)
        await run.watch()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description="Run everything on this machine.")
    parser.add_argument("command", choices=["up"])
    parser.add_argument("--only", default="", help="comma-separated services, instead of all and the gateway")
    asked = parser.parse_args()
    only = [name.strip() for name in asked.only.split(",") if name.strip()]
    if unknown := set(only) - set(EVERYTHING):
        parser.error(f"no such service: {', '.join(sorted(unknown))}")
    return guarded(up(LocalSettings(), only or EVERYTHING))


if __name__ == "__main__":
    sys.exit(main())
