"""``python -m servicekit.redrive STREAM CONSUMER``: dead letters of one consumer go back onto their stream.

With ``--discard`` behind it they are removed instead: what nobody will ever be able to handle.
"""

from __future__ import annotations

import asyncio
import sys

from servicekit.bus import Bus, BusUnavailable
from servicekit.runner import settings_or_exit
from servicekit.settings import Settings
from servicekit.telemetry.metrics import Metrics


async def redrive(settings: Settings, stream: str, consumer: str, *, discard: bool = False) -> int:
    """Returns how many were driven again, or discarded. Listeners pass over what they already know."""
    bus = await Bus.connect(settings, "redrive", Metrics("redrive", "1.0.0"))
    try:
        return await bus.redrive(stream, consumer, discard=discard)
    finally:
        await bus.close()


def main() -> None:
    if len(sys.argv) not in {3, 4} or sys.argv[3:] not in ([], ["--discard"]):
        sys.exit(__doc__)
    stream, consumer = sys.argv[1:3]
    discard = len(sys.argv) == 4
    try:
        done = asyncio.run(redrive(settings_or_exit(Settings), stream, consumer, discard=discard))
        sys.stdout.write(f"{done} {'discarded' if discard else 'driven again'}\n")
    except BusUnavailable as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
