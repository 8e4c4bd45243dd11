"""Starts every stand-in: `python -m deploy.sandbox`. Ends on SIGINT or SIGTERM."""

from __future__ import annotations

import asyncio
import json
import signal
import sys

from deploy.sandbox.process import running
from deploy.sandbox.settings import SandboxSettings


async def serve(settings: SandboxSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with running(settings) as sandbox:
        print(json.dumps({"event": "sandbox_ready", "urls": sandbox.urls}), flush=True)
        await stop.wait()


if __name__ == "__main__":
    try:
        asyncio.run(serve(SandboxSettings()))
    except OSError as error:
        sys.exit(f"sandbox cannot start: {error}")
