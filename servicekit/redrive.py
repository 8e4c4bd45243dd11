"""``python -m servicekit.redrive STREAM CONSUMER``: dead letters of one consumer go back onto their stream."""

from __future__ import annotations

import asyncio
import sys

from servicekit.bus import Bus, BusUnavailable
from servicekit.runner import settings_or_exit
from servicekit.settings import Settings
from servicekit.telemetry.metrics import Metrics


async def redrive(settings: Settings, stream: str, consumer: str) -> int:
    """Returns how many were driven again. Listeners pass over what they already know."""
    bus = await Bus.connect(settings, "redrive", Metrics("redrive", "1.0.0"))
    try:
        return await bus.redrive(stream, consumer)
    finally:
        await bus.close()


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    stream, consumer = sys.argv[1:]
    try:
        sys.stdout.write(f"{asyncio.run(redrive(settings_or_exit(Settings), stream, consumer))} driven again\n")
    except BusUnavailable as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
